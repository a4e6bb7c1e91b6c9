//! What outlives the node of other conventions: announcements, and the topics under which mapped devices were first seen.
//!
//! Each is a record under its topic, written when it is news. One that the journal did not take is written again with the
//! next message on its topic.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use voltree_storage::{Error, JournalSlot, Record, RecordChange, RecordKind};

use super::Conventions;

/// What was said on a topic that is to be remembered. This is a disk format.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    /// Empty where only the topic matters.
    payload: Vec<u8>,
}

impl Record for Remembered {
    const KIND: RecordKind = RecordKind::Announcement;
    const VERSION: u8 = 1;
}

/// What the journal has, or was offered.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Without one nothing is remembered.
    journal: Option<Arc<JournalSlot>>,
    /// What each topic's record says, as a hash.
    kept: Arc<Mutex<HashMap<String, u64>>>,
}

impl Conventions {
    /// Knows what was announced and seen in earlier lives of the node, and remembers it from now on. Blocks, while the
    /// journal has no writer.
    pub fn remembering(mut self, journal: Arc<JournalSlot>) -> Result<Self, Error> {
        let all = journal.records().all::<Remembered>()?;
        let kept = all.iter().map(|(topic, said)| (topic.clone(), hash_of(&said.payload))).collect();
        self.memory = Memory { journal: Some(journal), kept: Arc::new(Mutex::new(kept)) };
        for (topic, Remembered { payload }) in all {
            if payload.is_empty() {
                self.recognise(&topic);
            } else {
                self.read_announced(&topic, &payload);
            }
        }
        Ok(self)
    }
}

impl Memory {
    /// Keeps what was said on a topic, or that there is nothing to be remembered of it any more.
    pub(super) fn keep(&self, topic: &str, payload: Option<&[u8]>) {
        let Some(journal) = &self.journal else { return };
        let mut kept = self.kept.lock();
        let wanted = payload.map(hash_of);
        if kept.get(topic).copied() == wanted {
            return;
        }
        let said = payload.map(|payload| Remembered { payload: payload.to_vec() });
        // What does not fit into a record never will.
        let Ok(entry) = RecordChange::entry(topic, said.as_ref(), crate::now()) else { return };
        match wanted {
            Some(hash) => drop(kept.insert(topic.to_owned(), hash)),
            None => drop(kept.remove(topic)),
        }
        drop(kept);
        let (kept, topic) = (Arc::clone(&self.kept), topic.to_owned());
        let done = move |result: Result<_, _>| {
            if result.is_err() {
                kept.lock().remove(&topic);
            }
        };
        journal.append(vec![entry], Box::new(done));
    }
}

fn hash_of(payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    payload.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use voltree_model::{DeviceId, Timestamp};
    use voltree_protocols::mapping::Mapping;

    use super::*;
    use crate::test_journal::{BOUND, TestJournal};

    const TOPIC: &str = "homeassistant/switch/heater/main/config";
    const HEATER: &[u8] = br#"{"name":"Heater","uniq_id":"h1","dev":{"ids":"heater","name":"Heater"},"stat_t":"heater/state","cmd_t":"heater/set"}"#;

    fn conventions(journal: &Arc<JournalSlot>) -> Conventions {
        let conventions = Conventions::new(vec![Mapping::preset("tasmota", &BTreeMap::new()).unwrap()]);
        conventions.with_discovery("homeassistant").remembering(Arc::clone(journal)).unwrap()
    }

    #[test]
    fn what_was_announced_and_who_was_seen_is_known_after_a_restart_until_it_is_taken_back() {
        let (disk, now) = (TestJournal::default(), Timestamp::from_millis(0));
        let [heater, lamp] = ["heater", "lamp"].map(|id| DeviceId::new(id).unwrap());
        let journal = disk.open();
        let before = conventions(&journal);
        for _ in 0..3 {
            before.read(TOPIC, HEATER, now).unwrap();
            before.read("tele/lamp/STATE", br#"{"POWER":"OFF"}"#, now).unwrap();
        }
        journal.commit_alone(Vec::new(), BOUND).unwrap();
        assert_eq!(journal.committed().0, 2, "only what is news is written");
        let on = serde_json::json!({ "on": true });
        let told = before.say(&lamp, "set_power", &on);
        disk.power_cut();

        let journal = disk.open();
        let after = conventions(&journal);
        assert_eq!(after.describe(&heater).announced, before.describe(&heater).announced);
        assert_eq!((after.say(&lamp, "set_power", &on), told.is_some()), (told, true));
        after.read(TOPIC, b"", now).unwrap();
        journal.commit_alone(Vec::new(), BOUND).unwrap();
        disk.power_cut();
        let again = conventions(&disk.open());
        assert!(again.describe(&heater).announced.is_empty());
    }
}
