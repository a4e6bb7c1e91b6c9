//! Changes of lasting sessions on their way into the journal.
//!
//! A session's record is written when what it says changes, one of a message when that is laid by for a client that is
//! away or left behind by its connection, and it goes when the client has finished with the message. While a client is
//! in, what comes for it is only with its connection.

use std::collections::BTreeSet;

use voltree_storage::{Entry, Error, Record, RecordChange, Records};

use super::kept::{KeptDelivery, KeptSession};
use super::queue::{Recorded, TakenBack};
use super::recorded::{What, not_kept};
use super::{Broker, Delivery, Member};

impl Broker {
    /// Offers what changed of a session; to be called while the sessions are locked.
    pub(super) fn offer_session(&self, client_id: &str, entries: Vec<Entry>) {
        if !entries.is_empty() {
            let what = vec![What::Session(client_id.to_owned())];
            drop(self.recording.offer(&self.journal, what, entries));
        }
    }

    /// Takes the record away of a message with which its client has finished.
    pub(in crate::mqtt) fn finished(&self, client_id: &str, connection: u64) {
        let mut members = self.members.write();
        let member = members.get_mut(client_id).filter(|member| member.connection == connection);
        if let Some(number) = member.and_then(|member| member.recorded.pop_front()) {
            self.offer_session(client_id, removal::<KeptDelivery>(&Recorded::key(client_id, number)));
        }
    }

    /// Offers all that there is of a session, because some of it was offered in vain.
    pub(super) fn offer_session_again(&self, client_id: &str) {
        let mut members = self.members.write();
        let records = self.journal.records();
        let entries = match members.get_mut(client_id).filter(|member| member.lasting) {
            None => {
                let keys = keys_of(&records, client_id).map(|(key, _)| key);
                let messages = keys.flat_map(|key| removal::<KeptDelivery>(&key));
                messages.chain(removal::<KeptSession>(client_id)).collect()
            }
            Some(member) => {
                member.written = None;
                member.recorded.doubt();
                let mut entries = session_change(client_id, member);
                if member.connection == 0 {
                    entries.extend(taken_back(client_id, member, &records));
                }
                entries
            }
        };
        self.offer_session(client_id, entries);
    }
}

/// What brings a session's record level, if it is not.
pub(super) fn session_change(client_id: &str, member: &mut Member) -> Vec<Entry> {
    let wanted = member.lasting.then(|| Box::new(KeptSession::of(member)));
    if wanted == member.written {
        return Vec::new();
    }
    let entry = RecordChange::entry(client_id, wanted.as_deref(), crate::now());
    member.written = wanted;
    fitting(entry)
}

/// What forgets a session that has ended.
pub(super) fn forgotten(client_id: &str, member: &Member) -> Vec<Entry> {
    let messages = member.recorded.numbers().map(|number| Recorded::key(client_id, number));
    let mut entries: Vec<_> = messages.flat_map(|key| removal::<KeptDelivery>(&key)).collect();
    if member.written.is_some() {
        entries.extend(removal::<KeptSession>(client_id));
    }
    entries
}

/// What records a message that is laid by.
pub(super) fn laid_by(client_id: &str, number: u64, delivery: &Delivery) -> Vec<Entry> {
    message(client_id, number, &KeptDelivery::of(delivery))
}

/// What records the messages that a connection left to its session.
pub(super) fn taken_back(client_id: &str, member: &mut Member, records: &Records) -> Vec<Entry> {
    let Member { recorded, left, .. } = member;
    let TakenBack { open, new, mut gone } = recorded.take_back(left);
    let all = recorded.take_doubt();
    if all {
        let strays = keys_of(records, client_id).map(|(_, number)| number);
        gone.extend(strays.filter(|number| !recorded.contains(*number)));
    }
    let sent = left.open.iter().filter_map(KeptDelivery::of_open).zip(open);
    let mut entries: Vec<_> = sent.flat_map(|(kept, number)| message(client_id, number, &kept)).collect();
    for delivery in &left.waiting {
        let number = delivery.record.filter(|number| all || new.contains(number));
        entries.extend(number.into_iter().flat_map(|number| laid_by(client_id, number, delivery)));
    }
    // They go after the others are there: a power cut in between makes one come twice, and none be lost.
    let gone: BTreeSet<_> = gone.into_iter().map(|number| Recorded::key(client_id, number)).collect();
    entries.extend(gone.iter().flat_map(|key| removal::<KeptDelivery>(key)));
    entries
}

fn message(client_id: &str, number: u64, message: &KeptDelivery) -> Vec<Entry> {
    fitting(RecordChange::entry(&Recorded::key(client_id, number), Some(message), crate::now()))
}

fn removal<T: Record>(key: &str) -> Vec<Entry> {
    fitting(RecordChange::entry::<T>(key, None, crate::now()))
}

/// What does not fit into a record never will.
fn fitting(entry: Result<Entry, Error>) -> Vec<Entry> {
    entry.inspect_err(not_kept).into_iter().collect()
}

/// The keys and numbers of a client's messages in the journal.
fn keys_of<'a>(records: &Records, client_id: &'a str) -> impl Iterator<Item = (String, u64)> + use<'a> {
    let keys = records.keys::<KeptDelivery>(&format!("{client_id}/")).into_iter();
    keys.filter_map(move |key| {
        let (of, number) = Recorded::parse(&key)?;
        (of == client_id).then(|| (key.clone(), number))
    })
}
