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
use voltree_runtime::clock;

/// How long an order may take, with the wait for the device's turn: shorter than clients wait for an answer.
const PATIENCE: Duration = Duration::from_secs(25);

/// Why an order was not confirmed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unconfirmed {
    /// Nobody allowed it.
    #[error("orders to it are switched off; allow_write = true in its section lets them through")]
    NotAllowed,
    /// Its protocol has no such order, this version does not know it, or it depends on what the device did not say yet.
    #[error("there is no such order for this type of device on its wire, or it was not read yet")]
    NotKnown,
    /// Another order is under way.
    #[error("another order to it is under way")]
    Busy,
    /// The order never left, and its time is over.
    #[error("it was not sent before it expired")]
    Expired,
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
    /// How many were given; tells one that waits from the one before it.
    given: u64,
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

    /// Whether orders are let through.
    pub(crate) fn are_allowed(&self) -> bool {
        self.slot.lock().allowed
    }

    /// Gives an order and waits for what came of it; `wake` calls the device's actor. An order that was not taken up
    /// within `valid_for`, or whose sender went away before, never leaves.
    pub(crate) async fn give(
        &self,
        order: Order,
        valid_for: Option<Duration>,
        wake: impl FnOnce(),
    ) -> Result<(), Unconfirmed> {
        let (reply, mut answer) = oneshot::channel();
        let left = self.leave(Pending { order, reply })?;
        wake();
        let begun = clock::monotonic();
        if let Ok(answered) = timeout(valid_for.unwrap_or(PATIENCE).min(PATIENCE), &mut answer).await {
            return answered.unwrap_or(Err(OrderError::Unknown.into()));
        }
        if left.withdraw() {
            return Err(match valid_for {
                Some(valid_for) if valid_for <= PATIENCE => Unconfirmed::Expired,
                Some(_) | None => Unconfirmed::Unreachable("its actor did not take the order up".to_owned()),
            });
        }
        match timeout(PATIENCE.saturating_sub(begun.elapsed()), answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) | Err(_) => Err(OrderError::Unknown.into()),
        }
    }

    fn leave(&self, pending: Pending) -> Result<Left<'_>, Unconfirmed> {
        let mut slot = self.slot.lock();
        if !slot.allowed {
            return Err(Unconfirmed::NotAllowed);
        }
        if slot.under_way || slot.waiting.is_some() {
            return Err(Unconfirmed::Busy);
        }
        slot.given += 1;
        slot.waiting = Some(pending);
        Ok(Left { orders: self, number: slot.given })
    }

    /// Whether an order waits to be taken up.
    pub(crate) fn is_one_waiting(&self) -> bool {
        self.slot.lock().waiting.is_some()
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

/// An order in the box; it leaves the box with its sender.
struct Left<'a> {
    orders: &'a Orders,
    number: u64,
}

impl Left<'_> {
    /// Whether it had not been taken up, and so never will be.
    fn withdraw(&self) -> bool {
        let mut slot = self.orders.slot.lock();
        slot.given == self.number && slot.waiting.take().is_some()
    }
}

impl Drop for Left<'_> {
    fn drop(&mut self) {
        self.withdraw();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDER: Order = Order::SwitchCharge(false);

    #[tokio::test]
    async fn nothing_is_ordered_that_was_not_allowed() {
        assert_eq!(Orders::default().give(ORDER, None, || {}).await, Err(Unconfirmed::NotAllowed));
    }

    #[tokio::test]
    async fn one_order_at_a_time_and_one_that_is_lost_is_unknown() {
        let orders = Orders::default();
        orders.allow(true);
        let second = async {
            let pending = orders.take().unwrap();
            assert_eq!(orders.give(ORDER, None, || {}).await, Err(Unconfirmed::Busy));
            drop(pending);
        };
        let (first, ()) = tokio::join!(orders.give(ORDER, None, || {}), second);
        assert_eq!(first, Err(OrderError::Unknown.into()));
        assert!(orders.take().is_none(), "an order is carried out once");
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_nobody_takes_up_never_leaves() {
        let orders = Orders::default();
        orders.allow(true);
        assert!(matches!(orders.give(ORDER, None, || {}).await, Err(Unconfirmed::Unreachable(_))));
        assert!(orders.take().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_whose_time_is_over_or_whose_sender_is_gone_never_leaves() {
        let orders = Orders::default();
        orders.allow(true);
        let short = Some(Duration::from_secs(1));
        assert_eq!(orders.give(ORDER, short, || {}).await, Err(Unconfirmed::Expired));
        assert!(orders.take().is_none());
        assert!(timeout(Duration::from_secs(1), orders.give(ORDER, None, || {})).await.is_err());
        assert!(orders.take().is_none());
    }
}
