//! `voltree ledger`: what became of every reading, read from a data directory without starting anything. Where no node
//! has the directory it is counted once more from the stored frames, and the gaps in each device's time line are listed.

mod gaps;
mod sequence;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use voltree_actors::timeline::{LEAST_GAP, TimelineGap};
use voltree_model::{DeviceId, Ledger};
use voltree_storage::{DataDir, Error, Head, Recount, read_head, recount};

use self::gaps::{GapFinder, Gaps};
use crate::cli::say;

/// Which data directory.
#[derive(Debug, Args)]
pub(crate) struct LedgerOptions {
    /// The data directory of a node. The node may be running: what it has not committed yet is not seen, and its frames
    /// can't be counted again.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// List no silence of a device that is shorter, in seconds; nor one of less than three of its usual periods.
    #[arg(long, value_name = "SECONDS", default_value_t = LEAST_GAP.as_secs())]
    least_gap: u64,
    /// Look for the numbers of `voltree simulate mqtt` in the store instead: which are missing, which are there twice.
    #[arg(long)]
    check_sequence: bool,
    /// Print one JSON object a line instead of a table.
    #[arg(long)]
    json: bool,
}

/// The ledgers of devices, and of what named none.
pub(crate) type Ledgers = BTreeMap<Option<DeviceId>, Ledger>;

/// Folds checkpoint and journal, prints the ledgers, the node's own first, and fails if the frames say otherwise.
pub(crate) fn run(options: &LedgerOptions) -> anyhow::Result<()> {
    if options.check_sequence {
        return check_sequence(options);
    }
    let head = read_head(&DataDir::read_only(&options.data)?)?;
    let of_devices = head.ledgers().into_iter().map(|(device, ledger)| (Some(device), ledger));
    let ledgers: Ledgers = of_devices.chain([(None, head.node_ledger())]).collect();
    let counted = count_again(options, &head)?;
    if !options.json {
        let columns =
            ["device", "received", "stored", "duplicate", "rejected", "dead", "pending", "in frames"];
        say(&row(columns.map(str::to_owned)));
    }
    for (device, ledger) in &ledgers {
        let name = device.as_ref().map_or("(no device)", |device| device.as_str());
        let frames = counted.as_ref().map(|(counted, _)| in_frames(counted, device.as_ref()));
        let gaps = counted.as_ref().and_then(|(_, gaps)| gaps.get(device.as_ref()?)).map(Vec::as_slice);
        if options.json {
            say(&json(name, ledger, frames, gaps));
        } else {
            say(&line(name, ledger, frames));
            gaps.unwrap_or_default().iter().for_each(|gap| say(&gaps::line(gap)));
        }
    }
    let Some((counted, _)) = counted else {
        if !options.json {
            say(
                "A node is running on this directory: its frames were not counted again, nor were gaps looked for.",
            );
        }
        return Ok(());
    };
    let disagreements = disagreements(&ledgers, &counted);
    if !disagreements.is_empty() {
        bail!("fold and frames disagree:\n  {}", disagreements.join("\n  "));
    }
    Ok(())
}

/// Prints what the numbered messages say, a line for each device where something is wrong, and fails if that is so.
fn check_sequence(options: &LedgerOptions) -> anyhow::Result<()> {
    let checked = sequence::check(&DataDir::open(&options.data)?)?;
    let sum = |of: fn(&sequence::Sequence) -> u64| checked.values().map(of).sum::<u64>();
    let (messages, lost, doubled) = (sum(|s| s.messages), sum(|s| s.lost), sum(|s| s.doubled));
    for (device, sequence) in &checked {
        if options.json {
            say(&sequence.json(device));
        } else if sequence.lost > 0 || sequence.doubled > 0 {
            say(&sequence.line(device));
        }
    }
    if !options.json {
        let devices = checked.len();
        say(&format!("{devices} devices, {messages} messages, {lost} lost, {doubled} stored twice"));
    }
    if lost > 0 || doubled > 0 {
        bail!("{lost} messages are missing and {doubled} are there twice");
    }
    Ok(())
}

/// What the frames hold, and the gaps between them; nothing while a node has them.
fn count_again(options: &LedgerOptions, head: &Head) -> anyhow::Result<Option<(Recount, Gaps)>> {
    match DataDir::open(&options.data) {
        Ok(held) => {
            let mut gaps = GapFinder::open(held.root(), head, Duration::from_secs(options.least_gap))?;
            let counted = recount(&held, head.devices(), &mut |device, times| gaps.take(device, times))?;
            Ok(Some((counted, gaps.finish())))
        }
        Err(Error::Locked { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn in_frames(counted: &Recount, device: Option<&DeviceId>) -> u64 {
    device.and_then(|device| counted.stored.get(device)).copied().unwrap_or_default()
}

/// Every device of which the frames hold another number of readings than the fold says, and whatever can't be read.
///
/// A seal that was cut short leaves rows in the frames that the fold still calls pending: these are no surplus. What
/// retention removed was stored and counts for ever.
pub(crate) fn disagreements(ledgers: &Ledgers, counted: &Recount) -> Vec<String> {
    let of_devices = ledgers.iter().filter_map(|(device, ledger)| {
        let device = device.as_ref()?;
        let (frames, stored) = (in_frames(counted, Some(device)), ledger.stored);
        let (aged_out, perhaps) = counted.aged_out.get(device).copied().unwrap_or_default();
        let known = frames + aged_out..=frames + aged_out + perhaps;
        let agree = *known.end() >= stored && *known.start() <= stored + ledger.pending;
        (!agree).then(|| {
            format!("{device}: the fold says {stored} stored, the frames hold {frames}, {aged_out} aged out")
        })
    });
    of_devices.chain(counted.unreadable.iter().cloned()).collect()
}

fn line(name: &str, ledger: &Ledger, frames: Option<u64>) -> String {
    let numbers = [
        ledger.received(),
        ledger.stored,
        ledger.duplicate,
        ledger.rejected_total(),
        ledger.dead_lettered,
        ledger.pending,
    ];
    let [received, stored, duplicate, rejected, dead, pending] = numbers.map(|number| number.to_string());
    let frames = frames.map_or_else(|| "-".to_owned(), |frames| frames.to_string());
    row([name.to_owned(), received, stored, duplicate, rejected, dead, pending, frames])
}

fn row(cells: [String; 8]) -> String {
    let [device, numbers @ ..] = cells;
    numbers.iter().fold(format!("{device:<24}"), |row, number| format!("{row} {number:>10}"))
}

fn json(name: &str, ledger: &Ledger, frames: Option<u64>, gaps: Option<&[TimelineGap]>) -> String {
    let by_reason = |counts: &BTreeMap<voltree_model::RejectReason, u64>| {
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
        "in_frames": frames,
        "gaps": gaps.map(|gaps| gaps.iter().map(gaps::json).collect::<Vec<_>>()),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_and_too_many_frames_are_told_and_an_unfinished_seal_is_not() {
        let device = DeviceId::new("pack-1").unwrap();
        let ledger = Ledger { stored: 10, pending: 3, ..Ledger::default() };
        let ledgers = BTreeMap::from([(None, Ledger::default()), (Some(device.clone()), ledger)]);
        let told = |frames: u64| {
            let stored = BTreeMap::from([(device.clone(), frames)]);
            disagreements(&ledgers, &Recount { stored, ..Recount::default() })
        };
        assert!(told(10).is_empty() && told(13).is_empty());
        assert_eq!(told(9), ["pack-1: the fold says 10 stored, the frames hold 9, 0 aged out"]);
        assert_eq!(told(14).len(), 1);
        let aged_out = BTreeMap::from([(device.clone(), (4, 2))]);
        let told = |frames: u64| {
            let (stored, aged_out) = (BTreeMap::from([(device.clone(), frames)]), aged_out.clone());
            disagreements(&ledgers, &Recount { stored, aged_out, unreadable: Vec::new() })
        };
        assert!(told(4).is_empty() && told(6).is_empty() && told(9).is_empty());
        assert!(!told(3).is_empty() && !told(10).is_empty());
    }
}
