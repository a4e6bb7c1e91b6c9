//! The door for orders to a device: one at a time, taken up by the device's actor, answered by what the device says.
//!
//! An order leaves the box before it is carried out, so that no incarnation of the actor carries it out twice; if the actor
//! ends meanwhile, its sender learns that the outcome is unknown. Must never let an order wait behind another: the second
//! sender is told that the device is busy.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;
use voltree_protocols::bms::order::{Order, OrderError};

/// How long an order may take, with the wait for the device's turn.
const PATIENCE: Duration = Duration::from_secs(45);

/// Why an order was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unconfirmed {
    /// Nobody allowed it.
    #[error("orders to it are switched off; allow_write = true in its section lets them through")]
    NotAllowed,
    /// Its protocol has no such order, or this version does not know it.
    #[error("there is no such order for this type of device on its wire")]
    NotKnown,
    /// Another order is under way.
    #[error("another order to it is under way")]
    Busy,
    /// The order never left.
    #[error("it can't be reached: {0}")]
    Unreachable(String),
    /// What the device said or did.
    #[error(transparent)]
    Device(#[from] OrderError),
}

/// An order that waits for its device.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) order: Order,
    pub(crate) reply: oneshot::Sender<Result<(), Unconfirmed>>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Whether the device's actor takes orders at all.
    allowed: bool,
    waiting: Option<Pending>,
    under_way: bool,
}

/// The box of one device.
#[derive(Debug, Default)]
pub struct Orders {
    slot: Mutex<Slot>,
}

impl Orders {
    /// Lets orders through, or not.
    pub(crate) fn allow(&self, allowed: bool) {
        let mut slot = self.slot.lock();
        // What an earlier incarnation had in hand has ended with it.
        (slot.allowed, slot.under_way) = (allowed, false);
    }

    /// Gives an order and waits for what came of it; `wake` calls the device's actor.
    pub(crate) async fn give(&self, order: Order, wake: impl FnOnce()) -> Result<(), Unconfirmed> {
        let (reply, answer) = oneshot::channel();
        {
            let mut slot = self.slot.lock();
            if !slot.allowed {
                return Err(Unconfirmed::NotAllowed);
            }
            if slot.under_way || slot.waiting.is_some() {
                return Err(Unconfirmed::Busy);
            }
            slot.waiting = Some(Pending { order, reply });
        }
        wake();
        match timeout(PATIENCE, answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(OrderError::Unknown.into()),
            Err(_) if self.slot.lock().waiting.take().is_some() => {
                Err(Unconfirmed::Unreachable("its actor did not take the order up".to_owned()))
            }
            Err(_) => Err(OrderError::Unknown.into()),
        }
    }

    /// Takes the order out, for good.
    pub(crate) fn take(&self) -> Option<Pending> {
        let mut slot = self.slot.lock();
        let pending = slot.waiting.take()?;
        slot.under_way = true;
        Some(pending)
    }

    /// Makes room for the next.
    pub(crate) fn done(&self) {
        self.slot.lock().under_way = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: Order = Order::SwitchCharge(false);

    #[tokio::test]
    async fn nothing_is_ordered_that_was_not_allowed() {
        assert_eq!(Orders::default().give(ORDER, || {}).await, Err(Unconfirmed::NotAllowed));
    }

    #[tokio::test]
    async fn one_order_at_a_time_and_one_that_is_lost_is_unknown() {
        let orders = Orders::default();
        orders.allow(true);
        let second = async {
            let pending = orders.take().unwrap();
            assert_eq!(orders.give(ORDER, || {}).await, Err(Unconfirmed::Busy));
            drop(pending);
        };
        let (first, ()) = tokio::join!(orders.give(ORDER, || {}), second);
        assert_eq!(first, Err(OrderError::Unknown.into()));
        assert!(orders.take().is_none(), "an order is carried out once");
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_nobody_takes_up_never_leaves() {
        let orders = Orders::default();
        orders.allow(true);
        assert!(matches!(orders.give(ORDER, || {}).await, Err(Unconfirmed::Unreachable(_))));
        assert!(orders.take().is_none());
    }
}
