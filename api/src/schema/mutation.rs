//! What clients may change.

use async_graphql::{Context, Object, Result};
use voltree_actors::fleet::Fleet;

use super::error::fleet_error;
use super::supervision::SupervisedActor;

/// Who asked for a kill, as supervision events tell it; there are no users to name yet.
const OPERATOR: &str = "operator";

/// The root of all changes.
pub(crate) struct Mutation;

/// What may be changed.
#[Object]
impl Mutation {
    /// Kills the running incarnation of an actor, as a test of the tree. Its supervisor restarts it at once and
    /// does not count it as a failure. Answers how the actor stood when it was killed; an actor that is not
    /// running now is an error with the code NOT_RUNNING.
    async fn kill_actor(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its place in the tree, as supervisionTree lists it.")] path: String,
    ) -> Result<SupervisedActor> {
        let killed = ctx.data::<Fleet>()?.supervision.kill(&path, OPERATOR).map_err(fleet_error)?;
        Ok(SupervisedActor::from(&killed))
    }
}
