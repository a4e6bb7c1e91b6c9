//! Values that come again and again, kept once for the whole process: a node holds hundreds of thousands of readings, and
//! their names would be most of them.
//!
//! What is shared is never given back, so that a copy of it is a pointer and costs nothing to make or to drop, on whichever
//! thread. That is why only so much is shared: whoever sends ever new values gets copies of their own.

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::{Arc, LazyLock};
use std::thread::LocalKey;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::RwLock;

/// What all pools hash with; a sender can't know it.
pub(crate) static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// A value that is cheap to clone.
pub(crate) enum Shared<T: 'static> {
    Kept(&'static T),
    Own(Arc<T>),
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        match self {
            Self::Kept(kept) => Self::Kept(kept),
            Self::Own(own) => Self::Own(Arc::clone(own)),
        }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        match self {
            Self::Kept(kept) => kept,
            Self::Own(own) => own,
        }
    }
}

/// What is known, by its hash.
pub(crate) type Known<T> = HashTable<(u64, &'static T)>;

/// All that is shared of one kind.
pub(crate) struct Pool<T: 'static> {
    most: usize,
    all: RwLock<Known<T>>,
    /// What this thread has met, so that no lock is taken for it.
    met: &'static LocalKey<RefCell<Known<T>>>,
}

impl<T> Pool<T> {
    /// One that shares so many values at most.
    pub(crate) const fn new(most: usize, met: &'static LocalKey<RefCell<Known<T>>>) -> Self {
        Self { most, all: RwLock::new(HashTable::new()), met }
    }

    /// The shared copy of what has this hash and is found to be it, if there is one.
    pub(crate) fn find(&self, hash: u64, is_it: impl Fn(&T) -> bool) -> Option<Shared<T>> {
        self.met.with_borrow_mut(|met| {
            if let Some((_, kept)) = met.find(hash, |(_, kept)| is_it(kept)) {
                return Some(Shared::Kept(*kept));
            }
            let (_, kept) = *self.all.read().find(hash, |(_, kept)| is_it(kept))?;
            met.insert_unique(hash, (hash, kept), |(hash, _)| *hash);
            Some(Shared::Kept(kept))
        })
    }

    /// A copy of what `make` makes, shared if there is room.
    pub(crate) fn keep(&self, hash: u64, is_it: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> Shared<T> {
        if self.all.read().len() >= self.most {
            return self.find(hash, is_it).unwrap_or_else(|| Shared::Own(Arc::new(make())));
        }
        let mut all = self.all.write();
        if let Some((_, kept)) = all.find(hash, |(_, kept)| is_it(kept)) {
            return Shared::Kept(*kept);
        }
        let kept: &'static T = Box::leak(Box::new(make()));
        all.insert_unique(hash, (hash, kept), |(hash, _)| *hash);
        Shared::Kept(kept)
    }
}
