//! The gate in front of the registry: who may become a device by merely publishing, who waits until an operator looks, and
//! who was sent away.
//!
//! Decisions are saved before they count; who waits is known again when they publish again. Bounded: a flood of names
//! fills the list of those who wait and nothing else.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use voltree_model::{DeviceId, Timestamp};

/// How many may wait; past that the one that was silent for longest gives way.
const MOST_WAITING: usize = 1_000;
/// How many decisions are kept.
const MOST_DECISIONS: usize = 100_000;

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
    file: Option<PathBuf>,
    decisions: RwLock<BTreeMap<DeviceId, Decision>>,
    /// Whether any decision sends somebody away: looked at with every message.
    anyone_ignored: AtomicBool,
    waiting: Mutex<BTreeMap<DeviceId, Waiting>>,
    /// One save at a time, the newest last.
    saving: Mutex<()>,
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
    /// Reads the decisions of the node's earlier lives.
    pub fn open(file: PathBuf, rules: AdmissionRules) -> Result<Self, voltree_storage::Error> {
        let decisions: BTreeMap<DeviceId, Decision> =
            voltree_storage::load_snapshot(&file)?.unwrap_or_default();
        let anyone_ignored = AtomicBool::new(decisions.values().any(|decision| !decision.adopted));
        let decisions = RwLock::new(decisions);
        Ok(Self { rules, file: Some(file), decisions, anyone_ignored, ..Self::default() })
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

    /// Saves what an operator decided; it counts from then on. Blocks on the disk.
    pub(super) fn decide(
        &self,
        id: &DeviceId,
        adopted: bool,
        usual: Duration,
    ) -> Result<(String, Duration), voltree_storage::Error> {
        let _one_at_a_time = self.saving.lock();
        let waiting = self.waiting.lock().get(id).cloned();
        let before = self.decisions.read().get(id).cloned();
        let name = waiting.as_ref().map(|waiting| waiting.name.clone());
        let name = name.or_else(|| before.as_ref().map(|b| b.name.clone())).unwrap_or_else(|| id.to_string());
        let kept = before.map(|before| Duration::from_secs(before.offline_after_s));
        let offline_after = waiting.map(|waiting| waiting.offline_after).or(kept).unwrap_or(usual);
        let mut decisions = self.decisions.read().clone();
        if decisions.len() >= MOST_DECISIONS && !decisions.contains_key(id) {
            decisions.retain(|_, decision| decision.adopted);
        }
        let decision = Decision { adopted, name: name.clone(), offline_after_s: offline_after.as_secs() };
        decisions.insert(id.clone(), decision);
        if let Some(file) = &self.file {
            voltree_storage::save_snapshot(file, &decisions)?;
        }
        self.anyone_ignored.store(decisions.values().any(|decision| !decision.adopted), Ordering::Release);
        *self.decisions.write() = decisions;
        if adopted {
            self.waiting.lock().remove(id);
        }
        Ok((name, offline_after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let dir = tempfile::tempdir().unwrap();
        let gate = |unknown| Gate::open(dir.path().join("gate"), rules(unknown)).unwrap();
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
        let dir = tempfile::tempdir().unwrap();
        let open = || Gate::open(dir.path().join("gate"), rules(Unknown::Quarantine)).unwrap();
        let gate = open();
        gate.note(&id("lamp"), "The lamp", Duration::from_secs(9), Timestamp::from_millis(5));
        gate.decide(&id("lamp"), true, USUAL).unwrap();
        gate.decide(&id("pack-9"), false, USUAL).unwrap();
        for gate in [gate, open()] {
            assert!(gate.admits(&id("lamp")) && !gate.turns_away(&id("lamp")));
            assert!(gate.turns_away(&id("pack-9")) && !gate.admits(&id("pack-9")));
            assert_eq!(gate.adopted(), [(id("lamp"), "The lamp".to_owned(), Duration::from_secs(9))]);
            let [ignored] = gate.candidates().try_into().unwrap();
            assert!(ignored.ignored && ignored.id == id("pack-9"));
        }
        open().decide(&id("pack-9"), true, USUAL).unwrap();
        assert!(open().candidates().is_empty());
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
