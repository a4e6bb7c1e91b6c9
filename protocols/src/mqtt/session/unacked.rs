//! Publishes of QoS 1 that are taken in and not yet answered.
//!
//! Commits may arrive in any order; answers leave in the order of the publishes, so a late commit holds back those
//! behind it. Every publish pushed is answered once and no publish is answered before its own commit.

use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(super) struct Unacked(VecDeque<Waiting>);

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    pkid: u16,
    committed: bool,
}

impl Unacked {
    /// Adds a publish; tickets must count up. A packet id that waits already is taken for a new message of a client
    /// that reuses its ids too early: it loses nothing that way and gets an answer for each.
    pub(super) fn push(&mut self, ticket: u64, pkid: u16) {
        self.0.push_back(Waiting { ticket, pkid, committed: false });
    }

    pub(super) fn is_waiting(&self, pkid: u16) -> bool {
        self.0.iter().any(|waiting| waiting.pkid == pkid)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Marks a publish as committed and takes out the packet ids that may be answered now. Unknown tickets (those of
    /// QoS 0, or one named twice) change nothing.
    pub(super) fn commit(&mut self, ticket: u64) -> impl Iterator<Item = u16> {
        let index = self.0.binary_search_by_key(&ticket, |waiting| waiting.ticket);
        if let Some(waiting) = index.ok().and_then(|index| self.0.get_mut(index)) {
            waiting.committed = true;
        }
        let ready = self.0.iter().take_while(|waiting| waiting.committed).count();
        self.0.drain(..ready).map(|waiting| waiting.pkid)
    }
}
