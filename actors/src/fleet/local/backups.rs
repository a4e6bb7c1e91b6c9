//! Backing this node up. Where to is read from the data directory: who can't write there can't have files written
//! elsewhere in the node's name.

use std::fs;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::LocalFleet;
use crate::fleet::{Answer, BackedUp, Backups, FleetError};
use crate::now;

/// Calls a backup off when nobody waits for it any more.
#[derive(Debug, Default)]
struct Watched(Arc<AtomicBool>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Backups for LocalFleet {
    fn back_up(&self, request: &str) -> Answer<'_, BackedUp> {
        let to = self.backup_place(request);
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            let (to, watched) = (to?, Watched::default());
            let off = Arc::clone(&watched.0);
            let taking = tokio::task::spawn_blocking(move || {
                store.back_up_own(&to, now(), &mut |_| match off.load(Ordering::Acquire) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            });
            let taken = taking.await.map_err(|error| FleetError::Store(error.to_string()))?;
            drop(watched);
            taken.map_err(|error| FleetError::NotNow(with_cause(&error)))
        })
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

impl LocalFleet {
    /// Reads the word, which is good for one backup.
    fn backup_place(&self, request: &str) -> Result<PathBuf, FleetError> {
        let unknown = || FleetError::NotNow("there is no such word in the node's data directory".to_owned());
        if request.is_empty() || !request.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(unknown());
        }
        let path = self.store.backup_requests().join(request);
        let to = fs::read_to_string(&path).map_err(|_| unknown())?;
        fs::remove_file(&path).map_err(|_| unknown())?;
        let to = PathBuf::from(to.trim_end_matches('\n'));
        if to.is_absolute() { Ok(to) } else { Err(unknown()) }
    }
}
