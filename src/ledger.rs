//! `voltree ledger`: what became of every reading, read from a data directory without starting anything.

use std::path::PathBuf;

use clap::Args;
use voltree_model::Ledger;
use voltree_storage::{DataDir, read_ledgers};

use crate::cli::say;

/// Which data directory.
#[derive(Debug, Args)]
pub(crate) struct LedgerOptions {
    /// The data directory of a node. The node may be running: what it has not committed yet is not seen.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Print one JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

/// Folds checkpoint and journal and prints the ledgers, the node's own first.
pub(crate) fn run(options: &LedgerOptions) -> anyhow::Result<()> {
    let ledgers = read_ledgers(&DataDir::read_only(&options.data)?)?;
    if !options.json {
        let columns = ["device", "received", "stored", "duplicate", "rejected", "dead", "pending"];
        say(&row(columns.map(str::to_owned)));
    }
    for (device, ledger) in &ledgers {
        let name = device.as_ref().map_or("(no device)", |device| device.as_str());
        say(&if options.json { json(name, ledger) } else { line(name, ledger) });
    }
    Ok(())
}

fn line(name: &str, ledger: &Ledger) -> String {
    let numbers = [
        ledger.received(),
        ledger.stored,
        ledger.duplicate,
        ledger.rejected_total(),
        ledger.dead_lettered,
        ledger.pending,
    ];
    let [received, stored, duplicate, rejected, dead, pending] = numbers.map(|number| number.to_string());
    row([name.to_owned(), received, stored, duplicate, rejected, dead, pending])
}

fn row(cells: [String; 7]) -> String {
    let [device, numbers @ ..] = cells;
    numbers.iter().fold(format!("{device:<24}"), |row, number| format!("{row} {number:>10}"))
}

fn json(name: &str, ledger: &Ledger) -> String {
    let by_reason = |counts: &std::collections::BTreeMap<voltree_model::RejectReason, u64>| {
        counts
            .iter()
            .map(|(reason, count)| (reason.as_str().to_owned(), (*count).into()))
            .collect::<serde_json::Map<_, _>>()
    };
    serde_json::json!({
        "device": name,
        "received": ledger.received(),
        "stored": ledger.stored,
        "duplicate": ledger.duplicate,
        "rejected": by_reason(&ledger.rejected),
        "dead_lettered": ledger.dead_lettered,
        "pending": ledger.pending,
        "metrics_left_out": by_reason(&ledger.metrics_left_out),
    })
    .to_string()
}
