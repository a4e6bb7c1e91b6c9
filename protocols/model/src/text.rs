//! Texts that come again and again: names and units of series.

use std::cell::RefCell;
use std::hash::{BuildHasher, Hash, Hasher};

use crate::shared::{HASHER, Known, Pool, Shared};

/// So many texts are shared; with the longest names they take two megabytes.
const MOST_SHARED: usize = 16 * 1024;

/// A text that is cheap to clone.
#[derive(Clone)]
pub(crate) struct Text(Shared<Box<str>>);

thread_local! {
    static MET: RefCell<Known<Box<str>>> = const { RefCell::new(Known::new()) };
}

static ALL: Pool<Box<str>> = Pool::new(MOST_SHARED, &MET);

impl Text {
    /// The shared copy of a text, if there is one.
    pub(crate) fn find(text: &str) -> Option<Self> {
        ALL.find(HASHER.hash_one(text), |kept| **kept == *text).map(Self)
    }

    /// A copy of a text, shared if there is room.
    pub(crate) fn keep(text: &str) -> Self {
        Self(ALL.keep(HASHER.hash_one(text), |kept| **kept == *text, || text.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Hashes which text it is, without a look at it if it is shared.
    pub(crate) fn hash_identity(&self, state: &mut impl Hasher) {
        match &self.0 {
            Shared::Kept(kept) => std::ptr::from_ref::<Box<str>>(kept).hash(state),
            Shared::Own(own) => own.hash(state),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_come_again_are_kept_once_on_all_threads_and_floods_of_them_are_not_kept() {
        let keep = || Text::find("pack_voltage").unwrap_or_else(|| Text::keep("pack_voltage"));
        let (first, second) = (keep(), std::thread::scope(|scope| scope.spawn(keep).join().unwrap()));
        assert!(std::ptr::eq(first.as_str(), second.as_str()));
        let flood = (0..2 * MOST_SHARED).map(|number| Text::keep(&number.to_string()));
        let shared = flood.filter(|text| matches!(text.0, Shared::Kept(_))).count();
        assert!(shared < MOST_SHARED, "{shared}");
        assert!(std::ptr::eq(first.as_str(), keep().as_str()));
        let own = Text::keep("the last of too many");
        assert!(matches!(own.0, Shared::Own(_)) && own.as_str() == "the last of too many");
        assert_eq!(size_of::<Option<Text>>(), 2 * size_of::<usize>());
    }
}
