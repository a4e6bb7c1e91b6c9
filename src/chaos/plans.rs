//! Plan files, and those that come with Voltree.

use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use voltree_runtime::faults::plan::Plan;

use super::fleet::FleetPlan;

/// The plans that come with Voltree, by name.
const SHIPPED: [(&str, &str); 7] = [
    ("kill-storm", include_str!("../../deploy/chaos/kill-storm.toml")),
    ("flapping-link", include_str!("../../deploy/chaos/flapping-link.toml")),
    ("poison-frame", include_str!("../../deploy/chaos/poison-frame.toml")),
    ("slow-disk", include_str!("../../deploy/chaos/slow-disk.toml")),
    ("frozen-actor", include_str!("../../deploy/chaos/frozen-actor.toml")),
    ("aggregator-loss", include_str!("../../deploy/chaos/aggregator-loss.toml")),
    ("thousand-devices", include_str!("../../deploy/chaos/thousand-devices.toml")),
];

/// What is done, and to whom.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChaosPlan {
    pub(super) fleet: FleetPlan,
    pub(super) plan: Plan,
}

/// The plan in this file, or the shipped one of this name.
pub(super) fn load(plan: &str) -> anyhow::Result<ChaosPlan> {
    let shipped = SHIPPED.iter().find(|(name, _)| *name == plan && !Path::new(plan).exists());
    let text = match shipped {
        Some((_, text)) => (*text).to_owned(),
        None => std::fs::read_to_string(plan).with_context(|| {
            let names = SHIPPED.map(|(name, _)| name).join(", ");
            format!("{plan} is neither a plan file nor one of {names}")
        })?,
    };
    toml::from_str(&text).with_context(|| format!("{plan} is no plan"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use voltree_actors::fault_points::FAULT_POINTS;
    use voltree_runtime::Faults;
    use voltree_runtime::faults::plan::Deed;

    #[test]
    fn every_shipped_plan_is_one_and_asks_only_for_what_is_possible() {
        for (name, _) in SHIPPED {
            let plan = load(name).unwrap_or_else(|error| panic!("{name}: {error:#}")).plan;
            assert_eq!(plan.name, name);
            let schedule = plan.schedule();
            assert!(!schedule.is_empty(), "{name} does nothing");
            let faults = Faults::new(FAULT_POINTS, plan.seed);
            for (at, deed) in schedule {
                assert!(at < plan.duration, "{name}");
                if let Deed::Inject(fault) = deed {
                    faults.inject(fault).unwrap_or_else(|error| panic!("{name}: {error}"));
                }
            }
        }
    }

    #[test]
    fn what_is_no_plan_is_refused_with_those_there_are() {
        assert!(format!("{:#}", load("kil-storm").unwrap_err()).contains("kill-storm, flapping-link"));
    }
}
