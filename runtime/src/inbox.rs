//! An inbox: what was accepted for an actor and is not settled yet. It belongs to the node, is bounded, and outlives
//! the actor and its supervisor.
//!
//! Items are numbered from the door on. An actor takes copies from the front, does its work, and settles them; only
//! then do they leave. A kill between the two means that the next incarnation takes the same items with the same
//! numbers, so whatever it does must be idempotent by number.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};

/// Tells the sender that its item was settled.
pub type Receipt = oneshot::Receiver<()>;

/// A bounded queue with numbered items that stay until they are settled.
#[derive(Debug)]
pub struct Inbox<T> {
    queue: Mutex<Queue<T>>,
    space: Semaphore,
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<Item<T>>,
    last_number: u64,
}

#[derive(Debug)]
struct Item<T> {
    number: u64,
    content: Arc<T>,
    receipt: Option<oneshot::Sender<()>>,
}

/// The inbox is full now; the item comes back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the inbox is full")]
pub struct Full<T>(pub T);

impl<T> Inbox<T> {
    /// An empty inbox for up to `capacity` items whose first item gets the number after `last_number`.
    pub fn new(capacity: usize, last_number: u64) -> Self {
        Self {
            queue: Mutex::new(Queue { items: VecDeque::new(), last_number }),
            space: Semaphore::new(capacity),
        }
    }

    /// Accepts an item, waiting for space: this is how back-pressure reaches the wire.
    pub async fn accept(&self, content: T) -> Receipt {
        // The semaphore is never closed, so waiting can only end with a permit.
        if let Ok(permit) = self.space.acquire().await {
            permit.forget();
        }
        self.enqueue(content)
    }

    /// Accepts an item if there is space now.
    pub fn try_accept(&self, content: T) -> Result<Receipt, Full<T>> {
        match self.space.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(Full(content)),
        }
        Ok(self.enqueue(content))
    }

    fn enqueue(&self, content: T) -> Receipt {
        let (sender, receipt) = oneshot::channel();
        let mut queue = self.queue.lock();
        queue.last_number += 1;
        let number = queue.last_number;
        queue.items.push_back(Item { number, content: Arc::new(content), receipt: Some(sender) });
        receipt
    }

    /// The first `max` items with their numbers, oldest first; they stay.
    pub fn front(&self, max: usize) -> Vec<(u64, Arc<T>)> {
        let queue = self.queue.lock();
        queue.items.iter().take(max).map(|item| (item.number, Arc::clone(&item.content))).collect()
    }

    /// Removes all items up to and including this number and tells their senders.
    pub fn settle(&self, up_to: u64) {
        let settled: Vec<_> = {
            let mut queue = self.queue.lock();
            let count = queue.items.iter().take_while(|item| item.number <= up_to).count();
            queue.items.drain(..count).collect()
        };
        self.space.add_permits(settled.len());
        for item in settled {
            if let Some(receipt) = item.receipt {
                // A sender that went away needs no receipt; its item is settled all the same.
                receipt.send(()).ok();
            }
        }
    }

    /// How many items wait.
    pub fn depth(&self) -> usize {
        self.queue.lock().items.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn items_stay_with_their_numbers_until_they_are_settled() {
        let inbox = Inbox::new(3, 10);
        let mut receipt = inbox.try_accept("a").unwrap();
        assert!(inbox.try_accept("b").is_ok());
        let first: Vec<_> = inbox.front(9).into_iter().map(|(n, c)| (n, *c)).collect();
        assert_eq!(first, [(11, "a"), (12, "b")]);
        assert_eq!(inbox.front(9).len(), 2, "taking copies removes nothing");
        assert!(receipt.try_recv().is_err());
        inbox.settle(11);
        assert_eq!(receipt.try_recv(), Ok(()));
        assert_eq!(inbox.front(9)[0].0, 12);
    }

    #[test]
    fn a_full_inbox_hands_the_item_back() {
        let inbox = Inbox::new(1, 0);
        assert!(inbox.try_accept(1).is_ok());
        assert_eq!(inbox.try_accept(2).unwrap_err(), Full(2));
        inbox.settle(1);
        assert!(inbox.try_accept(2).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn accept_waits_for_space() {
        let inbox = Arc::new(Inbox::new(1, 0));
        inbox.accept(1).await;
        let waiting = tokio::time::timeout(std::time::Duration::from_secs(1), inbox.accept(2));
        assert!(waiting.await.is_err(), "there was no space");
        inbox.settle(1);
        inbox.accept(3).await;
        assert_eq!(inbox.depth(), 1);
    }

    proptest! {
        #[test]
        fn numbers_rise_without_gaps_and_nothing_is_lost(settles in prop::collection::vec(0_usize..5, 1..60)) {
            let inbox = Inbox::new(16, 0);
            let (mut accepted, mut settled) = (0_u64, 0_u64);
            for settle in settles {
                while inbox.try_accept(accepted + 1).is_ok() {
                    accepted += 1;
                }
                for (number, content) in inbox.front(settle) {
                    prop_assert_eq!(number, *content);
                    prop_assert_eq!(number, settled + 1);
                    settled = number;
                    inbox.settle(number);
                }
                prop_assert_eq!(inbox.depth() as u64, accepted - settled);
            }
        }
    }
}
