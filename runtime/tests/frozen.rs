//! Actors that hang, spin, start slowly or crash by the thousand, and operators that park them: seen from outside, in
//! real time, because a frozen actor is found by a thread that knows no other.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of a test may panic")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{oneshot, watch};
use voltree_runtime::{
    ActorPath, ActorStatus, ActorView, Birth, ChildSpec, Children, Directory, EventKind, ExitReason, Fence,
    ParkError, RestartPolicy, RootGaveUp, Strategy, WatchOptions, run_tree,
};

const BOUND: Duration = Duration::from_secs(60);
const STALL: Duration = Duration::from_millis(200);
/// What a worker says that panics because it was told to.
const ORDERED: &str = "asked to panic";

#[derive(Debug)]
enum Order {
    Wait,
    Spin(Arc<AtomicBool>),
    Panic,
    Count,
}

/// What all incarnations of all workers of a test share.
#[derive(Debug, Default)]
struct World {
    counted: AtomicU64,
    refused: AtomicU64,
    hang_starts: AtomicU64,
    /// Holds starts up until it is opened.
    gate: Mutex<Option<watch::Receiver<bool>>>,
    born: Mutex<Vec<ActorPath>>,
}

struct Worker(Arc<World>);

impl Actor for Worker {
    type Msg = Order;
    type State = Fence;
    type Arguments = Birth;

    async fn pre_start(&self, _: ActorRef<Order>, birth: Birth) -> Result<Fence, ActorProcessingErr> {
        let hangs =
            self.0.hang_starts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
        if hangs.is_ok() {
            std::future::pending::<()>().await;
        }
        let gate = self.0.gate.lock().clone();
        if let Some(mut gate) = gate {
            gate.wait_for(|open| *open).await?;
        }
        self.0.born.lock().push(birth.path);
        Ok(birth.fence)
    }

    async fn handle(
        &self,
        _: ActorRef<Order>,
        order: Order,
        fence: &mut Fence,
    ) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Wait => std::future::pending().await,
            Order::Panic => panic!("{ORDERED}"),
            Order::Count => {}
            Order::Spin(stop) => {
                while !stop.load(Ordering::Relaxed) {
                    std::thread::yield_now();
                }
            }
        }
        let effect = if fence.is_current() { &self.0.counted } else { &self.0.refused };
        effect.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

struct Tree {
    directory: Directory,
    world: Arc<World>,
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<Result<(), RootGaveUp>>,
}

fn worker(world: &Arc<World>, name: &str, policy: RestartPolicy) -> ChildSpec {
    let world = Arc::clone(world);
    ChildSpec::worker(name, "worker", policy, move |birth| (Worker(Arc::clone(&world)), birth))
}

/// A worker that is soon found frozen. On a busy machine a healthy one may be found so as well.
fn frail(world: &Arc<World>, name: &str) -> ChildSpec {
    worker(world, name, RestartPolicy::DEVICE).with_stall_limit(STALL)
}

/// Ten thousand ordered panics print no ten thousand stack traces.
fn say_nothing_of_ordered_panics() {
    static HOOKED: Once = Once::new();
    HOOKED.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload_as_str() != Some(ORDERED) {
                usual(panic);
            }
        }));
    });
}

#[expect(clippy::disallowed_methods, reason = "a test's tree runs beside the test")]
fn tree(make: impl FnOnce(&Arc<World>) -> Vec<ChildSpec>) -> Tree {
    say_nothing_of_ordered_panics();
    let options = WatchOptions { tick: Duration::from_millis(20), ..WatchOptions::default() };
    let directory = Directory::watched(options);
    let world = Arc::new(World::default());
    let children = Children::new(make(&world));
    let (stop, stopped) = oneshot::channel();
    let shutdown = async {
        stopped.await.ok();
    };
    let task = tokio::spawn(run_tree(ActorPath::root("node"), directory.clone(), children, shutdown));
    Tree { directory, world, stop: Some(stop), task }
}

impl Tree {
    fn path(path: &str) -> ActorPath {
        path.split('/').skip(1).fold(ActorPath::root("node"), |at, part| at.child(part))
    }

    async fn until(&self, what: &str, condition: impl Fn(&Directory) -> bool) {
        let waited = tokio::time::timeout(BOUND, async {
            while !condition(&self.directory) {
                tokio::task::yield_now().await;
            }
        });
        assert!(
            waited.await.is_ok(),
            "never came true: {what}; {:#?}",
            self.directory.events().latest(20, None)
        );
    }

    fn view(&self, path: &str) -> Option<ActorView> {
        self.directory.list().into_iter().find(|actor| actor.path.as_str() == path)
    }

    async fn runs(&self, path: &str, incarnation: u64) {
        let what = format!("{path} runs as incarnation {incarnation}");
        self.until(&what, |_| {
            self.view(path).is_some_and(|a| a.status == ActorStatus::Running && a.incarnation >= incarnation)
        })
        .await;
    }

    fn send(&self, path: &str, order: Order) {
        self.directory.handle(&Self::path(path)).send(order).unwrap();
    }

    fn reasons(&self, path: &str, kind: EventKind) -> Vec<ExitReason> {
        let events = self.directory.events().latest(1_000, None);
        let of = events.iter().filter(|event| event.path.as_str() == path && event.kind == kind);
        of.filter_map(|event| event.reason.clone()).collect()
    }

    async fn shut_down(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        tokio::time::timeout(BOUND, self.task).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_actor_that_waits_for_ever_is_killed_at_its_limit_and_replaced() {
    let tree = tree(|world| vec![frail(world, "a")]);
    tree.runs("node/a", 1).await;
    tree.send("node/a", Order::Wait);
    tree.runs("node/a", 2).await;
    let limit_ms = u64::try_from(STALL.as_millis()).unwrap();
    assert_eq!(tree.reasons("node/a", EventKind::Failed), [ExitReason::Frozen { limit_ms }]);
    assert!(tree.reasons("node/a", EventKind::Stuck).is_empty(), "its thread is free");
    tree.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_actor_that_spins_is_fenced_and_its_thread_is_an_alert_until_it_is_free() {
    let tree = tree(|world| vec![frail(world, "a")]);
    tree.runs("node/a", 1).await;
    let free = Arc::new(AtomicBool::new(false));
    tree.send("node/a", Order::Spin(Arc::clone(&free)));
    tree.runs("node/a", 2).await;
    tree.until("the stuck thread is told", |d| d.stuck_threads() == 1).await;
    tree.until("with an event", |_| tree.reasons("node/a", EventKind::Stuck).len() == 1).await;
    tree.send("node/a", Order::Count);
    tree.until("the new one works", |_| tree.world.counted.load(Ordering::Relaxed) == 1).await;
    free.store(true, Ordering::Relaxed);
    tree.until("the old one went on", |_| tree.world.refused.load(Ordering::Relaxed) == 1).await;
    tree.until("and its thread is free", |d| d.stuck_threads() == 0).await;
    assert_eq!(tree.world.counted.load(Ordering::Relaxed), 1, "nothing the old one did was accepted");
    assert_eq!(tree.view("node/a").unwrap().incarnation, 2, "its late end changed nothing");
    tree.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_second_stuck_thread_ends_the_node() {
    let tree = tree(|world| vec![frail(world, "a"), frail(world, "b")]);
    tree.runs("node/b", 1).await;
    let free = Arc::new(AtomicBool::new(false));
    for path in ["node/a", "node/b"] {
        tree.send(path, Order::Spin(Arc::clone(&free)));
    }
    let ended = tokio::time::timeout(BOUND, tree.task).await.unwrap().unwrap();
    free.store(true, Ordering::Relaxed);
    assert!(matches!(ended, Err(RootGaveUp::ThreadsStuck { threads: 2 })), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_start_that_hangs_fails_at_its_limit_and_holds_no_sibling_up_for_longer() {
    let tree = tree(|world| {
        world.hang_starts.store(1, Ordering::Relaxed);
        ["a", "b"].map(|name| worker(world, name, RestartPolicy::DEVICE).with_start_limit(STALL)).into()
    });
    tree.runs("node/a", 2).await;
    tree.runs("node/b", 1).await;
    let reasons = tree.reasons("node/a", EventKind::Failed);
    assert!(
        matches!(&reasons[..], [ExitReason::StartFailed { chain }] if chain.to_string().contains("longer")),
        "{reasons:?}"
    );
    let born: Vec<_> = tree.world.born.lock().iter().map(|path| path.name().to_owned()).collect();
    assert_eq!(born, ["a", "b"], "the order of the tree is kept");
    tree.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_shutdown_ends_even_while_a_start_hangs() {
    let tree = tree(|world| {
        world.hang_starts.store(u64::MAX, Ordering::Relaxed);
        vec![worker(world, "a", RestartPolicy::DEVICE).with_start_limit(STALL)]
    });
    tree.until("it is being born", |_| tree.view("node/a").is_some_and(|a| a.incarnation > 0)).await;
    tree.shut_down().await;
}

fn devices(world: &Arc<World>, name: &str, count: usize) -> ChildSpec {
    let policy = RestartPolicy::DEVICE;
    let children = (0..count).map(|i| worker(world, &format!("{name}{i:05}"), policy));
    ChildSpec::supervisor(name, RestartPolicy::GROUP, Children::new(children)).in_parallel()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_that_crash_at_once_all_come_back_once() {
    const COUNT: usize = 10_000;
    let tree = tree(|world| vec![devices(world, "d", COUNT), devices(world, "e", 1)]);
    let all = |d: &Directory| d.count_by_status()[1] == COUNT + 4;
    tree.until("all run", all).await;
    tree.world.born.lock().clear();
    for i in 0..COUNT {
        tree.send(&format!("node/d/d{i:05}"), Order::Panic);
    }
    tree.send("node/e/e00000", Order::Panic);
    tree.until("all are back", |_| tree.world.born.lock().len() == COUNT + 1).await;
    tree.until("all run again", all).await;
    assert!(tree.directory.list().iter().all(|actor| actor.incarnation <= 2), "each came back once");
    tree.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wake_up_that_comes_while_an_actor_is_being_born_is_not_lost() {
    let (open, gate) = watch::channel(false);
    let tree = tree(|world| {
        *world.gate.lock() = Some(gate);
        vec![devices(world, "d", 1)]
    });
    let handle = tree.directory.handle(&Tree::path("node/d/d00000"));
    let status =
        |wanted| move |directory: &Directory| directory.status(&Tree::path("node/d/d00000")) == Some(wanted);
    tree.until("it is being born", status(ActorStatus::Starting)).await;
    // It has its gate, so it has its mailbox.
    tree.until("it can be woken", |_| open.receiver_count() > 1).await;
    handle.wake(Order::Count);
    open.send(true).unwrap();
    tree.until("it runs", status(ActorStatus::Running)).await;
    tree.until("it woke", |_| tree.world.counted.load(Ordering::Relaxed) == 1).await;
    tree.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn starts_that_hang_take_nothing_from_other_supervisors() {
    let tree = tree(|world| {
        world.hang_starts.store(500, Ordering::Relaxed);
        let slow = (0..500).map(|i| {
            worker(world, &format!("s{i}"), RestartPolicy::DEVICE).with_start_limit(Duration::from_secs(300))
        });
        let slow = ChildSpec::supervisor("slow", RestartPolicy::GROUP, Children::new(slow)).in_parallel();
        vec![slow, devices(world, "d", 0)]
    });
    tree.until("the slow ones hang", |_| tree.world.hang_starts.load(Ordering::Relaxed) <= 436).await;
    tree.world.hang_starts.store(0, Ordering::Relaxed);
    tree.runs("node/d", 1).await;
    tree.directory.kill("node/d", "test").unwrap();
    tree.runs("node/d", 2).await;
    assert_eq!(tree.directory.status(&Tree::path("node/slow/s499")), Some(ActorStatus::Starting));
    drop(tree);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_parks_an_actor_and_it_stays_parked_whatever_happens_to_its_supervisor() {
    let tree = tree(|world| vec![devices(world, "d", 2)]);
    tree.runs("node/d/d00001", 1).await;
    let view = tree.directory.park("node/d/d00000", "operator", "its fan is being replaced").unwrap();
    assert_eq!(view.path.name(), "d00000");
    let parked = |_: &Directory| {
        tree.view("node/d/d00000").is_some_and(|a| a.status == ActorStatus::Parked && a.next_try_ms.is_none())
    };
    tree.until("parked", parked).await;
    let reason =
        ExitReason::Parked { by: "operator".to_owned(), reason: "its fan is being replaced".to_owned() };
    // The status changes a moment before the event is told.
    tree.until("told", |_| tree.reasons("node/d/d00000", EventKind::Parked) == [reason.clone()]).await;
    let again = tree.directory.park("node/d/d00000", "another", "");
    assert!(matches!(again, Err(ParkError::AlreadyParked { .. })), "{again:?}");
    tree.directory.kill("node/d", "test").unwrap();
    tree.runs("node/d/d00001", 2).await;
    tree.until("still parked", parked).await;
    tree.directory.resume("node/d/d00000").unwrap();
    tree.runs("node/d/d00000", 2).await;
    let running = tree.directory.resume("node/d/d00000");
    assert!(matches!(running, Err(ParkError::NotParked { .. })), "{running:?}");
    assert!(matches!(tree.directory.park("node", "operator", ""), Err(ParkError::Root(_))));
    // An order that comes while the supervisor is being restarted is not lost.
    tree.directory.kill("node/d", "test").unwrap();
    tree.directory.park("node/d/d00000", "operator", "once more").unwrap();
    tree.until("parked in a restart", parked).await;
    tree.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_that_counts_is_a_failure_like_any_other() {
    let policy = RestartPolicy { max_restarts: 1, ..RestartPolicy::DEVICE };
    let tree = tree(|world| vec![worker(world, "a", policy)]);
    tree.runs("node/a", 1).await;
    tree.directory.kill_counted("node/a", "plan").unwrap();
    tree.runs("node/a", 2).await;
    tree.directory.kill_counted("node/a", "plan").unwrap();
    tree.until("parked with a next try", |_| {
        tree.view("node/a").is_some_and(|a| a.status == ActorStatus::Parked && a.next_try_ms.is_some())
    })
    .await;
    assert_eq!(
        tree.reasons("node/a", EventKind::Failed),
        [ExitReason::Killed { by: "plan".to_owned() }],
        "the second one is told as parked"
    );
    tree.directory.resume("node/a").unwrap();
    tree.runs("node/a", 3).await;
    tree.shut_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_goes_down_with_whom_it_needs_and_comes_back_in_order() {
    let tree = tree(|world| {
        let children = ["a", "b", "c"].map(|name| worker(world, name, RestartPolicy::SERVICE));
        let group = ChildSpec::supervisor("g", RestartPolicy::GROUP, Children::new(children));
        vec![group.with_strategy(Strategy::RestForOne)]
    });
    tree.runs("node/g/c", 1).await;
    tree.world.born.lock().clear();
    tree.send("node/g/b", Order::Panic);
    tree.runs("node/g/c", 2).await;
    let born: Vec<_> = tree.world.born.lock().iter().map(|path| path.name().to_owned()).collect();
    assert_eq!(born, ["b", "c"]);
    assert_eq!(tree.view("node/g/a").unwrap().incarnation, 1);
    assert_eq!(tree.reasons("node/g/c", EventKind::Stopped), [ExitReason::Stopped]);
    tree.shut_down().await;
}
