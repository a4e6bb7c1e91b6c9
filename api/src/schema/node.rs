//! The node that answers, as clients see it.

use async_graphql::{Context, Object, Result};
use voltree_actors::fleet::Fleet;

use crate::NodeInfo;

/// The node that answers, as clients see it.
pub(super) struct NodeView<'a>(pub(super) &'a NodeInfo);

/// The node that answers.
#[Object(name = "NodeInfo")]
impl NodeView<'_> {
    /// What its operator calls it.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// The version of Voltree it runs.
    async fn version(&self) -> &str {
        &self.0.version
    }

    /// When its process started, as RFC 3339 in UTC.
    async fn started_at(&self) -> String {
        self.0.started_at.to_string()
    }

    /// Whether it can serve; /health/ready names what is missing.
    async fn ready(&self, ctx: &Context<'_>) -> Result<bool> {
        Ok(ctx.data::<Fleet>()?.health.checks().iter().all(|check| check.ok))
    }
}
