//! Publishes of the client that are taken in and not yet answered, and those of QoS 2 that it has not released yet.
//!
//! Commits may arrive in any order; answers leave in the order of the publishes, so a late commit holds back those
//! behind it. Every publish pushed is answered once and no publish is answered before its own commit. A packet id of
//! QoS 2 names the same message until the client releases it.

use std::collections::{BTreeSet, VecDeque};

use rumqttc::{Packet, PubAck, PubRec, QoS};

use super::reason::code;

#[derive(Debug, Default)]
pub(super) struct Incoming {
    waiting: VecDeque<Waiting>,
    /// Answered by PUBREC, and PUBREL has not come.
    unreleased: BTreeSet<u16>,
}

#[derive(Debug)]
struct Waiting {
    ticket: u64,
    pkid: u16,
    qos: QoS,
    /// The reason code of its answer, once it is committed.
    committed: Option<u8>,
}

/// What a publish means, given what came before it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// A message to take in.
    New,
    /// A repetition of one that waits for its commit, whose answer will answer both.
    Waiting,
    /// A repetition of one that was answered: the answer was lost.
    Answered,
}

impl Incoming {
    /// Takes over the ids that an earlier connection left unreleased.
    pub(super) fn resume(&mut self, unreleased: BTreeSet<u16>) {
        self.unreleased = unreleased;
    }

    /// A packet id of QoS 1 that waits already is a repetition only if it says so; otherwise it is a new message of a
    /// client that reuses its ids too early, which loses nothing that way and gets an answer for each.
    pub(super) fn arrival(&self, qos: QoS, pkid: u16, dup: bool) -> Arrival {
        let waits = || self.waiting.iter().any(|waiting| waiting.pkid == pkid && waiting.qos == qos);
        match qos {
            QoS::AtLeastOnce if dup && waits() => Arrival::Waiting,
            QoS::ExactlyOnce if self.unreleased.contains(&pkid) => Arrival::Answered,
            QoS::ExactlyOnce if waits() => Arrival::Waiting,
            QoS::AtMostOnce | QoS::AtLeastOnce | QoS::ExactlyOnce => Arrival::New,
        }
    }

    /// Adds a publish of QoS 1 or 2; tickets must count up.
    pub(super) fn push(&mut self, ticket: u64, pkid: u16, qos: QoS) {
        self.waiting.push_back(Waiting { ticket, pkid, qos, committed: None });
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Marks a publish as committed and takes out the answers that may leave now. Unknown tickets (those of QoS 0, or
    /// one named twice) change nothing.
    pub(super) fn commit(&mut self, ticket: u64, reason: u8) -> impl Iterator<Item = (Packet, u8)> {
        let index = self.waiting.binary_search_by_key(&ticket, |waiting| waiting.ticket);
        if let Some(waiting) = index.ok().and_then(|index| self.waiting.get_mut(index)) {
            waiting.committed = Some(reason);
        }
        let ready = self.waiting.iter().take_while(|waiting| waiting.committed.is_some()).count();
        let Self { waiting, unreleased } = self;
        waiting.drain(..ready).map(|waiting| {
            let reason = waiting.committed.unwrap_or(code::SUCCESS);
            (answer(waiting.pkid, waiting.qos, reason, unreleased), reason)
        })
    }

    /// PUBREL: the packet id may name another message from now on. False if its message was not even answered.
    pub(super) fn release(&mut self, pkid: u16) -> bool {
        self.unreleased.remove(&pkid)
            || self.waiting.iter().all(|waiting| waiting.pkid != pkid || waiting.qos != QoS::ExactlyOnce)
    }

    pub(super) fn unreleased(&self) -> &BTreeSet<u16> {
        &self.unreleased
    }
}

/// A PUBREC that says no ends its exchange: the packet id is free at once (MQTT 5.0, 4.3.3).
fn answer(pkid: u16, qos: QoS, reason: u8, unreleased: &mut BTreeSet<u16>) -> Packet {
    match qos {
        QoS::AtMostOnce | QoS::AtLeastOnce => Packet::PubAck(PubAck::new(pkid)),
        QoS::ExactlyOnce => {
            if reason < code::UNSPECIFIED_ERROR {
                unreleased.insert(pkid);
            }
            Packet::PubRec(PubRec::new(pkid))
        }
    }
}
