//! Our side of the comparison: one workload in one process of its own, with two scheduler threads, the node's own
//! supervision, events, counters and log lines.
//!
//! Workers are what the Erlang ones are: a state of a count and a sum, telemetry of eight values, a question, and an
//! order to crash. Telemetry comes through an inbox that belongs to the node, as it does for devices.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::time::Instant;
use voltree_runtime::{
    ActorPath, Birth, ChildSpec, Children, Directory, Fence, Handle, Inbox, Lane, RestartPolicy, clock,
    run_tree,
};

use super::Test;
use crate::account::Account;

/// How many messages may wait for one worker.
const INBOX: usize = 1_024;
/// How many are handled before they are settled.
const BATCH: usize = 256;
/// How long a workload may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(300);

/// One figure of one run.
pub(super) type Figure = (&'static str, f64);

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    /// Workers in the tree.
    pub(super) workers: usize,
    /// Messages, questions or crashes in total.
    pub(super) work: usize,
}

type Telemetry = [f64; 8];

#[derive(Debug)]
enum Msg {
    Wake,
    Ask(oneshot::Sender<u64>),
    Die,
}

/// What outlives the workers.
#[derive(Debug)]
struct Board {
    begun: Instant,
    born: AtomicUsize,
    reborn: AtomicUsize,
    doors: Vec<Door>,
}

#[derive(Debug)]
struct Door {
    inbox: Inbox<Telemetry>,
    handle: Handle<Msg>,
    /// When it was told to crash, and how long it took until it was born again; in nanoseconds, 0 for never.
    told_ns: AtomicU64,
    took_ns: AtomicU64,
}

struct Worker;

struct WorkerState {
    board: Arc<Board>,
    index: usize,
    fence: Fence,
    count: u64,
    sum: f64,
}

impl Board {
    fn now_ns(&self) -> u64 {
        u64::try_from(clock::monotonic().duration_since(self.begun).as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Actor for Worker {
    type Msg = Msg;
    type State = WorkerState;
    type Arguments = (Arc<Board>, usize, Fence);

    async fn pre_start(
        &self,
        _: ActorRef<Msg>,
        (board, index, fence): Self::Arguments,
    ) -> Result<WorkerState, ActorProcessingErr> {
        let door = &board.doors[index];
        match door.told_ns.load(Ordering::Relaxed) {
            0 => board.born.fetch_add(1, Ordering::Relaxed),
            told => {
                door.took_ns.store(board.now_ns().saturating_sub(told).max(1), Ordering::Relaxed);
                board.reborn.fetch_add(1, Ordering::Relaxed)
            }
        };
        Ok(WorkerState { board, index, fence, count: 0, sum: 0.0 })
    }

    #[expect(clippy::panic, reason = "a crash is what is measured")]
    async fn handle(
        &self,
        _: ActorRef<Msg>,
        message: Msg,
        state: &mut WorkerState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Wake => state.take_in(),
            Msg::Ask(reply) => {
                state.take_in();
                // Whoever asked may be gone.
                reply.send(state.count).ok();
            }
            Msg::Die => panic!("die"),
        }
        Ok(())
    }
}

impl WorkerState {
    fn take_in(&mut self) {
        self.fence.heard();
        let inbox = &self.board.doors[self.index].inbox;
        loop {
            let batch = inbox.front(BATCH);
            let Some(last) = batch.last() else { return };
            for waiting in &batch {
                self.count += 1;
                self.sum += waiting.content.iter().sum::<f64>();
            }
            inbox.settle(last.number);
        }
    }
}

impl Door {
    async fn tell(&self, telemetry: Telemetry) {
        drop(self.inbox.accept_unreceipted(telemetry).await);
        self.handle.wake(Msg::Wake);
    }

    async fn ask(&self) -> anyhow::Result<u64> {
        let (reply, answer) = oneshot::channel();
        self.handle.send(Msg::Ask(reply))?;
        Ok(answer.await?)
    }
}

/// The workers' supervisor in a tree that runs.
struct Fleet {
    board: Arc<Board>,
    directory: Directory,
    children: Children,
    path: ActorPath,
}

/// Runs one workload on two scheduler threads and says what it came to.
pub(super) fn run(test: Test, size: Size) -> anyhow::Result<Vec<Figure>> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the async runtime")?;
    let work = runtime.spawn(measure(test, size));
    let measured = runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await });
    let measured = measured.with_context(|| format!("{test:?} took longer than {PATIENCE:?}"))??;
    // Taking down a hundred thousand actors is no part of it; the process ends.
    runtime.shutdown_background();
    measured
}

async fn measure(test: Test, size: Size) -> anyhow::Result<Vec<Figure>> {
    let fleet = Fleet::new(size.workers);
    fleet.up().await?;
    let (rss, cpu, begun) = (rss_bytes()?, Account::Own.cpu_s()?, clock::monotonic());
    fleet.spawn().await?;
    let spawned = begun.elapsed();
    match test {
        Test::Spawn => {
            let cpu = Account::Own.cpu_s()? - cpu;
            pause(Duration::from_millis(300)).await;
            let cold = rss_bytes()? - rss;
            fleet.warm().await?;
            let warm = rss_bytes()? - rss;
            let workers = size.workers as f64;
            Ok(vec![
                ("ms_total", spawned.as_secs_f64() * 1e3),
                ("cpu_s", cpu),
                ("rss_bytes_per_worker", cold / workers),
                ("rss_bytes_per_worker_after_1msg", warm / workers),
            ])
        }
        Test::Many => fleet.one_way(size).await,
        Test::AskMany => fleet.asks(size).await,
        Test::Fault => fleet.crashes(size, Some(Duration::from_millis(1))).await,
        Test::Storm => fleet.crashes(size, None).await,
    }
}

impl Fleet {
    fn new(workers: usize) -> Self {
        let directory = Directory::default();
        let path = ActorPath::root("node").child("devices");
        let door = |index| Door {
            inbox: Inbox::new(Lane::telemetry(INBOX), 0),
            handle: directory.handle(&path.child(&name(index))),
            told_ns: AtomicU64::new(0),
            took_ns: AtomicU64::new(0),
        };
        let board = Arc::new(Board {
            begun: clock::monotonic(),
            born: AtomicUsize::new(0),
            reborn: AtomicUsize::new(0),
            doors: (0..workers).map(door).collect(),
        });
        Self { board, directory, children: Children::default(), path }
    }

    /// The tree without its workers.
    async fn up(&self) -> anyhow::Result<()> {
        let devices = ChildSpec::supervisor("devices", RestartPolicy::GROUP, self.children.clone());
        let tree = Children::new([devices.in_parallel()]);
        let (root, directory) = (ActorPath::root("node"), self.directory.clone());
        #[expect(clippy::disallowed_methods, reason = "the tree runs beside what is measured")]
        drop(tokio::spawn(run_tree(root, directory, tree, std::future::pending())));
        until("the tree is up", || self.directory.count_by_status()[1] == 2).await
    }

    async fn spawn(&self) -> anyhow::Result<()> {
        for index in 0..self.board.doors.len() {
            let board = Arc::clone(&self.board);
            let make = move |birth: Birth| (Worker, (Arc::clone(&board), index, birth.fence));
            let spec = ChildSpec::worker(name(index), "bench", RestartPolicy::DEVICE, make);
            self.children.add(&self.directory, &self.path, spec);
        }
        self.all_run().await
    }

    async fn all_run(&self) -> anyhow::Result<()> {
        let workers = self.board.doors.len();
        until("all are born", || self.board.born.load(Ordering::Relaxed) == workers).await?;
        until("all run", || self.directory.count_by_status()[1] == workers + 2).await
    }

    /// A message through each inbox, and a question to each worker.
    async fn warm(&self) -> anyhow::Result<()> {
        for door in &self.board.doors {
            door.tell(telemetry(1)).await;
        }
        for door in &self.board.doors {
            door.ask().await?;
        }
        Ok(())
    }

    async fn one_way(&self, size: Size) -> anyhow::Result<Vec<Figure>> {
        let each = size.work / size.workers;
        let begun = clock::monotonic();
        self.each(move |board, index| async move {
            let door = &board.doors[index];
            for number in 0..each {
                door.tell(telemetry(number)).await;
            }
            let count = door.ask().await?;
            anyhow::ensure!(count == each as u64, "worker {index} took in {count} of {each}");
            Ok(())
        })
        .await?;
        Ok(vec![("msgs_per_s", size.work as f64 / begun.elapsed().as_secs_f64())])
    }

    async fn asks(&self, size: Size) -> anyhow::Result<Vec<Figure>> {
        let each = size.work / size.workers;
        let begun = clock::monotonic();
        self.each(move |board, index| async move {
            for _ in 0..each {
                board.doors[index].ask().await?;
            }
            Ok(())
        })
        .await?;
        Ok(vec![("asks_per_s", size.work as f64 / begun.elapsed().as_secs_f64())])
    }

    /// Runs a client for each worker, all at once.
    async fn each<F>(&self, client: impl Fn(Arc<Board>, usize) -> F) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let clients = (0..self.board.doors.len()).map(|index| client(Arc::clone(&self.board), index));
        #[expect(clippy::disallowed_methods, reason = "clients are not part of the tree")]
        let clients: Vec<_> = clients.map(tokio::spawn).collect();
        for client in clients {
            client.await??;
        }
        Ok(())
    }

    /// Crashes `size.work` workers, spread over all of them, and waits until they are born again and run.
    async fn crashes(&self, size: Size, pace: Option<Duration>) -> anyhow::Result<Vec<Figure>> {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut victims: Vec<usize> = (0..size.workers).collect();
        rng.shuffle(&mut victims);
        victims.truncate(size.work);
        let begun = clock::monotonic();
        for &index in &victims {
            let door = &self.board.doors[index];
            door.told_ns.store(self.board.now_ns(), Ordering::Relaxed);
            door.handle.send(Msg::Die)?;
            if let Some(pace) = pace {
                pause(pace).await;
            }
        }
        until("all are back", || self.board.reborn.load(Ordering::Relaxed) == victims.len()).await?;
        let total_ms = begun.elapsed().as_secs_f64() * 1e3;
        until("all run again", || self.directory.count_by_status()[1] == size.workers + 2).await?;
        let took = |index: &usize| self.board.doors[*index].took_ns.load(Ordering::Relaxed);
        let mut took: Vec<u64> = victims.iter().map(took).collect();
        took.sort_unstable();
        let percentile = |p: usize| took.get(took.len() * p / 100).map_or(0.0, |ns| *ns as f64 / 1e3);
        Ok(vec![("p50_us", percentile(50)), ("p99_us", percentile(99)), ("total_ms", total_ms)])
    }
}

fn name(index: usize) -> String {
    format!("w{index}")
}

fn telemetry(number: usize) -> Telemetry {
    std::array::from_fn(|offset| (number + offset) as f64)
}

/// Looks every millisecond, like the Erlang side does.
async fn until(what: &str, condition: impl Fn() -> bool) -> anyhow::Result<()> {
    let begun = clock::monotonic();
    while !condition() {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "it never came true that {what}");
        pause(Duration::from_millis(1)).await;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the pace of a workload; no actor waits here")]
async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

fn rss_bytes() -> anyhow::Result<f64> {
    Ok(f64::from(u32::try_from(Account::Own.memory_kib("VmRSS")?)?) * 1_024.0)
}
