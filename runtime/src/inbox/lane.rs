//! What an inbox does when it is full and when its actor dies, as data.

/// What happens to whoever comes to a full inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// It waits, and so does the wire behind it.
    Wait,
    /// It is told at once that the actor is busy.
    Busy,
}

/// What happens to an item whose handler died over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCrash {
    /// It is handled again under the same number, so doing it twice must be harmless.
    Retry,
    /// It is never run again; its sender hears that the outcome is unknown, and reads back.
    Report,
}

/// The rules of one inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    /// How many items it holds.
    pub capacity: usize,
    /// What happens when there are that many.
    pub when_full: WhenFull,
    /// What a crash does with the item at hand.
    pub on_crash: OnCrash,
}

impl Lane {
    /// For what was measured: nothing is dropped, so its source waits, and it can be handled again.
    pub const fn telemetry(capacity: usize) -> Self {
        Self { capacity, when_full: WhenFull::Wait, on_crash: OnCrash::Retry }
    }

    /// For orders with an effect: refused as busy rather than late, and never run twice.
    pub const fn commands(capacity: usize) -> Self {
        Self { capacity, when_full: WhenFull::Busy, on_crash: OnCrash::Report }
    }
}
