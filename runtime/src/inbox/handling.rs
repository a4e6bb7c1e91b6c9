//! One item in the hands of its handler, and who is to blame when it slips out of them.
//!
//! Dropped while the thread unwinds, the handler panicked: that is the item's failure. Dropped otherwise without a word,
//! the handler was killed from outside: that is nobody's.

use super::{Inbox, OnCrash};
use crate::panics;

/// An item that is being handled.
#[derive(Debug)]
#[must_use = "dropping it means that the handler was killed over the item"]
pub struct Handling<'a, T> {
    inbox: &'a Inbox<T>,
    number: u64,
    over: bool,
}

impl<'a, T> Handling<'a, T> {
    pub(super) fn new(inbox: &'a Inbox<T>, number: u64) -> Self {
        Self { inbox, number, over: false }
    }

    /// The handler did its part; the item stays until it is settled.
    pub fn done(mut self) {
        self.over = true;
    }

    /// The handler could not do it, for this reason.
    pub fn failed(mut self, cause: &str) {
        self.over = true;
        match self.inbox.lane.on_crash {
            OnCrash::Retry => self.inbox.blame(self.number, cause),
            OnCrash::Report => self.inbox.give_up(self.number),
        }
    }
}

impl<T> Drop for Handling<'_, T> {
    fn drop(&mut self) {
        match self.inbox.lane.on_crash {
            _ if self.over => {}
            OnCrash::Report => self.inbox.give_up(self.number),
            OnCrash::Retry if std::thread::panicking() => {
                self.inbox.blame(self.number, &panics::last_on_this_thread());
            }
            OnCrash::Retry => {}
        }
    }
}
