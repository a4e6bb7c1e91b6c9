//! A child as its supervisor knows it: a name, a kind, a policy, and how to give birth to it, again and again.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ractor::{Actor, ActorCell, SpawnErr};

use crate::supervisor::{Supervisor, SupervisorArgs, SupervisorMsg};
use crate::{ActorPath, Directory, RestartPolicy};

/// What a newborn is told.
#[derive(Debug, Clone)]
pub struct Birth {
    /// Its path.
    pub path: ActorPath,
    /// Which incarnation it is, from 1.
    pub incarnation: u64,
    /// The node's directory.
    pub directory: Directory,
}

type Spawned = Pin<Box<dyn Future<Output = Result<ActorCell, SpawnErr>> + Send>>;
type StartFn = Arc<dyn Fn(Birth, ActorCell) -> Spawned + Send + Sync>;

/// How a supervisor starts, restarts and stops one child.
#[derive(Clone)]
pub struct ChildSpec {
    pub(crate) name: String,
    pub(crate) kind: &'static str,
    pub(crate) policy: RestartPolicy,
    pub(crate) shutdown: Duration,
    pub(crate) supervisor: bool,
    pub(crate) start: StartFn,
}

impl std::fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ChildSpec({} {})", self.kind, self.name)
    }
}

impl ChildSpec {
    /// A worker. `make` gives the actor and its arguments anew for each incarnation; its `pre_start` must do no I/O.
    pub fn worker<A: Actor>(
        name: impl Into<String>,
        kind: &'static str,
        policy: RestartPolicy,
        make: impl Fn(Birth) -> (A, A::Arguments) + Send + Sync + 'static,
    ) -> Self {
        let start: StartFn = Arc::new(move |birth, supervisor| {
            let (actor, args) = make(birth);
            Box::pin(async move {
                let (actor, _) = Actor::spawn_linked(None, actor, args, supervisor).await?;
                Ok(actor.get_cell())
            })
        });
        Self { name: name.into(), kind, policy, shutdown: Duration::from_secs(5), supervisor: false, start }
    }

    /// A supervisor of its own over `children`.
    pub fn supervisor(name: impl Into<String>, policy: RestartPolicy, children: Children) -> Self {
        let start: StartFn = Arc::new(move |birth, supervisor| {
            let args =
                SupervisorArgs { path: birth.path, directory: birth.directory, children: children.clone() };
            Box::pin(async move {
                let (actor, _) = Actor::spawn_linked(None, Supervisor, args, supervisor).await?;
                Ok(actor.get_cell())
            })
        });
        let shutdown = Duration::from_secs(20);
        Self { name: name.into(), kind: "supervisor", policy, shutdown, supervisor: true, start }
    }
}

/// The children of one supervisor, in start order. The node owns it, so it outlives the supervisor: whoever
/// supervises next finds every child that was ever added and not removed.
#[derive(Debug, Clone, Default)]
pub struct Children {
    specs: Arc<Mutex<Vec<ChildSpec>>>,
}

impl Children {
    /// These children, in start order.
    pub fn new(specs: impl IntoIterator<Item = ChildSpec>) -> Self {
        Self { specs: Arc::new(Mutex::new(specs.into_iter().collect())) }
    }

    /// Adds a child and tells the supervisor at `path`; a name that is taken already changes nothing.
    pub fn add(&self, directory: &Directory, path: &ActorPath, spec: ChildSpec) {
        let name = spec.name.clone();
        {
            let mut specs = self.specs.lock();
            if specs.iter().any(|known| known.name == spec.name) {
                return;
            }
            specs.push(spec);
        }
        directory.handle::<SupervisorMsg>(path).nudge(SupervisorMsg::ChildAdded(name));
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.specs.lock().len()
    }

    pub(crate) fn get(&self, name: &str) -> Option<ChildSpec> {
        self.specs.lock().iter().find(|spec| spec.name == name).cloned()
    }

    pub(crate) fn remove(&self, name: &str) {
        self.specs.lock().retain(|spec| spec.name != name);
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.specs.lock().iter().map(|spec| spec.name.clone()).collect()
    }
}
