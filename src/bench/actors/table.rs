//! What the figures come to, for people and for programs.

use std::fmt::Write as _;

use serde_json::json;

/// One side's figure over all rounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Side {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

/// What the ratio of ours to theirs must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bar {
    AtMost(f64),
    AtLeast(f64),
    /// For orientation only.
    None,
}

/// One figure.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) what: &'static str,
    pub(super) unit: &'static str,
    pub(super) ours: Side,
    pub(super) theirs: Option<Side>,
    pub(super) bar: Bar,
}

impl Side {
    pub(super) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        Self { median: at(sorted.len() / 2), least: at(0), most: at(sorted.len().saturating_sub(1)) }
    }
}

impl Bar {
    fn reached(self, ratio: f64) -> Option<bool> {
        match self {
            Self::AtMost(bar) => Some(ratio <= bar),
            Self::AtLeast(bar) => Some(ratio >= bar),
            Self::None => None,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(bar) => format!("<= {bar}"),
            Self::AtLeast(bar) => format!(">= {bar}"),
            Self::None => String::new(),
        }
    }
}

impl Row {
    fn ratio(&self) -> Option<f64> {
        self.theirs.map(|theirs| self.ours.median / theirs.median)
    }
}

/// A table for people.
pub(super) fn text(rows: &[Row], rounds: u32, quick: bool, erlang: Option<&str>) -> String {
    let erlang = erlang.map_or("no Erlang (erl is not here, or was not asked for)".to_owned(), |release| {
        format!("Erlang/OTP {release}, the better of its forms")
    });
    let mut out = format!(
        "Medians of {rounds} round(s) in turns, least to most in brackets; two scheduler threads each; {erlang}.\n"
    );
    if quick {
        out.push_str("A quick run: it shows that everything runs; its figures mean nothing.\n");
    }
    for row in rows {
        let theirs = row.theirs.map_or_else(|| "-".to_owned(), |side| spread(side, row.unit));
        let ratio = row.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        let reached = match row.ratio().and_then(|ratio| row.bar.reached(ratio)) {
            Some(true) => "reached",
            Some(false) => "missed",
            None => "",
        };
        let ours = spread(row.ours, row.unit);
        let (what, bar) = (row.what, row.bar.text());
        // Writing to a string can't fail.
        writeln!(
            out,
            "{what:<37} voltree {ours:<40} erlang {theirs:<40} ratio {ratio:>6} {bar:<8} {reached}"
        )
        .ok();
    }
    out.trim_end().to_owned()
}

fn spread(side: Side, unit: &str) -> String {
    format!("{:.0} {unit} ({:.0} to {:.0})", side.median, side.least, side.most)
}

/// The same for programs.
pub(super) fn json(rows: &[Row], rounds: u32, quick: bool, erlang: Option<&str>) -> anyhow::Result<String> {
    let side = |side: Side| json!({ "median": side.median, "least": side.least, "most": side.most });
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "figure": row.what,
                "unit": row.unit,
                "voltree": side(row.ours),
                "erlang": row.theirs.map(side),
                "ratio": row.ratio(),
                "bar": row.bar.text(),
                "reached": row.ratio().and_then(|ratio| row.bar.reached(ratio)),
            })
        })
        .collect();
    Ok(serde_json::to_string_pretty(&json!({
        "rounds": rounds,
        "quick": quick,
        "scheduler_threads": 2,
        "erlang_otp": erlang,
        "figures": rows,
    }))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_the_median_with_its_spread() {
        let side = Side::of(&[5.0, 1.0, 9.0, 2.0, 3.0]);
        assert_eq!(spread(side, "ms"), "3 ms (1 to 9)");
    }

    #[test]
    fn a_bar_is_reached_or_missed_by_the_ratio_and_untold_without_a_rival() {
        let row = |ours: f64, theirs: Option<f64>, bar| Row {
            what: "figure",
            unit: "ms",
            ours: Side::of(&[ours]),
            theirs: theirs.map(|value| Side::of(&[value])),
            bar,
        };
        let rows = [
            row(5.0, Some(10.0), Bar::AtMost(0.5)),
            row(6.0, Some(10.0), Bar::AtMost(0.5)),
            row(6.0, None, Bar::AtLeast(4.0)),
        ];
        let text = text(&rows, 5, false, Some("25"));
        let ends: Vec<_> = text.lines().skip(1).map(|line| line.split_whitespace().last()).collect();
        assert_eq!(ends, [Some("reached"), Some("missed"), Some("4")]);
    }
}
