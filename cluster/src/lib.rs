//! Which node runs a device, and how nodes talk.
//!
//! For now a fleet is one node: this room holds that node's identity, and wires every door of the fleet to the local half
//! in `voltree-actors`. Ownership by consensus, placement and links between nodes come here with the first peer; until
//! then there is nothing to pretend.

use std::sync::Arc;

use voltree_actors::fleet::{Fleet, LocalFleet};

/// Who a node is among its peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    name: String,
    site: Option<String>,
}

impl NodeIdentity {
    /// A node of this name, on this site if it has one.
    pub fn new(name: &str, site: Option<&str>) -> Self {
        Self { name: name.to_owned(), site: site.map(str::to_owned) }
    }

    /// What operators call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it stands.
    pub fn site(&self) -> Option<&str> {
        self.site.as_deref()
    }
}

/// The doors of a fleet that is this node alone: each is its local half.
pub fn local_fleet(node: LocalFleet) -> Fleet {
    let node = Arc::new(node);
    Fleet {
        devices: node.clone(),
        telemetry: node.clone(),
        history: node.clone(),
        timelines: node.clone(),
        ledgers: node.clone(),
        alerts: node.clone(),
        dead_letters: node.clone(),
        faults: node.clone(),
        flights: node.clone(),
        supervision: node.clone(),
        writes: node.clone(),
        sockets: node.clone(),
        commands: node.clone(),
        backups: node.clone(),
        health: node,
    }
}
