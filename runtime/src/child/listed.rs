//! The children of one supervisor. The list belongs to the node, so it outlives the supervisor: whoever supervises
//! next finds every child that was ever added and not removed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use ractor::ActorRef;

use super::{ChildSpec, Terms};
use crate::directory::Slot;
use crate::supervisor::{Key, SupervisorMsg};
use crate::{ActorPath, Directory};

/// The children of one supervisor, in start order.
#[derive(Debug, Clone, Default)]
pub struct Children {
    list: Arc<Mutex<List>>,
}

#[derive(Debug, Default)]
struct List {
    by_key: BTreeMap<Key, Arc<Entry>>,
    by_name: HashMap<Arc<str>, Key>,
    last_key: Key,
    last_terms: Option<Arc<Terms>>,
    /// Children that the supervisor has not been told of.
    news: Vec<Key>,
    supervisor: Option<ActorRef<SupervisorMsg>>,
}

/// One child with its entry in the directory.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) spec: ChildSpec,
    slot: OnceLock<Arc<Slot>>,
}

impl Entry {
    /// The child's entry in the directory, made if it is not there.
    pub(crate) fn slot(&self, directory: &Directory, supervisor: &ActorPath) -> &Arc<Slot> {
        self.slot.get_or_init(|| {
            directory.slot(&supervisor.child(&self.spec.name), self.spec.kind, self.spec.is_supervisor())
        })
    }
}

impl Children {
    /// These children, in start order.
    pub fn new(specs: impl IntoIterator<Item = ChildSpec>) -> Self {
        let mut list = List::default();
        for spec in specs {
            list.insert(spec);
        }
        Self { list: Arc::new(Mutex::new(list)) }
    }

    /// Adds a child and tells the supervisor at `path`; a name that is taken already changes nothing.
    pub fn add(&self, directory: &Directory, path: &ActorPath, spec: ChildSpec) {
        let mut list = self.list.lock();
        let Some((key, entry)) = list.insert(spec) else { return };
        // Only the first of several pieces of news needs a message.
        list.news.push(key);
        if let Some(supervisor) = list.supervisor.as_ref().filter(|_| list.news.len() == 1) {
            // One that is gone needs no news: its successor reads the whole list.
            supervisor.send_message(SupervisorMsg::ChildrenAdded).ok();
        }
        drop(list);
        entry.slot(directory, path);
    }

    /// Has the supervisor stop a child in good order and forget it; its name is free again once that is done.
    pub fn remove(&self, name: &str) {
        let mut list = self.list.lock();
        let Some(&key) = list.by_name.get(name) else { return };
        let told = list
            .supervisor
            .as_ref()
            .is_some_and(|supervisor| supervisor.send_message(SupervisorMsg::Remove(key)).is_ok());
        if !told {
            list.by_name.remove(name);
            list.by_key.remove(&key);
        }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.lock().by_key.len()
    }

    /// Every child so far; from now on this supervisor is told of more.
    pub(crate) fn supervised_by(&self, supervisor: ActorRef<SupervisorMsg>) -> Vec<Key> {
        let mut list = self.list.lock();
        list.supervisor = Some(supervisor);
        list.news.clear();
        list.by_key.keys().copied().collect()
    }

    /// The children that were added since somebody last asked.
    pub(crate) fn take_news(&self) -> Vec<Key> {
        std::mem::take(&mut self.list.lock().news)
    }

    pub(crate) fn get(&self, key: Key) -> Option<Arc<Entry>> {
        self.list.lock().by_key.get(&key).cloned()
    }

    pub(crate) fn key_of(&self, name: &str) -> Option<Key> {
        self.list.lock().by_name.get(name).copied()
    }

    pub(crate) fn forget(&self, key: Key) {
        let mut list = self.list.lock();
        if let Some(entry) = list.by_key.remove(&key) {
            list.by_name.remove(&entry.spec.name);
        }
    }
}

impl List {
    fn insert(&mut self, mut spec: ChildSpec) -> Option<(Key, Arc<Entry>)> {
        if self.by_name.contains_key(&spec.name) {
            return None;
        }
        // Siblings mostly have the same terms; a hundred thousand devices need them once.
        match &self.last_terms {
            Some(terms) if **terms == *spec.terms => spec.terms = Arc::clone(terms),
            Some(_) | None => self.last_terms = Some(Arc::clone(&spec.terms)),
        }
        self.last_key += 1;
        self.by_name.insert(Arc::clone(&spec.name), self.last_key);
        let entry = Arc::new(Entry { spec, slot: OnceLock::new() });
        self.by_key.insert(self.last_key, Arc::clone(&entry));
        Some((self.last_key, entry))
    }
}
