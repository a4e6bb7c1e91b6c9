//! All metrics of the node in one table, joined from the rooms' own lists.

use voltree_runtime::metrics::MetricInfo;

/// Each room's list.
pub(crate) const TABLE: &[&[MetricInfo]] =
    &[voltree_actors::metrics::METRICS, voltree_api::metrics::METRICS, voltree_runtime::metrics::METRICS];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_metrics_changes_only_on_purpose() {
        let mut lines: Vec<_> = TABLE
            .iter()
            .copied()
            .flatten()
            .map(|m| format!("{} {:?} [{}] {}", m.name, m.kind, m.labels.join(","), m.help))
            .collect();
        lines.sort();
        insta::assert_snapshot!(lines.join("\n"));
    }

    #[test]
    fn no_metric_is_listed_twice_and_each_has_help() {
        let mut names: Vec<_> = TABLE.iter().copied().flatten().map(|m| m.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(TABLE.iter().copied().flatten().all(|m| m.help.ends_with('.')));
    }
}
