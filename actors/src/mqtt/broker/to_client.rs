//! Messages on their way to one connection. An idle one, which is most of them, needs as little memory as can be, so this is
//! not a channel with room set aside; it is bounded by looking.

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};

use super::{Delivery, OUTBOX};

/// Where a connection takes its messages from; it ends when the connection is to go.
pub(in crate::mqtt) type Deliveries = UnboundedReceiver<Box<Delivery>>;

/// Where they are handed over.
#[derive(Debug)]
pub(super) struct ToClient(UnboundedSender<Box<Delivery>>);

impl ToClient {
    pub(super) fn new() -> (Self, Deliveries) {
        let (sender, deliveries) = unbounded();
        (Self(sender), deliveries)
    }

    /// Hands a message over; false if as many wait as may. Those who do so at the same time may pass that by one each.
    pub(super) fn hand(&self, delivery: Delivery) -> bool {
        self.0.len() < OUTBOX && self.0.unbounded_send(Box::new(delivery)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rumqttc::QoS;

    use super::*;

    #[test]
    fn it_takes_so_many_and_what_was_handed_over_is_there_after_its_end() {
        let (outbox, mut deliveries) = ToClient::new();
        let (topic, payload) = ("t".into(), Bytes::new());
        let message = Delivery {
            topic,
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            ids: Vec::new(),
            said: None,
            record: None,
        };
        let handed = (0..OUTBOX + 5).filter(|_| outbox.hand(message.clone())).count();
        assert_eq!(handed, OUTBOX);
        drop(outbox);
        let taken = std::iter::from_fn(|| deliveries.try_recv().ok()).count();
        assert_eq!(taken, OUTBOX);
    }
}
