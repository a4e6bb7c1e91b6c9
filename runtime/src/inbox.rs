//! An inbox: what was accepted for an actor and is not settled yet. It belongs to the node, is bounded, and outlives
//! the actor and its supervisor.
//!
//! Items are numbered from the door on. An actor takes copies from the front, says which one it is handling, does its
//! work, and settles them; only then do they leave. Where it dies in between, the inbox's [`Lane`] says what follows: a
//! *retry* item is taken again under its number by the next incarnation, a *report* item is never run again and its
//! sender hears that the outcome is unknown. An item whose handler panicked or failed three times is dead: whoever takes
//! it next must set it aside. A kill from outside never counts.

mod handling;
mod lane;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

pub use self::handling::Handling;
pub use self::lane::{Lane, OnCrash, WhenFull};
use crate::clock;

/// How often the handler may panic or fail on one item.
pub const MAX_FAILURES: u32 = 3;
/// How often a sender that waits for space looks whether the door was closed meanwhile.
const DOOR_CHECK: Duration = Duration::from_secs(1);

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its handler did it.
    Done,
    /// Its handler failed on it too often; it was set aside.
    DeadLettered,
    /// Its handler died over it and it must not be run again: whether it had its effect is not known.
    Unknown,
}

/// Tells the sender what became of its item.
pub type Receipt = oneshot::Receiver<Outcome>;

/// Why an item was not accepted; it comes back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused<T> {
    /// There is no space, and this lane does not wait.
    #[error("the inbox is full")]
    Busy(T),
    /// Nobody is going to handle it for now.
    #[error("the actor is parked")]
    Closed(T),
}

/// Whether the inbox takes anything in now.
type Door = Box<dyn Fn() -> bool + Send + Sync>;

/// A bounded queue with numbered items that stay until they are settled.
pub struct Inbox<T> {
    lane: Lane,
    queue: Mutex<Queue<T>>,
    space: Semaphore,
    is_open: Option<Door>,
}

#[derive(Debug)]
struct Queue<T> {
    items: VecDeque<Item<T>>,
    last_number: u64,
}

#[derive(Debug)]
struct Item<T> {
    number: u64,
    content: T,
    since: Instant,
    receipt: Option<oneshot::Sender<Outcome>>,
    /// Most items never have any.
    trouble: Option<Box<Trouble>>,
}

#[derive(Debug)]
struct Trouble {
    failures: u32,
    cause: Arc<str>,
}

/// A copy of an item that waits.
#[derive(Debug, Clone)]
pub struct Waiting<T> {
    /// Its number.
    pub number: u64,
    /// What it is.
    pub content: T,
    /// How often its handler panicked or failed on it.
    pub failures: u32,
    /// How its handler failed on it last.
    pub cause: Option<Arc<str>>,
}

impl<T> Waiting<T> {
    /// Whether it must be set aside instead of being handled once more.
    pub fn is_dead(&self) -> bool {
        self.failures >= MAX_FAILURES
    }
}

impl<T> fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("lane", &self.lane)
            .field("depth", &self.depth())
            .finish_non_exhaustive()
    }
}

impl<T> Inbox<T> {
    /// An empty inbox whose first item gets the number after `last_number`.
    pub fn new(lane: Lane, last_number: u64) -> Self {
        let queue = Mutex::new(Queue { items: VecDeque::new(), last_number });
        Self { lane, queue, space: Semaphore::new(lane.capacity), is_open: None }
    }

    /// Takes things in only while `is_open` says so; what it took in before stays.
    #[must_use]
    pub fn with_door(self, is_open: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { is_open: Some(Box::new(is_open)), ..self }
    }

    /// Accepts an item. A full inbox makes its sender wait, which is how back-pressure reaches the wire, or answers
    /// busy: the lane says which.
    pub async fn accept(&self, content: T) -> Result<Receipt, Refused<T>> {
        let (sender, receipt) = oneshot::channel();
        self.put(content, Some(sender)).await.map(|()| receipt)
    }

    /// Accepts an item like [`Self::accept`] does, from a sender that does not wait for what becomes of it.
    pub async fn accept_unreceipted(&self, content: T) -> Result<(), Refused<T>> {
        self.put(content, None).await
    }

    async fn put(
        &self,
        mut content: T,
        mut receipt: Option<oneshot::Sender<Outcome>>,
    ) -> Result<(), Refused<T>> {
        loop {
            content = match self.try_put(content, &mut receipt) {
                Err(Refused::Busy(content)) if self.lane.when_full == WhenFull::Wait => content,
                decided => return decided,
            };
            // Whoever waits stays in the line of the semaphore for a while, then looks at the door and lines up anew.
            match tokio::time::timeout(DOOR_CHECK, self.space.acquire()).await {
                Ok(Ok(permit)) if self.is_open() => {
                    permit.forget();
                    self.enqueue(content, receipt);
                    return Ok(());
                }
                // Nobody ever closes the semaphore.
                Ok(Ok(_) | Err(_)) | Err(_) => {}
            }
        }
    }

    /// Accepts an item if there is space now.
    pub fn try_accept(&self, content: T) -> Result<Receipt, Refused<T>> {
        let (sender, receipt) = oneshot::channel();
        self.try_put(content, &mut Some(sender)).map(|()| receipt)
    }

    /// Accepts items in their order if there is space for all of them now; otherwise they come back. The receipt is the
    /// last one's: items are settled in their order, so that it tells of all.
    pub fn try_accept_all(&self, contents: Vec<T>) -> Result<Receipt, Refused<Vec<T>>> {
        if !self.is_open() {
            return Err(Refused::Closed(contents));
        }
        let permits = u32::try_from(contents.len()).ok().and_then(|n| self.space.try_acquire_many(n).ok());
        match permits {
            Some(permits) => permits.forget(),
            None => return Err(Refused::Busy(contents)),
        }
        let (sender, receipt) = oneshot::channel();
        self.enqueue_all(contents, sender);
        Ok(receipt)
    }

    fn enqueue_all(&self, contents: Vec<T>, receipt: oneshot::Sender<Outcome>) {
        let (since, count, mut receipt) = (clock::monotonic(), contents.len(), Some(receipt));
        let mut queue = self.queue.lock();
        for (index, content) in contents.into_iter().enumerate() {
            queue.push(content, since, receipt.take_if(|_| index + 1 == count));
        }
    }

    fn try_put(&self, content: T, receipt: &mut Option<oneshot::Sender<Outcome>>) -> Result<(), Refused<T>> {
        if !self.is_open() {
            return Err(Refused::Closed(content));
        }
        match self.space.try_acquire() {
            Ok(permit) => permit.forget(),
            Err(_) => return Err(Refused::Busy(content)),
        }
        self.enqueue(content, receipt.take());
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.is_open.as_ref().is_none_or(|is_open| is_open())
    }

    fn enqueue(&self, content: T, receipt: Option<oneshot::Sender<Outcome>>) {
        let since = clock::monotonic();
        self.queue.lock().push(content, since, receipt);
    }

    /// The first `max` items, oldest first; they stay. Copying one should be cheap.
    pub fn front(&self, max: usize) -> Vec<Waiting<T>>
    where
        T: Clone,
    {
        self.queue.lock().items.iter().take(max).map(Item::copy).collect()
    }

    /// Says that the handler begins with this item. Until the answer is told how that went, a panic is the item's.
    pub fn handle(&self, number: u64) -> Handling<'_, T> {
        Handling::new(self, number)
    }

    /// Removes all items up to and including this number and tells their senders; the dead ones were set aside.
    pub fn settle(&self, up_to: u64) {
        let settled: Vec<_> = {
            let mut queue = self.queue.lock();
            let count = queue.items.iter().take_while(|item| item.number <= up_to).count();
            queue.items.drain(..count).collect()
        };
        self.space.add_permits(settled.len());
        settled.into_iter().for_each(|item| {
            let outcome = if item.failures() >= MAX_FAILURES { Outcome::DeadLettered } else { Outcome::Done };
            item.tell(outcome);
        });
    }

    /// Counts a failure of the handler against an item.
    fn blame(&self, number: u64, cause: &str) {
        let mut queue = self.queue.lock();
        if let Some(item) = queue.items.iter_mut().find(|item| item.number == number) {
            let failures = item.failures() + 1;
            item.trouble = Some(Box::new(Trouble { failures, cause: Arc::from(cause) }));
        }
    }

    /// Takes an item out that must not be run again.
    fn give_up(&self, number: u64) {
        let given_up = {
            let mut queue = self.queue.lock();
            let index = queue.items.iter().position(|item| item.number == number);
            index.and_then(|index| queue.items.remove(index))
        };
        if let Some(item) = given_up {
            self.space.add_permits(1);
            item.tell(Outcome::Unknown);
        }
    }

    /// How many items wait.
    pub fn depth(&self) -> usize {
        self.queue.lock().items.len()
    }

    /// How long the oldest item has been waiting.
    pub fn age(&self) -> Option<Duration> {
        self.queue.lock().items.front().map(|item| item.since.elapsed())
    }
}

impl<T> Queue<T> {
    fn push(&mut self, content: T, since: Instant, receipt: Option<oneshot::Sender<Outcome>>) {
        self.last_number += 1;
        let item = Item { number: self.last_number, content, since, receipt, trouble: None };
        if self.items.capacity() == 0 {
            // Most of a hundred thousand devices never have two items waiting.
            self.items.reserve_exact(1);
        }
        self.items.push_back(item);
    }
}

impl<T> Item<T> {
    fn copy(&self) -> Waiting<T>
    where
        T: Clone,
    {
        let cause = self.trouble.as_ref().map(|trouble| Arc::clone(&trouble.cause));
        let (content, failures) = (self.content.clone(), self.failures());
        Waiting { number: self.number, content, failures, cause }
    }

    fn failures(&self) -> u32 {
        self.trouble.as_ref().map_or(0, |trouble| trouble.failures)
    }

    fn tell(self, outcome: Outcome) {
        if let Some(receipt) = self.receipt {
            // A sender that went away needs no receipt; its item has gone its way all the same.
            receipt.send(outcome).ok();
        }
    }
}

#[cfg(test)]
mod tests;
