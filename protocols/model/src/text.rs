//! Texts that come again and again, kept once for the whole process: a node holds hundreds of thousands of readings, and
//! their names and units would be most of them.
//!
//! A shared text is never given back, so that a copy of it is a pointer and costs nothing to make or to drop, on whichever
//! thread. That is why only so many are shared: whoever sends ever new texts gets copies of their own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use parking_lot::RwLock;

/// So many texts are shared; with the longest names they take two megabytes.
const MOST_SHARED: usize = 16 * 1024;

/// A text that is cheap to clone.
#[derive(Clone)]
pub(crate) enum Text {
    Shared(&'static Kept),
    Own(Arc<Kept>),
}

/// A text in one place, so that a pointer to it is thin.
pub(crate) struct Kept(Box<str>);

/// Texts are looked up for every value that comes in.
type Known = HashMap<&'static str, &'static Kept, foldhash::fast::RandomState>;

static ALL: LazyLock<RwLock<Known>> = LazyLock::new(RwLock::default);

thread_local! {
    /// Those that this thread has met, so that no lock is taken for them.
    static MET: RefCell<Known> = RefCell::default();
}

impl Text {
    /// The shared copy of a text, if there is one.
    pub(crate) fn find(text: &str) -> Option<Self> {
        MET.with_borrow_mut(|met| {
            if let Some(known) = met.get(text) {
                return Some(Self::Shared(known));
            }
            let known = *ALL.read().get(text)?;
            met.insert(known.as_str(), known);
            Some(Self::Shared(known))
        })
    }

    /// A copy of a text, shared if there is room.
    pub(crate) fn keep(text: &str) -> Self {
        let kept = || Kept(text.into());
        if ALL.read().len() >= MOST_SHARED {
            return Self::find(text).unwrap_or_else(|| Self::Own(Arc::new(kept())));
        }
        let mut all = ALL.write();
        let known = all.get(text).copied().unwrap_or_else(|| {
            let new: &'static Kept = Box::leak(Box::new(kept()));
            all.insert(new.as_str(), new);
            new
        });
        Self::Shared(known)
    }

    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Shared(kept) => kept.as_str(),
            Self::Own(kept) => kept.as_str(),
        }
    }
}

impl Kept {
    fn as_str(&self) -> &str {
        &self.0
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
        let shared = flood.filter(|text| matches!(text, Text::Shared(_))).count();
        assert!(shared < MOST_SHARED, "{shared}");
        assert!(std::ptr::eq(first.as_str(), keep().as_str()));
        let own = Text::keep("the last of too many");
        assert!(matches!(own, Text::Own(_)) && own.as_str() == "the last of too many");
        assert_eq!(size_of::<Option<Text>>(), 2 * size_of::<usize>());
    }
}
