//! The root of a tree, and the one rule above it: a root that fails three times in a minute ends the process, so
//! that the service manager starts it afresh.

use std::future::Future;
use std::time::Duration;

use ractor::{Actor, ActorCell};

use crate::child::Children;
use crate::restart::{Backoff, Exhausted, Failures, Restart, RestartPolicy, Verdict};
use crate::supervisor::{Supervisor, SupervisorArgs, SupervisorMsg};
use crate::{ActorPath, Directory, ErrorChain, EventKind, ExitReason, clock};

const POLICY: RestartPolicy = RestartPolicy {
    restart: Restart::Permanent,
    max_restarts: 2,
    window: Duration::from_secs(60),
    backoff: Backoff { first: Duration::from_millis(100), factor: 2.0, cap: Duration::from_secs(1) },
    exhausted: Exhausted::Escalate,
};

/// The root failed too often.
#[derive(Debug, thiserror::Error)]
#[error("the root of the tree failed 3 times within 60 s; last: {last}")]
pub struct RootGaveUp {
    last: ExitReason,
}

/// Runs a tree until `shutdown` resolves and every actor has stopped, or until its root failed too often.
pub async fn run_tree(
    path: ActorPath,
    directory: Directory,
    children: Children,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), RootGaveUp> {
    let args = SupervisorArgs { path: path.clone(), directory: directory.clone(), children };
    let slot = directory.slot(&path, "node", true);
    let mut shutdown = std::pin::pin!(shutdown);
    let mut failures = Failures::default();
    let begun = clock::monotonic();
    let mut stopping = false;
    loop {
        let incarnation = slot.begin();
        let spawned = Actor::spawn(None, Supervisor, args.clone()).await;
        let ended = match spawned {
            Ok((actor, task)) => {
                slot.run(actor.get_cell());
                let kind = if incarnation == 1 { EventKind::Started } else { EventKind::Restarted };
                directory.events().emit(kind, slot.view(), None, None);
                // The task's result only tells that it ended; how is known from who asked for it.
                drop(wait_or_stop(task, actor.get_cell(), &mut shutdown, &mut stopping).await);
                ExitReason::Error { chain: "the root supervisor ended".into() }
            }
            Err(error) => ExitReason::StartFailed { chain: ErrorChain::new(&error) },
        };
        let asked = slot.end(&ended);
        if stopping {
            slot.blame(ExitReason::Stopped);
            directory.events().emit(EventKind::Stopped, slot.view(), Some(ExitReason::Stopped), None);
            return Ok(());
        }
        if let Some(by) = asked {
            slot.blame(ExitReason::Killed { by: by.clone() });
            directory.events().emit(EventKind::Failed, slot.view(), Some(ExitReason::Killed { by }), None);
            continue;
        }
        directory.events().emit(EventKind::Failed, slot.view(), Some(ended.clone()), None);
        let now = clock::monotonic().duration_since(begun);
        match failures.record(&POLICY, now, fastrand::f64()) {
            Verdict::RestartAfter(delay) => pause(delay).await,
            Verdict::Park(_) | Verdict::Escalate => return Err(RootGaveUp { last: ended }),
        }
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
