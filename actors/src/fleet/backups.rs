//! Backups of a running node, ordered by whoever may write into its data directory.

use super::Answer;

pub use voltree_storage::BackedUp;

/// Backing the node up.
pub trait Backups: Send + Sync {
    /// Takes a backup as the word of this name in the data directory says, and answers when it is whole. Whoever does not
    /// wait for the answer calls it off.
    fn back_up(&self, request: &str) -> Answer<'_, BackedUp>;
}
