//! A batch that is with the journal. It is answered on the journal's thread, whether or not the actor that handed it over
//! still lives.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use voltree_storage::{AppendError, JournalSlot, Lsn};

use super::{Intake, Prepared};

/// However it ends, even with its writer, the next one may follow: nobody else calls for it.
struct Offer<N: FnOnce()> {
    intake: Arc<Intake>,
    items: usize,
    last: u64,
    next: Option<N>,
}

impl Intake {
    /// Hands a batch over, unless another incarnation of the actor did so meanwhile.
    pub(super) fn hand_over(
        self: &Arc<Self>,
        journal: &JournalSlot,
        prepared: Prepared,
        next: impl FnOnce() + Send + 'static,
    ) {
        let Prepared { entries, items, last: Some(last) } = prepared else { return };
        if !self.offers.swap(true, Ordering::AcqRel) {
            let offer = Offer { intake: Arc::clone(self), items, last, next: Some(next) };
            journal.append(entries, Box::new(move |result| offer.answered(result)));
        }
    }
}

impl<N: FnOnce()> Offer<N> {
    fn answered(self, result: Result<Lsn, AppendError>) {
        let Self { intake, items, last, .. } = &self;
        match result {
            Ok(_) => intake.inbox.settle(*last),
            // One that can never be written would hold up all behind it: it is found by itself and is to blame.
            Err(AppendError::Unencodable(why)) if *items == 1 => {
                intake.inbox.handle(*last).failed(&format!("it can't be written: {why}"));
            }
            Err(AppendError::Unencodable(_)) => {
                intake.one_by_one_until.store(*last, Ordering::Release);
            }
            Err(error @ AppendError::Writer(_)) => {
                tracing::debug!(device = %intake.device, %error, waiting = intake.depth(), "readings wait");
            }
        }
    }
}

impl<N: FnOnce()> Drop for Offer<N> {
    fn drop(&mut self) {
        self.intake.offers.store(false, Ordering::Release);
        // Whoever brings something from here on calls the actor itself.
        if self.intake.depth() > 0
            && let Some(next) = self.next.take()
        {
            next();
        }
    }
}
