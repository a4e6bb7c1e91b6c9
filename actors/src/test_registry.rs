//! A registry for tests, of a node without faults.

use std::path::Path;
use std::sync::Arc;

use voltree_runtime::{ActorPath, Children, Directory, Faults};
use voltree_storage::{AgeLimits, JournalSlot};

use crate::dead_letters::DeadLetters;
use crate::fault_points::FAULT_POINTS;
use crate::registry::Registry;

/// A registry whose devices' actors are among `devices` at `node/devices`, with its dead letters in `dir`.
pub(crate) fn registry(
    journal: &Arc<JournalSlot>,
    directory: &Directory,
    devices: &Children,
    ages: Arc<AgeLimits>,
    dir: &Path,
) -> Registry {
    let letters = DeadLetters::open(Arc::clone(journal), &dir.join("dead-letters")).unwrap();
    Registry::new(
        ActorPath::root("node").child("devices"),
        devices.clone(),
        directory.clone(),
        Arc::clone(journal),
        ages,
        Arc::new(letters),
        Faults::new(FAULT_POINTS, 0),
    )
}
