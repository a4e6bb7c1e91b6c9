//! Which node answers: handed in by the root, shown by GraphQL and by the console's header.

use voltree_model::Timestamp;

/// The node behind the API.
#[derive(Debug, Clone)]
pub struct NodeInfo {
    /// What its operator calls it.
    pub name: String,
    /// The version of Voltree it runs.
    pub version: String,
    /// When its process started.
    pub started_at: Timestamp,
}
