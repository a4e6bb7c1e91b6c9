//! What the node remembers of devices besides their readings: names and types that were configured, and what an operator
//! decided. Each is a record of the journal.
//!
//! Earlier versions kept each in a snapshot of all devices; what such a file holds is taken over once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use voltree_model::DeviceId;
use voltree_storage::{Entry, Error, JournalSlot, RealDisk, Record, RecordChange, RecordKind, load_snapshot};

/// What is kept of a configured device, so that its history keeps its name when it is configured no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRecord {
    /// What its operator called it.
    pub name: String,
    /// Its type as the contract names it.
    pub kind: String,
}

impl Record for DeviceRecord {
    const KIND: RecordKind = RecordKind::Device;
    const VERSION: u8 = 1;
}

impl DeviceRecord {
    /// Every device that was ever configured, also by a version that kept them in the file `old`. Blocks, while the
    /// journal has no writer.
    pub fn known(journal: &JournalSlot, old: &Path) -> Result<BTreeMap<DeviceId, Self>, Error> {
        of_devices(journal, old)
    }

    /// Hands what is news to the journal, which writes it as soon as it has a writer.
    pub fn keep(
        journal: &Arc<JournalSlot>,
        known: &mut BTreeMap<DeviceId, Self>,
        configured: impl IntoIterator<Item = (DeviceId, Self)>,
    ) -> Result<(), Error> {
        let mut news = Vec::new();
        for (id, record) in configured {
            if known.get(&id) != Some(&record) {
                news.push(RecordChange::entry(id.as_str(), Some(&record), crate::now())?);
                known.insert(id, record);
            }
        }
        if !news.is_empty() {
            // Should the writer fail on it, it is news again at the next start.
            journal.append(news, Box::new(|_| {}));
        }
        Ok(())
    }
}

/// All records of a type whose keys are devices; before, those that an earlier version kept in a file are taken over.
pub(super) fn of_devices<T: Record>(
    journal: &JournalSlot,
    old: &Path,
) -> Result<BTreeMap<DeviceId, T>, Error> {
    if let Some(kept) = load_snapshot::<BTreeMap<DeviceId, T>>(old)? {
        let entry =
            |(id, record): (&DeviceId, &T)| RecordChange::entry(id.as_str(), Some(record), crate::now());
        let entries: Vec<Entry> = kept.iter().map(entry).collect::<Result<_, _>>()?;
        voltree_storage::take_over(&RealDisk, journal, &[old.to_owned()], entries)?;
    }
    let all = journal.records().all::<T>()?.into_iter();
    // Whatever is no device id was not written by us.
    Ok(all.filter_map(|(id, record)| Some((DeviceId::new(&id).ok()?, record))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_journal::TestJournal;

    fn record(name: &str) -> DeviceRecord {
        DeviceRecord { name: name.to_owned(), kind: "daly_bms".to_owned() }
    }

    fn id(text: &str) -> DeviceId {
        DeviceId::new(text).unwrap()
    }

    #[test]
    fn names_that_an_earlier_version_kept_in_a_file_are_taken_over_once_and_kept_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("devices");
        let file = BTreeMap::from([(id("a"), record("A")), (id("b"), record("B"))]);
        voltree_storage::save_snapshot(&old, &file).unwrap();
        let journal = TestJournal::default();
        let mut known = DeviceRecord::known(&journal.open(), &old).unwrap();
        assert_eq!((&known, old.exists()), (&file, false));
        let (slot, before) = (journal.open(), journal.open().committed());
        let configured = [(id("a"), record("A")), (id("b"), record("B2"))];
        DeviceRecord::keep(&slot, &mut known, configured).unwrap();
        // An append of nothing waits for its turn.
        slot.commit_alone(Vec::new(), crate::test_journal::BOUND).unwrap();
        assert_eq!(slot.committed().0, before.0 + 1, "only what is news is written");
        journal.power_cut();
        let known = DeviceRecord::known(&journal.open(), &old).unwrap();
        assert_eq!(known, BTreeMap::from([(id("a"), record("A")), (id("b"), record("B2"))]));
    }

    #[test]
    fn a_file_that_is_damaged_is_named_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("devices");
        std::fs::write(&old, b"VOLTSNAP and then nothing").unwrap();
        let error = DeviceRecord::known(&TestJournal::default().open(), &old).unwrap_err().to_string();
        assert!(error.contains("devices") && old.exists(), "{error}");
    }
}
