//! `voltree storage verify`: everything that has a checksum is read, and whatever is damaged is named.

use anyhow::bail;
use voltree_storage::{Damage, DataDir, Depth, Inspection, Recount, inspect, read_ledgers, recount};

use super::{Progress, ToolOptions, hold};
use crate::cli::say;
use crate::ledger::disagreements;

pub(super) fn run(options: &ToolOptions) -> anyhow::Result<()> {
    let (data, mut progress) = (hold(&options.data)?, Progress::new()?);
    let mut found = inspect(&data, Depth::Values, &mut |at| progress.step(|| format!("reading {at}")))?;
    found.damages.extend(missing(&data)?);
    if options.json {
        let value = serde_json::json!({
            "sound": found.is_sound(),
            "damages": found.damages,
            "quarantined": found.quarantined,
            "journal_entries": found.journal.entries,
            "parts": parts(&found),
        });
        say(&serde_json::to_string_pretty(&value)?);
    } else {
        found.damages.iter().for_each(|damage| say(&format!("damaged: {}: {}", damage.what, damage.why)));
        found.quarantined.iter().for_each(|bucket| say(&format!("quarantined by a node: {bucket}")));
        say(&format!("{} journal entries, {} frames and rollups read", found.journal.entries, parts(&found)));
    }
    if !found.is_sound() {
        bail!(
            "{} thing(s) in {} are damaged; a node sets damaged buckets aside and rebuilds them from the journal as far as \
             that goes back; restore the rest from a backup",
            found.damages.len(),
            options.data.display()
        );
    }
    Ok(())
}

/// What the ledger says is stored and the frames don't have, or the other way round: a bucket's engine may have forgotten
/// what it could not read.
fn missing(data: &DataDir) -> anyhow::Result<Vec<Damage>> {
    let what = "the ledger".to_owned();
    let ledgers = match read_ledgers(data) {
        Ok(ledgers) => ledgers,
        Err(error) => return Ok(vec![Damage { what, why: error.to_string() }]),
    };
    let devices: Vec<_> = ledgers.keys().flatten().collect();
    let counted = recount(data, devices, &mut |_, _| {})?;
    // What can't be read was named already.
    let counted = Recount { unreadable: Vec::new(), ..counted };
    let disagreements = disagreements(&ledgers, &counted).into_iter();
    Ok(disagreements.map(|why| Damage { what: what.clone(), why }).collect())
}

fn parts(found: &Inspection) -> u64 {
    found.levels.iter().map(|level| level.total().parts).sum()
}
