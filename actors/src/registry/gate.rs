//! The gate in front of the registry: who may become a device by merely publishing, who waits until an operator looks, and
//! who was sent away.
//!
//! Decisions are records of the journal and committed before they count; who waits is known again when they publish again. Bounded: a flood of names
//! fills the list of those who wait and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use voltree_model::{DeviceId, Timestamp};
use voltree_storage::{Error, JournalSlot, Record, RecordChange, RecordKind};

use super::remembered::of_devices;

/// How many may wait; past that the one that was silent for longest gives way.
const MOST_WAITING: usize = 1_000;
/// How many decisions are kept.
const MOST_DECISIONS: usize = 100_000;
/// How long an operator waits for the disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// What becomes of a publisher that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unknown {
    /// It is a device at once.
    #[default]
    Adopt,
    /// It is listed, and waits until an operator adopts it; what it sends meanwhile is rejected and counted.
    Quarantine,
    /// What it sends is rejected and counted.
    Deny,
}

/// A pattern of device ids, in which `*` stands for any text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdPattern(String);

/// The rules for those who are unknown: the first of these that fits counts, in the order deny, adopt, unknown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdmissionRules {
    /// Never become devices by publishing.
    pub deny: Vec<IdPattern>,
    /// Become devices at once.
    pub adopt: Vec<IdPattern>,
    /// All others.
    pub unknown: Unknown,
}

/// Somebody who publishes and is no device yet, or was sent away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The id that it would have.
    pub id: DeviceId,
    /// What it is called where it comes from.
    pub name: String,
    /// When it was first heard since the node started.
    pub first_seen: Option<Timestamp>,
    /// When it was last heard.
    pub last_seen: Option<Timestamp>,
    /// How many of its messages were turned away since the node started.
    pub messages: u64,
    /// Whether an operator sent it away.
    pub ignored: bool,
}

/// What an operator decided of a publisher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Decision {
    adopted: bool,
    name: String,
    offline_after_s: u64,
}

impl Record for Decision {
    const KIND: RecordKind = RecordKind::Admission;
    const VERSION: u8 = 1;
}

#[derive(Debug, Clone)]
struct Waiting {
    name: String,
    offline_after: Duration,
    first_seen: Timestamp,
    last_seen: Timestamp,
    messages: u64,
}

/// The node's gate.
#[derive(Debug, Default)]
pub struct Gate {
    rules: AdmissionRules,
    /// What keeps the decisions; without one they are those of this life.
    journal: Option<Arc<JournalSlot>>,
    decisions: RwLock<BTreeMap<DeviceId, Decision>>,
    /// Whether any decision sends somebody away: looked at with every message.
    anyone_ignored: AtomicBool,
    waiting: Mutex<BTreeMap<DeviceId, Waiting>>,
    /// One decision at a time, so that memory and journal have them in one order.
    deciding: Mutex<()>,
}

impl IdPattern {
    /// Checks a pattern: what a device id may hold, and `*`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '*');
        match text.chars().find(|c| !allowed(*c)) {
            _ if text.is_empty() => Err("a pattern may not be empty".to_owned()),
            Some(found) => Err(format!("a pattern of device ids may not contain {found:?}")),
            None => Ok(Self(text.to_owned())),
        }
    }

    /// The pattern of one device alone.
    pub fn exactly(id: &DeviceId) -> Self {
        Self(id.to_string())
    }

    /// Whether an id fits.
    pub fn matches(&self, id: &DeviceId) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = id.as_str().strip_prefix(first) else { return false };
        let mut parts = parts.peekable();
        if parts.peek().is_none() {
            return rest.is_empty();
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return rest.ends_with(part);
            }
            let Some((_, after)) = rest.split_once(part) else { return false };
            rest = after;
        }
        true
    }
}

impl Gate {
    /// Reads the decisions of the node's earlier lives, also those that an earlier version kept in the file `old`. Blocks,
    /// while the journal has no writer.
    pub fn open(journal: Arc<JournalSlot>, old: &Path, rules: AdmissionRules) -> Result<Self, Error> {
        let decisions: BTreeMap<DeviceId, Decision> = of_devices(&journal, old)?;
        let anyone_ignored = AtomicBool::new(decisions.values().any(|decision| !decision.adopted));
        let decisions = RwLock::new(decisions);
        Ok(Self { rules, journal: Some(journal), decisions, anyone_ignored, ..Self::default() })
    }

    /// Whether an operator sent it away.
    pub(super) fn turns_away(&self, id: &DeviceId) -> bool {
        self.anyone_ignored.load(Ordering::Acquire)
            && self.decisions.read().get(id).is_some_and(|decision| !decision.adopted)
    }

    /// Whether somebody unknown becomes a device now.
    pub(super) fn admits(&self, id: &DeviceId) -> bool {
        if let Some(decision) = self.decisions.read().get(id) {
            return decision.adopted;
        }
        let fits = |patterns: &[IdPattern]| patterns.iter().any(|pattern| pattern.matches(id));
        !fits(&self.rules.deny) && (fits(&self.rules.adopt) || self.rules.unknown == Unknown::Adopt)
    }

    /// Notes that somebody was turned away, so that an operator finds it.
    pub(super) fn note(&self, id: &DeviceId, name: &str, offline_after: Duration, now: Timestamp) {
        let denied = self.rules.deny.iter().any(|pattern| pattern.matches(id));
        if (denied || self.rules.unknown == Unknown::Deny) && !self.turns_away(id) {
            return;
        }
        let mut waiting = self.waiting.lock();
        if let Some(known) = waiting.get_mut(id) {
            known.last_seen = now;
            known.messages += 1;
            return;
        }
        if waiting.len() >= MOST_WAITING {
            let oldest = waiting.iter().min_by_key(|(_, waiting)| waiting.last_seen);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                waiting.remove(&oldest);
            }
        }
        let name = name.chars().filter(|c| !c.is_control()).take(128).collect();
        let fresh = Waiting { name, offline_after, first_seen: now, last_seen: now, messages: 1 };
        waiting.insert(id.clone(), fresh);
        drop(waiting);
        if !self.turns_away(id) {
            tracing::info!(event = "device.discovered", device = %id, "publishes and waits to be adopted");
        }
    }

    /// Everyone who waits or was sent away, by id.
    pub fn candidates(&self) -> Vec<Candidate> {
        let waiting = self.waiting.lock().clone();
        let mut candidates: BTreeMap<DeviceId, Candidate> = waiting
            .into_iter()
            .map(|(id, waiting)| {
                let candidate = Candidate {
                    id: id.clone(),
                    name: waiting.name,
                    first_seen: Some(waiting.first_seen),
                    last_seen: Some(waiting.last_seen),
                    messages: waiting.messages,
                    ignored: false,
                };
                (id, candidate)
            })
            .collect();
        for (id, decision) in self.decisions.read().iter().filter(|(_, decision)| !decision.adopted) {
            let unheard = || Candidate {
                id: id.clone(),
                name: decision.name.clone(),
                first_seen: None,
                last_seen: None,
                messages: 0,
                ignored: true,
            };
            candidates.entry(id.clone()).or_insert_with(unheard).ignored = true;
        }
        candidates.into_values().collect()
    }

    /// Everyone that an operator adopted, with name and patience.
    pub(super) fn adopted(&self) -> Vec<(DeviceId, String, Duration)> {
        let decisions = self.decisions.read();
        let adopted = decisions.iter().filter(|(_, decision)| decision.adopted);
        adopted
            .map(|(id, decision)| {
                (id.clone(), decision.name.clone(), Duration::from_secs(decision.offline_after_s))
            })
            .collect()
    }

    /// Keeps what an operator decided; it counts once it is durable. Blocks until then.
    pub(super) fn decide(
        &self,
        id: &DeviceId,
        adopted: bool,
        usual: Duration,
    ) -> Result<(String, Duration), Error> {
        let _one_at_a_time = self.deciding.lock();
        let (name, offline_after) = self.known_as(id, usual);
        let decision = Decision { adopted, name: name.clone(), offline_after_s: offline_after.as_secs() };
        let forgotten = self.to_forget(id);
        self.commit(id, &decision, &forgotten)?;
        let mut decisions = self.decisions.write();
        decisions.retain(|id, _| !forgotten.contains(id));
        decisions.insert(id.clone(), decision);
        self.anyone_ignored.store(decisions.values().any(|decision| !decision.adopted), Ordering::Release);
        drop(decisions);
        if adopted {
            self.waiting.lock().remove(id);
        }
        Ok((name, offline_after))
    }

    /// Takes back whatever was decided of it. Blocks until that is durable.
    pub(super) fn forget(&self, id: &DeviceId) -> Result<(), Error> {
        let _one_at_a_time = self.deciding.lock();
        if !self.decisions.read().contains_key(id) {
            return Ok(());
        }
        if let Some(journal) = &self.journal {
            let gone = RecordChange::entry::<Decision>(id.as_str(), None, crate::now())?;
            journal.commit(vec![gone], PATIENCE)?;
        }
        let mut decisions = self.decisions.write();
        decisions.remove(id);
        self.anyone_ignored.store(decisions.values().any(|decision| !decision.adopted), Ordering::Release);
        Ok(())
    }

    /// Its name and patience by what it said last, or by what was decided of it before.
    fn known_as(&self, id: &DeviceId, usual: Duration) -> (String, Duration) {
        let waiting = self.waiting.lock().get(id).cloned();
        let before = self.decisions.read().get(id).cloned();
        let name = waiting.as_ref().map(|waiting| waiting.name.clone());
        let name = name.or_else(|| before.as_ref().map(|b| b.name.clone())).unwrap_or_else(|| id.to_string());
        let kept = before.map(|before| Duration::from_secs(before.offline_after_s));
        (name, waiting.map(|waiting| waiting.offline_after).or(kept).unwrap_or(usual))
    }

    /// When there are too many decisions, those that sent somebody away give way.
    fn to_forget(&self, id: &DeviceId) -> BTreeSet<DeviceId> {
        let decisions = self.decisions.read();
        if decisions.len() < MOST_DECISIONS || decisions.contains_key(id) {
            return BTreeSet::new();
        }
        decisions.iter().filter(|(_, decision)| !decision.adopted).map(|(id, _)| id.clone()).collect()
    }

    fn commit(
        &self,
        id: &DeviceId,
        decision: &Decision,
        forgotten: &BTreeSet<DeviceId>,
    ) -> Result<(), Error> {
        let Some(journal) = &self.journal else { return Ok(()) };
        let now = crate::now();
        let gone = |id: &DeviceId| RecordChange::entry::<Decision>(id.as_str(), None, now);
        let mut entries = forgotten.iter().map(gone).collect::<Result<Vec<_>, _>>()?;
        entries.push(RecordChange::entry(id.as_str(), Some(decision), now)?);
        journal.commit(entries, PATIENCE)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_journal::{TestJournal, writing};

    const USUAL: Duration = Duration::from_secs(120);

    fn id(text: &str) -> DeviceId {
        DeviceId::new(text).unwrap()
    }

    fn rules(unknown: Unknown) -> AdmissionRules {
        let patterns = |texts: &[&str]| texts.iter().map(|text| IdPattern::parse(text).unwrap()).collect();
        AdmissionRules { deny: patterns(&["bad-*"]), adopt: patterns(&["pack-*", "*-ok-*"]), unknown }
    }

    #[test]
    fn a_pattern_fits_whole_ids_only() {
        for (pattern, text, fits) in [
            ("pack-*", "pack-1", true),
            ("pack-*", "my-pack-1", false),
            ("*-ok-*", "a-ok-b", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "acb", false),
            ("a", "ab", false),
            ("*", "anything", true),
        ] {
            assert_eq!(IdPattern::parse(pattern).unwrap().matches(&id(text)), fits, "{pattern} {text}");
        }
        assert!(IdPattern::parse("a/b").is_err() && IdPattern::parse("").is_err());
    }

    #[test]
    fn deny_comes_before_adopt_and_adopt_before_the_rest() {
        let gate = |unknown| Gate { rules: rules(unknown), ..Gate::default() };
        for unknown in [Unknown::Adopt, Unknown::Quarantine, Unknown::Deny] {
            let gate = gate(unknown);
            assert!(gate.admits(&id("pack-1")) && !gate.admits(&id("bad-ok-1")), "{unknown:?}");
            assert_eq!(gate.admits(&id("other")), unknown == Unknown::Adopt);
            gate.note(&id("other"), "Other", USUAL, Timestamp::from_millis(1));
            gate.note(&id("bad-1"), "Bad", USUAL, Timestamp::from_millis(1));
            assert_eq!(gate.candidates().len(), usize::from(unknown != Unknown::Deny), "{unknown:?}");
        }
    }

    #[test]
    fn what_an_operator_decided_outlives_the_node_and_comes_before_every_rule() {
        let journal = TestJournal::default();
        let open = |slot| Gate::open(slot, Path::new("none"), rules(Unknown::Quarantine)).unwrap();
        let slot = journal.open();
        let gate = open(Arc::clone(&slot));
        gate.note(&id("lamp"), "The lamp", Duration::from_secs(9), Timestamp::from_millis(5));
        writing(&slot, || {
            gate.decide(&id("lamp"), true, USUAL).unwrap();
            gate.decide(&id("pack-9"), false, USUAL).unwrap();
        });
        journal.power_cut();
        for gate in [gate, open(journal.open())] {
            assert!(gate.admits(&id("lamp")) && !gate.turns_away(&id("lamp")));
            assert!(gate.turns_away(&id("pack-9")) && !gate.admits(&id("pack-9")));
            assert_eq!(gate.adopted(), [(id("lamp"), "The lamp".to_owned(), Duration::from_secs(9))]);
            let [ignored] = gate.candidates().try_into().unwrap();
            assert!(ignored.ignored && ignored.id == id("pack-9"));
        }
        let slot = journal.open();
        writing(&slot, || open(Arc::clone(&slot)).decide(&id("pack-9"), true, USUAL)).unwrap();
        journal.power_cut();
        assert!(open(journal.open()).candidates().is_empty());
    }

    #[test]
    fn a_decision_that_the_journal_does_not_take_does_not_count() {
        let journal = TestJournal::default();
        let slot = journal.open();
        let gate = Gate::open(Arc::clone(&slot), Path::new("none"), rules(Unknown::Quarantine)).unwrap();
        // The first sync is that of the segment which is begun.
        journal.fail_sync_after(1);
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(slot.run(&stop).is_err()));
            assert!(gate.decide(&id("pack-9"), false, USUAL).is_err());
        });
        assert!(!gate.turns_away(&id("pack-9")) && gate.candidates().is_empty());
    }

    #[test]
    fn decisions_that_an_earlier_version_kept_in_a_file_are_taken_over_once() {
        let (dir, journal) = (tempfile::tempdir().unwrap(), TestJournal::default());
        let old = dir.path().join("admission");
        // Written as it was then, by hand: the header, and a map of one decision.
        voltree_storage::save_snapshot(&old, &BTreeMap::from([("lamp", (true, "The lamp", 9_u64))])).unwrap();
        for _ in 0..2 {
            let gate = Gate::open(journal.open(), &old, rules(Unknown::Deny)).unwrap();
            assert_eq!(gate.adopted(), [(id("lamp"), "The lamp".to_owned(), Duration::from_secs(9))]);
            assert!(!old.exists());
            journal.power_cut();
        }
    }

    #[test]
    fn a_flood_of_names_fills_the_list_and_nothing_else() {
        let gate = Gate { rules: rules(Unknown::Quarantine), ..Gate::default() };
        for n in 0..2_000 {
            gate.note(&id(&format!("n{n}")), "", USUAL, Timestamp::from_millis(n));
        }
        let candidates = gate.candidates();
        assert_eq!(candidates.len(), MOST_WAITING);
        assert!(candidates.iter().any(|candidate| candidate.id == id("n1999")), "the latest is there");
    }
}
