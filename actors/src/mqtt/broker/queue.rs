//! Which messages of a session the journal has, each as a record of its own, so that one more message costs one more
//! record and never the whole queue again. Pure.
//!
//! Their numbers go the way of the queue. They begin in the middle of their range, because what a connection leaves
//! open goes before what waited behind it.

use std::collections::BTreeSet;

use voltree_protocols::mqtt::OpenDelivery;

use super::Left;

const MIDDLE: u64 = 1 << 63;

/// The numbers of a session's messages that the journal has or was offered.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    numbers: BTreeSet<u64>,
    /// Deliveries before those, which have no record because their client has the message already.
    released: usize,
    /// An offer was in vain while only the connection knew the messages: what it leaves is written whole.
    in_doubt: bool,
}

/// What becomes of the numbers when a connection leaves its messages to the session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TakenBack {
    /// Of the open deliveries.
    pub(super) open: Vec<u64>,
    /// Of waiting messages that had none.
    pub(super) new: BTreeSet<u64>,
    /// What no message has any more.
    pub(super) gone: BTreeSet<u64>,
}

impl Recorded {
    /// These, as they were found.
    pub(super) fn of(numbers: BTreeSet<u64>) -> Self {
        Self { numbers, ..Self::default() }
    }

    /// The key of the record with a message of this client.
    pub(super) fn key(client_id: &str, number: u64) -> String {
        format!("{client_id}/{number:016x}")
    }

    /// The client and the number that a key is made of.
    pub(super) fn parse(key: &str) -> Option<(&str, u64)> {
        let (client_id, number) = key.rsplit_once('/')?;
        Some((client_id, u64::from_str_radix(number, 16).ok()?))
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.numbers.contains(&number)
    }

    /// All numbers.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u64> {
        self.numbers.iter().copied()
    }

    /// The number of a message that comes last.
    pub(super) fn push_back(&mut self) -> u64 {
        let number = self.numbers.last().map_or(MIDDLE, |last| last + 1);
        self.numbers.insert(number);
        number
    }

    /// Notes what goes to a connection; answers after how many finished deliveries no record of it is left.
    pub(super) fn hand_over(&mut self, left: &Left) -> usize {
        let released = |open: &&OpenDelivery| matches!(open, OpenDelivery::Released(_));
        self.released = left.open.iter().filter(released).count();
        if self.numbers.is_empty() { 0 } else { self.numbers.len() + self.released }
    }

    /// Notes that a client has finished with the next message; the number of its record, if it has one.
    ///
    /// Clients finish in the order of the queue (MQTT 5.0, 4.6); one that does not may hear a message twice after a crash.
    pub(super) fn pop_front(&mut self) -> Option<u64> {
        if self.released > 0 {
            self.released -= 1;
            return None;
        }
        self.numbers.pop_first()
    }

    /// Takes back what a connection left: what waits keeps the number that it had or gets a new one, and what is open gets
    /// those before.
    pub(super) fn take_back(&mut self, left: &mut Left) -> TakenBack {
        let waiting = left.waiting.iter().filter_map(|delivery| delivery.record).collect();
        let before = std::mem::replace(&mut self.numbers, waiting);
        let mut new = BTreeSet::new();
        for delivery in left.waiting.iter_mut().filter(|delivery| delivery.record.is_none()) {
            let number = self.push_back();
            delivery.record = Some(number);
            new.insert(number);
        }
        let sent = left.open.iter().filter(|open| matches!(open, OpenDelivery::Sent(..))).count();
        let first = self.numbers.first().copied().unwrap_or(MIDDLE);
        let open: Vec<u64> = (first.saturating_sub(u64::try_from(sent).unwrap_or_default())..first).collect();
        self.numbers.extend(&open);
        self.released = 0;
        TakenBack { open, new, gone: before.difference(&self.numbers).copied().collect() }
    }

    /// Notes that not all of it may be in the journal.
    pub(super) fn doubt(&mut self) {
        self.in_doubt = true;
    }

    /// Whether there was doubt, for somebody who writes all of it now.
    pub(super) fn take_doubt(&mut self) -> bool {
        std::mem::take(&mut self.in_doubt)
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::{Publish, QoS};

    use super::super::Delivery;
    use super::*;

    fn waiting(record: Option<u64>) -> Delivery {
        Delivery {
            topic: "a".into(),
            payload: bytes::Bytes::new(),
            qos: QoS::AtLeastOnce,
            retain: false,
            ids: Vec::new(),
            said: None,
            record,
        }
    }

    fn sent(pkid: u16) -> OpenDelivery {
        let mut publish = Publish::new("a", QoS::AtLeastOnce, "");
        publish.pkid = pkid;
        OpenDelivery::Sent(publish, None)
    }

    #[test]
    fn what_a_connection_leaves_is_numbered_in_the_order_in_which_it_goes_on() {
        let mut recorded = Recorded::default();
        let [first, second, third] = [(); 3].map(|()| recorded.push_back());
        assert_eq!(recorded.hand_over(&Left::default()), 3);
        assert_eq!(recorded.pop_front(), Some(first));
        // The second is under way with one that came meanwhile; the third waits before one that came behind it.
        let mut left = Left {
            open: vec![OpenDelivery::Released(1), sent(2), sent(3)],
            waiting: [waiting(Some(third)), waiting(None)].into(),
            ..Left::default()
        };
        let taken = recorded.take_back(&mut left);
        assert_eq!(taken.open, [third - 2, third - 1]);
        assert_eq!(taken.new, [third + 1].into());
        assert_eq!(taken.gone, BTreeSet::new(), "the second's is used again");
        assert_eq!(second, third - 1);
        assert_eq!(recorded.hand_over(&left), 5);
        let finished: Vec<_> = (0..5).map(|_| recorded.pop_front()).collect();
        assert_eq!(
            finished,
            [None, Some(third - 2), Some(third - 1), Some(third), Some(third + 1)],
            "what is released has no record"
        );
    }

    #[test]
    fn a_number_that_is_used_again_is_not_among_those_that_go() {
        let mut recorded = Recorded::default();
        let numbers = [(); 3].map(|()| recorded.push_back());
        let mut left = Left { waiting: [waiting(None)].into(), ..Left::default() };
        let taken = recorded.take_back(&mut left);
        assert_eq!(taken.new, [numbers[0]].into());
        assert_eq!(taken.gone, [numbers[1], numbers[2]].into());
    }

    #[test]
    fn keys_say_whose_message_it_is_whatever_the_client_is_called() {
        let key = Recorded::key("plant/7", MIDDLE + 1);
        assert_eq!(Recorded::parse(&key), Some(("plant/7", MIDDLE + 1)));
        assert_eq!(Recorded::parse("plant"), None);
    }
}
