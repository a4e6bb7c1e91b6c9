//! Where a device or one of its entities stands by an operator's word: disabled, or removed. Each word is a record of the
//! journal, committed before it counts, with its reason and its time; what is enabled has none.
//!
//! Asked for every message, so nothing is looked up as long as no word was given.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use voltree_model::{DeviceId, Timestamp};
use voltree_storage::{Error, JournalSlot, Record, RecordChange, RecordKind};

/// How long an operator waits for the disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an operator said. The order is a disk format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Word {
    /// It stays in its list, and nothing of it is taken in.
    Disabled,
    /// It leaves its list, until it speaks again.
    Removed,
}

impl Word {
    /// What an operator did who said so.
    pub(crate) const fn past(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Removed => "removed",
        }
    }
}

/// An operator's word, why it was given and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// What was said.
    pub word: Word,
    /// Why.
    pub reason: String,
    /// When.
    pub since: Timestamp,
}

impl Record for Standing {
    const KIND: RecordKind = RecordKind::Standing;
    const VERSION: u8 = 1;
}

/// A device, or one of its entities by its key.
pub(super) type Subject = (DeviceId, Option<String>);

/// Every word that counts.
#[derive(Debug, Default)]
pub(super) struct Standings {
    /// What keeps the words; without one they are those of this life.
    journal: Option<Arc<JournalSlot>>,
    known: RwLock<BTreeMap<Subject, Standing>>,
    /// Whether there are any at all.
    any: AtomicBool,
    /// One word at a time, so that memory and journal have them in one order.
    changing: Mutex<()>,
}

/// No device id holds a slash.
fn key_of((device, entity): &Subject) -> String {
    entity.as_ref().map_or_else(|| device.to_string(), |entity| format!("{device}/{entity}"))
}

fn subject_of(key: &str) -> Option<Subject> {
    let (device, entity) = key.split_once('/').map_or((key, None), |(id, entity)| (id, Some(entity)));
    Some((DeviceId::new(device).ok()?, entity.map(str::to_owned)))
}

impl Standings {
    /// Reads the words of the node's earlier lives. Blocks, while the journal has no writer.
    pub(super) fn open(journal: Arc<JournalSlot>) -> Result<Self, Error> {
        let all = journal.records().all::<Standing>()?.into_iter();
        let known: BTreeMap<_, _> = all.filter_map(|(key, word)| Some((subject_of(&key)?, word))).collect();
        let any = AtomicBool::new(!known.is_empty());
        Ok(Self { journal: Some(journal), known: RwLock::new(known), any, ..Self::default() })
    }

    /// What was said of a device.
    pub(super) fn of(&self, device: &DeviceId) -> Option<Standing> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.known.read().get(&(device.clone(), None)).cloned()
    }

    /// What was said of a device's entities, by key.
    pub(super) fn of_entities(&self, device: &DeviceId) -> BTreeMap<String, Standing> {
        if !self.any.load(Ordering::Acquire) {
            return BTreeMap::new();
        }
        let known = self.known.read();
        let own = known.range((device.clone(), None)..).take_while(|((id, _), _)| id == device);
        own.filter_map(|((_, key), standing)| Some((key.clone()?, standing.clone()))).collect()
    }

    /// Whether anything was said of a device's entities.
    pub(super) fn any_of_entities(&self, device: &DeviceId) -> bool {
        if !self.any.load(Ordering::Acquire) {
            return false;
        }
        let known = self.known.read();
        let own = known.range((device.clone(), Some(String::new()))..).next();
        own.is_some_and(|((id, _), _)| id == device)
    }

    /// What was said of one entity of a device.
    pub(super) fn of_entity(&self, device: &DeviceId, entity: &str) -> Option<Standing> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.known.read().get(&(device.clone(), Some(entity.to_owned()))).cloned()
    }

    /// Keeps a word, or takes the last one back; it counts once it is durable. Blocks until then.
    pub(super) fn set(&self, subject: Subject, standing: Option<Standing>) -> Result<(), Error> {
        let _one_at_a_time = self.changing.lock();
        if let Some(journal) = &self.journal {
            let entry = RecordChange::entry(&key_of(&subject), standing.as_ref(), crate::now())?;
            journal.commit(vec![entry], PATIENCE)?;
        }
        self.put(subject, standing);
        Ok(())
    }

    /// Takes a word back without waiting for the disk: should it not get there, the word is taken back again when the
    /// device speaks again.
    pub(super) fn forget(&self, subject: Subject) -> Result<(), Error> {
        if let Some(journal) = &self.journal {
            let entry = RecordChange::entry::<Standing>(&key_of(&subject), None, crate::now())?;
            journal.append(vec![entry], Box::new(|_| {}));
        }
        self.put(subject, None);
        Ok(())
    }

    fn put(&self, subject: Subject, standing: Option<Standing>) {
        let mut known = self.known.write();
        match standing {
            Some(standing) => drop(known.insert(subject, standing)),
            None => drop(known.remove(&subject)),
        }
        self.any.store(!known.is_empty(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_journal::{TestJournal, writing};

    fn word(word: Word) -> Option<Standing> {
        Some(Standing { word, reason: "noisy".to_owned(), since: Timestamp::from_millis(5) })
    }

    #[test]
    fn words_outlive_the_node_and_count_until_they_are_taken_back() {
        let (journal, pack) = (TestJournal::default(), DeviceId::new("pack").unwrap());
        let slot = journal.open();
        let standings = Standings::open(Arc::clone(&slot)).unwrap();
        assert_eq!((standings.of(&pack), standings.any_of_entities(&pack)), (None, false));
        writing(&slot, || {
            standings.set((pack.clone(), None), word(Word::Disabled)).unwrap();
            standings.set((pack.clone(), Some("a/b".to_owned())), word(Word::Removed)).unwrap();
        });
        journal.power_cut();
        let slot = journal.open();
        for standings in [standings, Standings::open(Arc::clone(&slot)).unwrap()] {
            assert_eq!(standings.of(&pack), word(Word::Disabled));
            assert_eq!(standings.of_entity(&pack, "a/b"), word(Word::Removed));
            assert!(standings.any_of_entities(&pack));
            let entities: Vec<_> = standings.of_entities(&pack).into_keys().collect();
            assert_eq!(entities, ["a/b"]);
        }
        let standings = Standings::open(Arc::clone(&slot)).unwrap();
        writing(&slot, || standings.set((pack.clone(), None), None)).unwrap();
        journal.power_cut();
        let standings = Standings::open(journal.open()).unwrap();
        assert_eq!((standings.of(&pack), standings.of_entities(&pack).len()), (None, 1));
    }

    #[test]
    fn a_word_that_the_journal_does_not_take_does_not_count() {
        let (journal, pack) = (TestJournal::default(), DeviceId::new("pack").unwrap());
        let slot = journal.open();
        let standings = Standings::open(Arc::clone(&slot)).unwrap();
        journal.fail_sync_after(1);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(slot.run(&stop).is_err()));
            assert!(standings.set((pack.clone(), None), word(Word::Disabled)).is_err());
        });
        assert_eq!(standings.of(&pack), None);
    }
}
