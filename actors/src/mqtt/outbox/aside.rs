//! Messages that made an outside broker hang up again and again: taken out of the queue, so that the rest flows on, and
//! kept with the reason until an operator sends them once more.
//!
//! Each is a record; that it leaves the queue and that it is kept is one write. There is a bound: past that the oldest go,
//! and the log says so.

use serde::{Deserialize, Serialize};
use voltree_model::Timestamp;
use voltree_storage::{Entry, Error, Record, RecordChange, RecordKind};

use super::suspicion::{HANG_UPS, Sent};
use super::{Kept, KeptOutgoing, Outbox, Outgoing};
use crate::metrics;

/// How many are kept for each broker.
const MOST_ASIDE: usize = 1_000;

/// A message that does not go to an outside broker, because that hangs up on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAsideMessage {
    /// What an operator calls it.
    pub id: String,
    /// Which broker.
    pub broker: String,
    /// Its topic, as it is here.
    pub topic: String,
    /// What it says.
    pub payload: Vec<u8>,
    /// When it was set aside.
    pub at: Timestamp,
    /// How often the broker hung up on it alone.
    pub hang_ups: u32,
    /// What the connection said the last time.
    pub cause: String,
}

/// What of it is kept. This is a disk format.
#[derive(Debug, Serialize, Deserialize)]
struct KeptAside {
    at: Timestamp,
    hang_ups: u32,
    cause: String,
    message: KeptOutgoing,
}

impl Record for KeptAside {
    const KIND: RecordKind = RecordKind::SetAside;
    const VERSION: u8 = 1;
}

impl Outbox {
    /// The broker hung up while these were under way; `retained` finds what is retained on a topic here.
    pub(in crate::mqtt) fn hung_up(
        &self,
        under_way: &[Sent],
        cause: &str,
        retained: impl Fn(&str) -> Option<Outgoing>,
        now: Timestamp,
    ) {
        match self.suspicion.lock().hung_up(under_way) {
            Some(Sent::Kept(number)) => self.set_aside(Some(number), None, cause, now),
            Some(Sent::Retained(topic)) => {
                self.set_aside(None, retained(&topic), cause, now);
                self.shunned.lock().insert(topic);
            }
            Some(Sent::Beside) | None => {}
        }
    }

    /// The broker has a message.
    pub(in crate::mqtt) fn got_through(&self, sent: &Sent) {
        let mut suspicion = self.suspicion.lock();
        if suspicion.is_careful() {
            suspicion.got_through(sent);
        }
    }

    /// Whether messages are to go one by one, because the broker hung up on one of several.
    pub(in crate::mqtt) fn is_careful(&self) -> bool {
        self.suspicion.lock().is_careful()
    }

    /// Whether what is retained on this topic made the broker hang up.
    pub(in crate::mqtt) fn shuns(&self, topic: &str) -> bool {
        self.shunned.lock().contains(topic)
    }

    fn set_aside(&self, number: Option<u64>, other: Option<Outgoing>, cause: &str, now: Timestamp) {
        let mut waiting = self.waiting.lock();
        let queued = number.and_then(|number| waiting.remove(number));
        let Some(message) = queued.or(other) else { return };
        let number = number.unwrap_or_else(|| {
            waiting.last += 1;
            waiting.last
        });
        let topic = &message.topic;
        tracing::error!(
            event = "mqtt.forward.set_aside",
            broker = self.broker,
            %topic,
            cause,
            hang_ups = HANG_UPS,
            "an outside broker hangs up on a message: it is set aside, and the rest flows on"
        );
        metrics::mqtt_forward_dropped("set_aside");
        let kept =
            KeptAside { at: now, hang_ups: HANG_UPS, cause: cause.to_owned(), message: message.kept() };
        let entries = self.keep_aside(number, &kept, now).unwrap_or_else(|error| {
            let error: &(dyn std::error::Error + 'static) = &error;
            tracing::error!(event = "mqtt.forward.not_kept", broker = self.broker, error);
            Vec::new()
        });
        let entries = entries.into_iter().chain(self.removal(number, now)).collect();
        // If that is not committed, the message goes once more after the next start.
        self.journal.append(entries, Box::new(|_| ()));
    }

    fn keep_aside(&self, number: u64, kept: &KeptAside, now: Timestamp) -> Result<Vec<Entry>, Error> {
        let known = self.aside()?;
        let too_many = (known.len() + 1).saturating_sub(MOST_ASIDE);
        let mut entries = Vec::new();
        for message in known.iter().take(too_many) {
            tracing::error!(
                event = "mqtt.forward.forgotten",
                id = message.id,
                "too many messages are set aside"
            );
            entries.push(RecordChange::entry::<KeptAside>(&message.id, None, now)?);
        }
        entries.push(RecordChange::entry(&self.key(number), Some(kept), now)?);
        Ok(entries)
    }

    /// Every message that was set aside, the oldest first.
    pub(in crate::mqtt) fn aside(&self) -> Result<Vec<SetAsideMessage>, Error> {
        let own = format!("{}/", self.broker);
        let all = self.journal.records().all::<KeptAside>()?.into_iter();
        let of_this = all.filter(|(id, _)| id.starts_with(&own));
        Ok(of_this
            .map(|(id, kept)| SetAsideMessage {
                id,
                broker: self.broker.clone(),
                topic: kept.message.topic,
                payload: kept.message.payload,
                at: kept.at,
                hang_ups: kept.hang_ups,
                cause: kept.cause,
            })
            .collect())
    }

    /// Puts a message that was set aside behind what waits; resolves when that is on disk.
    pub(in crate::mqtt) fn again(&self, id: &str, now: Timestamp) -> Result<Option<Kept>, Error> {
        let Some(kept) = self.journal.records().get::<KeptAside>(id)? else { return Ok(None) };
        let message = Outgoing::from(kept.message);
        self.shunned.lock().remove(&*message.topic);
        let offered = self.offer(message, now);
        // It goes after the other is there: a power cut in between makes it go twice, and not get lost.
        let gone = RecordChange::entry::<KeptAside>(id, None, now)?;
        let gone = crate::intake::submit(&self.journal, vec![gone]);
        Ok(Some(Box::pin(async move {
            let waits = match offered {
                Some(offered) => offered.await,
                None => true,
            };
            waits && matches!(gone.await, Ok(Ok(_)))
        })))
    }
}
