//! The promise that PUBACKs wait for, of one publish or of several that came together.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use voltree_runtime::Receipt;

use super::{Committed, Kept};

/// Resolves to the tickets of publishes that are committed now, each with its reason code; to nothing if that can't be
/// promised.
pub(in crate::mqtt) enum Commit {
    /// Readings of one device that came together and are settled together; and what is kept of them for others.
    Batch { receipt: Receipt, kept: Vec<Kept>, tickets: Vec<(u64, u8)> },
    /// A publish that went its own way.
    One { ticket: u64, committed: Committed },
}

impl Future for Commit {
    type Output = Option<Vec<(u64, u8)>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Batch { receipt, kept, tickets } => {
                while let Some(keeping) = kept.last_mut() {
                    if !ready!(keeping.as_mut().poll(context)) {
                        return Poll::Ready(None);
                    }
                    kept.pop();
                }
                let settled = ready!(Pin::new(receipt).poll(context));
                Poll::Ready(settled.ok().map(|_| std::mem::take(tickets)))
            }
            Self::One { ticket, committed } => {
                let reason = ready!(committed.as_mut().poll(context));
                Poll::Ready(reason.map(|reason| vec![(*ticket, reason)]))
            }
        }
    }
}
