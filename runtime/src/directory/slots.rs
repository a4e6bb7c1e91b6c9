//! All entries of a directory, in parts: the watchman goes through them one part at a time, so that he never keeps a
//! processor or a lock for long, however many actors there are.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::RwLock;

use super::slot::Slot;
use crate::ActorPath;

/// How many parts there are.
pub(super) const PARTS: usize = 64;

type Part = RwLock<HashMap<ActorPath, Arc<Slot>>>;

#[derive(Debug)]
pub(super) struct Slots {
    hasher: RandomState,
    parts: [Part; PARTS],
}

impl Default for Slots {
    fn default() -> Self {
        Self { hasher: RandomState::new(), parts: std::array::from_fn(|_| Part::default()) }
    }
}

impl Slots {
    /// The parts, to be read one after the other.
    pub(super) fn parts(&self) -> &[Part; PARTS] {
        &self.parts
    }

    pub(super) fn get(&self, path: &str) -> Option<Arc<Slot>> {
        self.part(path).read().get(path).cloned()
    }

    pub(super) fn get_or_insert_with(&self, path: &ActorPath, new: impl FnOnce() -> Slot) -> Arc<Slot> {
        let mut part = self.part(path.as_str()).write();
        Arc::clone(part.entry(path.clone()).or_insert_with(|| Arc::new(new())))
    }

    pub(super) fn remove(&self, path: &ActorPath) -> Option<Arc<Slot>> {
        self.part(path.as_str()).write().remove(path)
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash do")]
    fn part(&self, path: &str) -> &Part {
        &self.parts[self.hasher.hash_one(path) as usize % PARTS]
    }
}
