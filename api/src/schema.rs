//! The GraphQL schema: the user's contract plus what Voltree shows of its own tree and ledger.
//!
//! Doc comments in this folder are the descriptions that clients read in the schema, so they are written for them.
//! Resolvers ask the fleet's doors and translate; they never hold state of their own.

// The derive macros want resolvers to be async, though most answers come straight from memory.
#![expect(clippy::unused_async, reason = "resolvers must be async for async-graphql's macros")]

mod alert;
mod arguments;
mod candidate;
mod command;
mod crash_report;
mod dead_letter;
mod device;
mod entity;
mod error;
mod fault;
mod history;
mod ledger;
mod mutation;
mod node;
mod orders;
mod query;
mod set_aside;
mod subscription;
mod supervision;
mod telemetry;
mod timeline;

use voltree_actors::fleet::Fleet;

use crate::NodeInfo;
use mutation::Mutation;
use orders::Orders;
use query::Query;
use subscription::Subscription;

pub(crate) use error::{Code, coded};

/// The schema of a node.
pub(crate) type Schema = async_graphql::Schema<Query, Mutation, Subscription>;

/// The standard introspection query needs 15 levels.
const MAX_DEPTH: usize = 20;
/// A field costs 1, one that reads the store costs more: two answers of the largest size fit.
const MAX_COMPLEXITY: usize = 2_500;
const MAX_DIRECTIVES: usize = 20;

/// The schema, answering from these doors.
pub(crate) fn build(fleet: Fleet, node: NodeInfo) -> Schema {
    builder().data(fleet).data(node).data(Orders::default()).finish()
}

/// The schema as text, as clients' code generators read it.
pub fn sdl() -> String {
    builder().finish().sdl()
}

fn builder() -> async_graphql::SchemaBuilder<Query, Mutation, Subscription> {
    async_graphql::Schema::build(Query::default(), Mutation, Subscription)
        .limit_depth(MAX_DEPTH)
        .limit_complexity(MAX_COMPLEXITY)
        .limit_directives(MAX_DIRECTIVES)
        .disable_suggestions()
}
