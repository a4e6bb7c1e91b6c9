//! A whole tree of real actors: killed, crashed and stopped, seen from outside.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of a test may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use voltree_runtime::{
    ActorPath, ActorStatus, ChildSpec, Children, Directory, EventKind, ExitReason, Failure, RestartPolicy,
    run_tree,
};

const BOUND: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy)]
enum WorkerMsg {
    Panic,
    Fail,
    Count,
}

struct Worker(Arc<AtomicU64>);

impl Actor for Worker {
    type Msg = WorkerMsg;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<WorkerMsg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<WorkerMsg>,
        message: WorkerMsg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        match message {
            WorkerMsg::Panic => panic!("asked to panic"),
            WorkerMsg::Fail => Err(Box::new(Failure::text("asked to fail"))),
            WorkerMsg::Count => {
                self.0.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }
}

struct Tree {
    directory: Directory,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<Result<(), voltree_runtime::RootGaveUp>>,
    counted: Arc<AtomicU64>,
}

#[expect(clippy::disallowed_methods, reason = "a test's tree runs beside the test")]
fn tree(policy: RestartPolicy) -> Tree {
    let directory = Directory::default();
    let counted = Arc::new(AtomicU64::new(0));
    let worker = |name: &str| {
        let counted = Arc::clone(&counted);
        ChildSpec::worker(name, "worker", policy, move |_| (Worker(Arc::clone(&counted)), ()))
    };
    let devices = Children::new([worker("a"), worker("b")]);
    let children = Children::new([
        ChildSpec::supervisor("devices", RestartPolicy::GROUP, devices),
        ChildSpec::supervisor("edges", RestartPolicy::GROUP, Children::new([worker("c")])),
    ]);
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        stopped.await.ok();
    };
    let task = tokio::spawn(run_tree(ActorPath::root("node"), directory.clone(), children, shutdown));
    Tree { directory, stop: Some(stop), task, counted }
}

impl Tree {
    async fn until(&self, what: &str, condition: impl Fn(&Directory) -> bool) {
        let waited = tokio::time::timeout(BOUND, async {
            while !condition(&self.directory) {
                tokio::task::yield_now().await;
            }
        });
        assert!(waited.await.is_ok(), "never came true: {what}; {:#?}", self.directory.list());
    }

    async fn all_running(&self, restarts: &[(&str, u64)]) {
        self.until("all run", |directory| {
            let list = directory.list();
            list.len() == 6
                && list.iter().all(|actor| actor.status == ActorStatus::Running)
                && restarts.iter().all(|(path, n)| {
                    list.iter().any(|actor| actor.path.as_str() == *path && actor.restarts >= *n)
                })
        })
        .await;
    }

    fn send(&self, path: &str, message: WorkerMsg) {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let mut at = ActorPath::root("node");
        for part in parent.split('/').skip(1) {
            at = at.child(part);
        }
        self.directory.handle(&at.child(name)).send(message).unwrap();
    }
}

#[tokio::test]
async fn every_actor_of_a_tree_comes_back_after_a_kill_even_supervisors_and_the_root() {
    let tree = tree(RestartPolicy::DEVICE);
    tree.all_running(&[]).await;
    for path in ["node/devices/a", "node/devices", "node", "node/edges/c"] {
        let before = tree.directory.list().into_iter().find(|a| a.path.as_str() == path).unwrap();
        tree.directory.kill(path, "test").unwrap();
        tree.all_running(&[(path, before.restarts + 1)]).await;
        let killed = tree
            .directory
            .events()
            .latest(100, None)
            .into_iter()
            .find(|event| event.kind == EventKind::Failed && event.path.as_str() == path);
        assert_eq!(killed.unwrap().reason, Some(ExitReason::Killed { by: "test".to_owned() }));
    }
}

#[tokio::test]
async fn a_panic_and_an_error_are_told_apart_with_their_place_and_siblings_stay() {
    voltree_runtime::log_panics();
    let tree = tree(RestartPolicy::DEVICE);
    tree.all_running(&[]).await;
    tree.send("node/devices/a", WorkerMsg::Panic);
    tree.all_running(&[("node/devices/a", 1)]).await;
    tree.send("node/devices/a", WorkerMsg::Fail);
    tree.all_running(&[("node/devices/a", 2)]).await;
    let reasons: Vec<_> =
        tree.directory.events().latest(100, None).iter().filter_map(|e| e.reason.clone()).collect();
    assert!(reasons.contains(&ExitReason::Error { chain: "asked to fail".into() }), "{reasons:?}");
    let panicked = |reason: &ExitReason| {
        matches!(reason, ExitReason::Panic { message, location: Some(location) }
            if message == "asked to panic" && location.contains("runtime/tests/supervision.rs:"))
    };
    assert!(reasons.iter().any(panicked), "{reasons:?}");
    let sibling = tree.directory.list().into_iter().find(|a| a.path.name() == "b").unwrap();
    assert_eq!(sibling.restarts, 0);
}

#[tokio::test]
async fn a_handle_made_before_a_kill_reaches_the_next_incarnation() {
    let tree = tree(RestartPolicy::DEVICE);
    tree.all_running(&[]).await;
    tree.directory.kill("node/devices/b", "test").unwrap();
    tree.all_running(&[("node/devices/b", 1)]).await;
    tree.send("node/devices/b", WorkerMsg::Count);
    let counted = Arc::clone(&tree.counted);
    tree.until("counted", move |_| counted.load(Ordering::Relaxed) == 1).await;
}

#[tokio::test]
async fn a_child_that_keeps_failing_parks_and_its_sibling_never_notices() {
    let tree = tree(RestartPolicy { max_restarts: 1, ..RestartPolicy::DEVICE });
    tree.all_running(&[]).await;
    tree.send("node/devices/a", WorkerMsg::Panic);
    tree.all_running(&[("node/devices/a", 1)]).await;
    tree.send("node/devices/a", WorkerMsg::Panic);
    tree.until("parked", |d| {
        d.list()
            .iter()
            .any(|a| a.path.name() == "a" && a.status == ActorStatus::Parked && a.next_try_ms.is_some())
    })
    .await;
    let list = tree.directory.list();
    assert!(list.iter().any(|a| a.path.name() == "b" && a.restarts == 0 && a.status == ActorStatus::Running));
}

#[tokio::test]
async fn a_shutdown_stops_everything_in_reverse_order() {
    let mut tree = tree(RestartPolicy::SERVICE);
    tree.all_running(&[]).await;
    tree.stop.take().unwrap().send(()).unwrap();
    tokio::time::timeout(BOUND, tree.task).await.unwrap().unwrap().unwrap();
    let stopped: Vec<_> = tree
        .directory
        .events()
        .latest(100, None)
        .into_iter()
        .rev()
        .filter(|e| e.kind == EventKind::Stopped)
        .map(|e| e.path.as_str().to_owned())
        .collect();
    let expected = ["node/edges/c", "node/edges", "node/devices/b", "node/devices/a", "node/devices", "node"];
    assert_eq!(stopped, expected);
}

#[tokio::test]
async fn a_root_that_fails_three_times_within_a_minute_gives_up() {
    let tree = tree(RestartPolicy { max_restarts: 0, ..RestartPolicy::SERVICE });
    for round in 0.. {
        if tree.task.is_finished() {
            assert!(round >= 3, "gave up after {round} failures");
            break;
        }
        let running =
            |d: &Directory| d.list().iter().any(|a| a.path.name() == "a" && a.status == ActorStatus::Running);
        if running(&tree.directory) {
            // The actor may be ending already; then the next round tries again.
            tree.directory
                .handle(&ActorPath::root("node").child("devices").child("a"))
                .nudge(WorkerMsg::Panic);
        }
        tokio::time::timeout(BOUND, tokio::task::yield_now()).await.unwrap();
    }
    assert!(tree.task.await.unwrap().is_err());
}
