//! The root of a tree, and the one rule above it: a root that fails three times in a minute ends the process, so
//! that the service manager starts it afresh.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell};

use crate::child::Children;
use crate::directory::{Slot, Watchman};
use crate::restart::{Backoff, Exhausted, Record, Restart, RestartPolicy, Strategy, Verdict};
use crate::supervisor::{Supervisor, SupervisorArgs, SupervisorMsg};
use crate::{ActorPath, Directory, ErrorChain, EventKind, ExitReason, clock};

const POLICY: RestartPolicy = RestartPolicy {
    restart: Restart::Permanent,
    max_restarts: 2,
    window: Duration::from_secs(60),
    backoff: Backoff { first: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(1) },
    exhausted: Exhausted::Escalate,
};

/// Why a tree can't go on.
#[derive(Debug, thiserror::Error)]
pub enum RootGaveUp {
    /// The root failed too often.
    #[error("the root of the tree failed 3 times within 60 s; last: {last}")]
    Failed {
        /// How it failed last.
        last: ExitReason,
    },
    /// Actors that spin hold too many of the runtime's threads.
    #[error("{threads} threads are held by actors that do not come to an end")]
    ThreadsStuck {
        /// How many.
        threads: usize,
    },
    /// Nobody could be set to watch for frozen actors.
    #[error("the watchman's thread could not be started")]
    NoWatchman(#[source] std::io::Error),
}

/// Runs a tree until `shutdown` resolves and every actor has stopped, until its root failed too often, or until too many
/// of the runtime's threads are stuck.
pub async fn run_tree(
    path: ActorPath,
    directory: Directory,
    children: Children,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RootGaveUp> {
    let _on_duty = Watchman::start(&directory).map_err(RootGaveUp::NoWatchman)?;
    let root = Root { path, directory: directory.clone(), children };
    tokio::select! {
        ended = root.run(shutdown) => ended,
        () = directory.watchman().too_many_stuck() => Err(RootGaveUp::ThreadsStuck { threads: directory.stuck_threads() }),
    }
}

struct Root {
    path: ActorPath,
    directory: Directory,
    children: Children,
}

impl Root {
    async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), RootGaveUp> {
        let slot = self.directory.slot(&self.path, "node", true);
        let mut shutdown = std::pin::pin!(shutdown);
        let mut record = Record::default();
        let begun = clock::monotonic();
        let mut stopping = false;
        loop {
            let ended = self.live_once(&slot, &mut shutdown, &mut stopping).await;
            let (reason, asked) = self.directory.end(&slot, ended);
            if stopping {
                slot.blame(ExitReason::Stopped);
                self.tell(&slot, EventKind::Stopped, Some(ExitReason::Stopped));
                return Ok(());
            }
            self.tell(&slot, EventKind::Failed, Some(reason.clone()));
            if asked {
                continue;
            }
            let now = clock::monotonic().duration_since(begun);
            match record.failed(&POLICY, now, fastrand::f64()) {
                Verdict::RestartAfter(delay) => pause(delay).await,
                Verdict::Park(_) | Verdict::Escalate => return Err(RootGaveUp::Failed { last: reason }),
            }
        }
    }

    /// One incarnation of the root, from birth to end.
    async fn live_once(
        &self,
        slot: &Arc<Slot>,
        shutdown: &mut std::pin::Pin<&mut (impl Future<Output = ()> + Send)>,
        stopping: &mut bool,
    ) -> ExitReason {
        let args = SupervisorArgs {
            path: self.path.clone(),
            directory: self.directory.clone(),
            children: self.children.clone(),
            strategy: Strategy::OneForOne,
            in_order: true,
            newborn: None,
        };
        let incarnation = slot.incarnation() + 1;
        self.directory.begin(slot, incarnation, Duration::MAX);
        match Actor::spawn(None, Supervisor, args).await {
            Ok((actor, task)) => {
                slot.run(actor.get_cell());
                let kind = if incarnation == 1 { EventKind::Started } else { EventKind::Restarted };
                self.tell(slot, kind, None);
                // The task's result only tells that it ended; how is known from who asked for it.
                drop(wait_or_stop(task, actor.get_cell(), shutdown, stopping).await);
                ExitReason::Error { chain: "the root supervisor ended".into() }
            }
            Err(error) => ExitReason::StartFailed { chain: ErrorChain::new(&error) },
        }
    }

    fn tell(&self, slot: &Slot, kind: EventKind, reason: Option<ExitReason>) {
        self.directory.events().emit(kind, slot.view(), reason, None);
    }
}

async fn wait_or_stop<T>(
    mut task: tokio::task::JoinHandle<T>,
    root: ActorCell,
    shutdown: &mut std::pin::Pin<&mut (impl Future<Output = ()> + Send)>,
    stopping: &mut bool,
) -> Result<T, tokio::task::JoinError> {
    if !*stopping {
        tokio::select! {
            ended = &mut task => return ended,
            () = shutdown.as_mut() => {
                *stopping = true;
                // A root that is gone already has nothing left to stop.
                drop(root.send_message(SupervisorMsg::ShutDown));
            }
        }
    }
    task.await
}

#[expect(clippy::disallowed_methods, reason = "above the root there is no actor whose timer could be used")]
async fn pause(delay: Duration) {
    tokio::time::sleep(delay).await;
}
