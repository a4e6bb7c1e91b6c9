//! What is wrong with the node itself, rather than with what a device measures: the conditions of its own rules, each
//! with the one it is about. Pure.

use std::collections::BTreeMap;
use std::path::PathBuf;

use voltree_model::DeviceId;
use voltree_runtime::{ActorPath, StuckActor};
use voltree_storage::NearlyFull;

/// The conditions of one rule that hold now: whom each is about, and what to say of it.
pub(super) type Conditions = BTreeMap<DeviceId, String>;

/// The longest id there is.
const MAX_ID: usize = 64;

/// Every actor that has a thread stuck, once, however many.
pub(super) fn stuck(actors: &[StuckActor], device_of: impl Fn(&ActorPath) -> Option<DeviceId>) -> Conditions {
    let mut conditions = Conditions::new();
    for actor in actors {
        let Some(subject) = device_of(&actor.path).or_else(|| subject_of(&actor.path)) else { continue };
        conditions.entry(subject).or_insert_with(|| {
            format!(
                "incarnation {} of {} was given up and still holds its thread; another runs in its place. It ends by \
                 itself or with the node",
                actor.incarnation, actor.path
            )
        });
    }
    conditions
}

/// The storage, where it is nearly full.
pub(super) fn nearly_full(storage: &ActorPath, nearly_full: Option<NearlyFull>) -> Conditions {
    let told = nearly_full.zip(subject_of(storage)).map(|(use_of, subject)| {
        let NearlyFull { used_bytes, max_bytes } = use_of;
        let told = format!(
            "the buckets take {used_bytes} of {max_bytes} bytes; past that the oldest readings go first"
        );
        (subject, told)
    });
    told.into_iter().collect()
}

/// The storage, while damaged buckets are in its quarantine.
pub(super) fn damaged(storage: &ActorPath, set_aside: &[PathBuf]) -> Conditions {
    let Some((first, subject)) = set_aside.first().zip(subject_of(storage)) else { return Conditions::new() };
    let told = format!(
        "{} damaged bucket(s) were set aside, the first as {}. What the journal still had of them was put back; restore \
         the rest from a backup, and move them away to end this",
        set_aside.len(),
        first.display()
    );
    Conditions::from([(subject, told)])
}

/// What an alert about an actor that is no device names in the place of one: its path with dots, the last part of it
/// where it is too long.
fn subject_of(path: &ActorPath) -> Option<DeviceId> {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.') { c } else { '.' };
    let text: String = path.as_str().chars().map(plain).collect();
    DeviceId::new(text.get(text.len().saturating_sub(MAX_ID)..).unwrap_or_default()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stuck_actor(path: ActorPath, incarnation: u64) -> StuckActor {
        StuckActor { path, incarnation }
    }

    #[test]
    fn an_actor_with_two_stuck_threads_is_one_condition_under_its_device_or_its_path() {
        let root = ActorPath::root("node");
        let pack = root.child("devices").child("pack");
        let actors = [
            stuck_actor(pack.clone(), 1),
            stuck_actor(pack.clone(), 2),
            stuck_actor(root.child("storage").child("journal"), 1),
        ];
        let device = |path: &ActorPath| (*path == pack).then(|| DeviceId::new("pack").unwrap());
        let conditions = stuck(&actors, device);
        let subjects: Vec<_> = conditions.keys().map(DeviceId::as_str).collect();
        assert_eq!(subjects, ["node.storage.journal", "pack"]);
        assert!(conditions.values().all(|message| message.starts_with("incarnation 1 of node/")));
    }

    #[test]
    fn every_path_has_a_subject() {
        let long = ActorPath::root("node").child(&"x".repeat(100)).child("öl & wasser");
        let subject = subject_of(&long).unwrap();
        assert!(subject.as_str().len() == MAX_ID && subject.as_str().ends_with("l...wasser"), "{subject}");
    }
}
