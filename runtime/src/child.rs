//! A child as its supervisor knows it: a name, a kind, a policy, and how to give birth to it, again and again.

mod listed;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, SpawnErr};

pub use self::listed::Children;
pub(crate) use self::listed::Entry;
use crate::directory::Fence;
use crate::supervisor::{Cradle, Key, Supervisor, SupervisorArgs, Watched};
use crate::{ActorPath, Directory, RestartPolicy, Strategy};

/// What a newborn is told.
#[derive(Debug, Clone)]
pub struct Birth {
    /// Its path.
    pub path: ActorPath,
    /// Which incarnation it is, from 1.
    pub incarnation: u64,
    /// The node's directory.
    pub directory: Directory,
    /// What it shows wherever its effects would outlive it.
    pub fence: Fence,
}

/// A birth with the place where it is announced.
#[derive(Debug, Clone)]
pub(crate) struct Newborn {
    pub(crate) birth: Birth,
    pub(crate) cradle: Arc<Cradle>,
    pub(crate) key: Key,
}

/// A start under way.
pub(crate) type Spawned = Pin<Box<dyn Future<Output = Result<ActorCell, SpawnErr>> + Send>>;
type StartWorker = Arc<dyn Fn(Newborn, ActorCell) -> Spawned + Send + Sync>;

/// What a supervisor's core must know of a child.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Terms {
    pub(crate) policy: RestartPolicy,
    /// How long a stop may take.
    pub(crate) shutdown: Duration,
    /// How long a start may take.
    pub(crate) start: Duration,
    /// How long it may be at one message.
    pub(crate) stall: Duration,
}

/// How a supervisor starts, restarts and stops one child.
#[derive(Clone)]
pub struct ChildSpec {
    pub(crate) name: Arc<str>,
    pub(crate) kind: &'static str,
    pub(crate) terms: Arc<Terms>,
    start: Start,
    out_of_service: Option<Arc<dyn Fn() + Send + Sync>>,
}

#[derive(Clone)]
enum Start {
    Worker(StartWorker),
    Supervisor { children: Children, strategy: Strategy, in_order: bool },
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
        let start: StartWorker = Arc::new(move |newborn, supervisor| {
            let (actor, args) = make(newborn.birth.clone());
            Box::pin(async move {
                let (actor, _) =
                    Actor::spawn_linked(None, Watched(actor), (args, newborn), supervisor).await?;
                Ok(actor.get_cell())
            })
        });
        Self::new(name.into(), kind, policy, Duration::from_secs(5), Start::Worker(start))
    }

    /// A supervisor of its own over `children`: one_for_one, started in order, unless said otherwise.
    pub fn supervisor(name: impl Into<String>, policy: RestartPolicy, children: Children) -> Self {
        let start = Start::Supervisor { children, strategy: Strategy::OneForOne, in_order: true };
        Self::new(name.into(), "supervisor", policy, Duration::from_secs(20), start)
    }

    fn new(
        name: String,
        kind: &'static str,
        policy: RestartPolicy,
        shutdown: Duration,
        start: Start,
    ) -> Self {
        let (stall, starting) = (Duration::from_secs(60), Duration::from_secs(10));
        let terms = Arc::new(Terms { policy, shutdown, start: starting, stall });
        Self { name: name.into(), kind, terms, start, out_of_service: None }
    }

    /// Has the children of this supervisor hang together like this.
    #[must_use]
    pub fn with_strategy(mut self, with: Strategy) -> Self {
        if let Start::Supervisor { strategy, .. } = &mut self.start {
            *strategy = with;
        }
        self
    }

    /// Has the children of this supervisor start and stop all at once; for many that need nothing of each other.
    #[must_use]
    pub fn in_parallel(mut self) -> Self {
        if let Start::Supervisor { in_order, .. } = &mut self.start {
            *in_order = false;
        }
        self
    }

    /// Has a stop count as failed, and kills, after this long.
    #[must_use]
    pub fn with_shutdown_limit(self, shutdown: Duration) -> Self {
        let terms = Terms { shutdown, ..Terms::clone(&self.terms) };
        Self { terms: Arc::new(terms), ..self }
    }

    /// Has a start count as failed after this long.
    #[must_use]
    pub fn with_start_limit(self, start: Duration) -> Self {
        let terms = Terms { start, ..Terms::clone(&self.terms) };
        Self { terms: Arc::new(terms), ..self }
    }

    /// Has it count as frozen when it is at one message for longer than this.
    #[must_use]
    pub fn with_stall_limit(self, stall: Duration) -> Self {
        let terms = Terms { stall, ..Terms::clone(&self.terms) };
        Self { terms: Arc::new(terms), ..self }
    }

    /// Has this done whenever it was stopped or parked, however its end came about: what outlives its incarnations is not
    /// to be kept from others while there is none. It must not block.
    #[must_use]
    pub fn when_out_of_service(self, then: impl Fn() + Send + Sync + 'static) -> Self {
        Self { out_of_service: Some(Arc::new(then)), ..self }
    }

    /// It was stopped or parked.
    pub(crate) fn out_of_service(&self) {
        if let Some(then) = &self.out_of_service {
            then();
        }
    }

    pub(crate) fn is_supervisor(&self) -> bool {
        matches!(self.start, Start::Supervisor { .. })
    }

    /// Gives birth to it under `supervisor`.
    pub(crate) fn start(&self, newborn: Newborn, supervisor: ActorCell) -> Spawned {
        match &self.start {
            Start::Worker(start) => start(newborn, supervisor),
            Start::Supervisor { children, strategy, in_order } => {
                let args = SupervisorArgs {
                    path: newborn.birth.path.clone(),
                    directory: newborn.birth.directory.clone(),
                    children: children.clone(),
                    strategy: *strategy,
                    in_order: *in_order,
                    newborn: Some(newborn),
                };
                Box::pin(async move {
                    let (actor, _) = Actor::spawn_linked(None, Supervisor, args, supervisor).await?;
                    Ok(actor.get_cell())
                })
            }
        }
    }
}
