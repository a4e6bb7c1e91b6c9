//! `voltree chaos`: a plan of faults against a fleet that it starts itself, and the score.
//!
//! The node is the one that `voltree run` runs, with simulated packs on real ptys and publishers on real sockets. The
//! score holds the node's ledger against what packs and publishers counted themselves; the command fails if the two
//! can't be brought together, or if an actor did not come back.

mod fleet;
mod plans;
mod publisher;
mod report;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::Instant;
use voltree_actors::fleet::Kill;
use voltree_actors::registry::AdmissionRules;
use voltree_model::DeviceId;
use voltree_runtime::faults::plan::Deed;
use voltree_runtime::{ActorStatus, clock};

use self::fleet::{Packs, Publishers};
use self::plans::ChaosPlan;
use self::report::{Memory, Report, Row, Spread};
use self::watch::Seen;
use crate::account::Account;
use crate::cli::say;
use crate::config::Config;
use crate::environment::Environment;
use crate::node::{Node, Reach};

/// How long the fleet may take to come up, to settle and to come to rest.
const BOUND: Duration = Duration::from_secs(90);
/// How long faults may go on striking while the node comes to rest.
const LINGER: Duration = Duration::from_secs(15);
/// How often a run tells how far it is.
const PROGRESS: Duration = Duration::from_secs(2);
/// How often a condition is looked at: often enough to silence a pack before it is asked again.
const LOOK: Duration = Duration::from_millis(2);

/// What a chaos run can be told.
#[derive(Debug, Args)]
pub(crate) struct ChaosOptions {
    /// A plan file (TOML), or the name of one that comes with Voltree: kill-storm, flapping-link, poison-frame,
    /// slow-disk, frozen-actor, aggregator-loss, thousand-devices.
    plan: String,
    /// Where the score goes: this name with .json and .md [default: chaos-NAME].
    #[arg(long, value_name = "PATH")]
    report: Option<PathBuf>,
    /// Let the plan's dice fall in another way.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Stop striking after so many seconds instead of the plan's own time.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seconds: Option<u32>,
    /// Keep the node's data here instead of throwing it away.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What the node's log may say, on stderr.
    #[arg(long, value_name = "LEVEL", default_value = "off")]
    log: String,
}

/// Runs a plan and scores it.
pub(crate) fn run(options: ChaosOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("starting the async runtime")?;
    runtime.block_on(live(options))
}

async fn live(options: ChaosOptions) -> anyhow::Result<()> {
    let mut plan = plans::load(&options.plan)?;
    plan.plan.seed = options.seed.unwrap_or(plan.plan.seed);
    if let Some(seconds) = options.seconds {
        plan.plan.duration = Duration::from_secs(seconds.into());
    }
    let scratch = tempfile::tempdir().context("making a directory for the node's data")?;
    let environment = Environment::of_process();
    let packs = Packs::start(&plan.fleet)?;
    let any_port = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config {
        node_id: "chaos".to_owned(),
        data_dir: options.data.unwrap_or_else(|| scratch.path().join("data")),
        http_listen: any_port,
        mqtt_listen: any_port,
        // The publishers send again after every blow what was not acknowledged.
        mqtt_rate: None,
        log_level: options.log,
        packs: packs.configs.clone(),
        admission: AdmissionRules::default(),
        ..Config::from_environment(&environment)?
    };
    let node = Node::prepare(config, &environment)?;
    say(&format!("{}: {}", plan.plan.name, plan.plan.about));
    let publishers = Publishers::start(&plan.fleet, node.mqtt())?;
    let run = Run { reach: node.reach(), packs, publishers, plan, seen: Arc::default() };
    let (stop, stopped) = oneshot::channel::<()>();
    let driven = async {
        let report = run.drive().await;
        // A node that has ended already needs no order to stop.
        stop.send(()).ok();
        report
    };
    let stopped = async {
        stopped.await.ok();
    };
    let (ran, report) = tokio::join!(node.run(stopped), driven);
    let report = report?;
    write(&report, options.report)?;
    ran?;
    verdict(&report)
}

fn write(report: &Report, to: Option<PathBuf>) -> anyhow::Result<()> {
    let base = to.unwrap_or_else(|| PathBuf::from(format!("chaos-{}", report.plan)));
    let page = report.markdown();
    for (extension, text) in [("json", serde_json::to_string_pretty(report)?), ("md", page.clone())] {
        let file = base.with_extension(extension);
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    say(&format!("\n{page}\nThe score is in {0}.json and {0}.md.", base.display()));
    Ok(())
}

fn verdict(report: &Report) -> anyhow::Result<()> {
    if !report.balances() {
        bail!("the ledger does not balance: {} reading(s) can't be accounted for", report.ledger_difference);
    }
    if !report.still_down.is_empty() {
        bail!("{} did not come back", report.still_down.join(", "));
    }
    Ok(())
}

struct Run {
    reach: Reach,
    packs: Packs,
    publishers: Publishers,
    plan: ChaosPlan,
    seen: Arc<Mutex<Seen>>,
}

impl Run {
    async fn drive(mut self) -> anyhow::Result<Report> {
        let mut watchers = JoinSet::new();
        let fleet = &self.reach.fleet;
        watchers.spawn(watch::events(self.reach.events.clone(), Arc::clone(&self.seen)));
        let probes = Arc::clone(&self.publishers.probes);
        watchers.spawn(watch::alerts(fleet.alerts.subscribe(), probes, Arc::clone(&self.seen)));
        self.wait("the fleet is up", BOUND, Self::is_up).await?;
        *self.seen.lock() = Seen::default();
        let before_kib = memory("VmRSS");
        let begun = clock::monotonic();
        let kills = self.carry_out(begun).await;
        let seconds = begun.elapsed().as_secs_f64();
        self.come_to_rest().await;
        let rss = Memory { before_kib, after_kib: memory("VmRSS"), peak_kib: memory("VmHWM") };
        Ok(self.score(kills, seconds, rss))
    }

    /// Everyone got a reading through.
    fn is_up(&self) -> bool {
        let ready = self.reach.fleet.health.checks().iter().all(|check| check.ok);
        let polled = self.packs.lines.iter().all(|(_, line)| line.stats().cycles_completed() > 0);
        let heard = self.publishers.books.iter().all(|(_, books)| books.lock().acknowledged > 0);
        ready && polled && heard
    }

    /// Does what the plan says when it says so; answers how many were killed.
    async fn carry_out(&self, begun: Instant) -> u64 {
        let plan = &self.plan.plan;
        self.reach.faults.reseed(plan.seed);
        let mut dice = fastrand::Rng::with_seed(plan.seed);
        let mut kills = 0;
        let mut told = begun;
        for (at, deed) in plan.schedule().into_iter().chain([(plan.duration, Deed::Nothing)]) {
            self.until(begun + at, &mut told, begun, kills).await;
            match deed {
                Deed::Kill(pattern) => kills += u64::from(self.kill(&pattern, &mut dice)),
                Deed::Inject(fault) => {
                    if let Err(error) = self.reach.faults.inject(fault) {
                        say(&format!("  not injected: {error}"));
                    }
                }
                Deed::Nothing => {}
            }
        }
        kills
    }

    async fn until(&self, due: Instant, told: &mut Instant, begun: Instant, kills: u64) {
        while clock::monotonic() < due {
            let next = due.min(*told + PROGRESS);
            tokio::time::timeout_at(next, std::future::pending::<()>()).await.ok();
            if clock::monotonic() >= *told + PROGRESS {
                *told = clock::monotonic();
                self.tell(begun, kills);
            }
        }
    }

    fn tell(&self, begun: Instant, kills: u64) {
        let struck: u64 = self.reach.faults.trips().values().sum();
        let acknowledged: u64 =
            self.publishers.books.iter().map(|(_, books)| books.lock().acknowledged).sum();
        let polled: u64 = self.packs.lines.iter().map(|(_, line)| line.stats().cycles_completed()).sum();
        let seen = self.seen.lock();
        say(&format!(
            "  {:>5.1} s of {:.0}: {kills} kills, {struck} faults, {} restarts, {} down; {acknowledged} readings \
             acknowledged, {polled} polls answered",
            begun.elapsed().as_secs_f64(),
            self.plan.plan.duration.as_secs_f64(),
            seen.restarts,
            seen.down.len(),
        ));
    }

    /// Kills one of the running actors that the pattern names.
    fn kill(&self, pattern: &str, dice: &mut fastrand::Rng) -> bool {
        let matches = |path: &str| match pattern.strip_suffix('*') {
            Some(beginning) => path.starts_with(beginning),
            None => path == pattern,
        };
        let running = |actor: &voltree_runtime::ActorView| actor.status == ActorStatus::Running;
        let tree = self.reach.fleet.supervision.tree();
        let victims: Vec<_> =
            tree.iter().filter(|actor| running(actor) && matches(actor.path.as_str())).collect();
        let victim = dice.choice(&victims);
        let by = format!("plan {}", self.plan.plan.name);
        // One that ended by itself in this very moment is not killed.
        victim.is_some_and(|victim| {
            let kill = |path| self.reach.fleet.supervision.kill(path, &by, Kill::Uncounted);
            kill(victim.path.as_str()).is_ok()
        })
    }

    /// Lets everything under way arrive and the ledger settle. Faults that are left may strike on for a while: what
    /// happens only at rest, such as sealing, is to be struck too.
    async fn come_to_rest(&mut self) {
        if !self.publishers.settle(LINGER).await {
            self.reach.faults.clear();
            if !self.publishers.settle(BOUND).await {
                say("  not everything that was published was acknowledged in time");
            }
        }
        self.hush().await;
        let at_rest = |run: &Self| {
            run.reach.fleet.ledgers.all().iter().all(|row| row.ledger.pending == 0)
                && run.seen.lock().down.is_empty()
        };
        if self.wait("it is at rest under fire", LINGER, at_rest).await.is_err() {
            self.reach.faults.clear();
        }
        // What does not come to rest is told by the score.
        if self.wait("the node is at rest", BOUND, at_rest).await.is_err() {
            say("  the node did not come to rest in time");
        }
    }

    /// Silences each pack right after it has answered a whole poll: one that falls silent in the middle of its answers
    /// may have said enough for a reading, and would not count it.
    async fn hush(&self) {
        let lines = self.packs.lines.iter().map(|(_, line)| (line, line.stats().cycles_completed()));
        let loud = Mutex::new(lines.collect::<Vec<_>>());
        let all_silent = |_: &Self| {
            let mut loud = loud.lock();
            loud.retain(|(line, before)| {
                let answered = line.stats().cycles_completed() > *before;
                if answered {
                    line.pause();
                }
                !answered
            });
            loud.is_empty()
        };
        if self.wait("every pack has answered", BOUND, all_silent).await.is_err() {
            say(&format!("  {} pack(s) are not polled any more", loud.lock().len()));
            loud.lock().iter().for_each(|(line, _)| line.pause());
        }
    }

    async fn wait(&self, what: &str, bound: Duration, holds: impl Fn(&Self) -> bool) -> anyhow::Result<()> {
        let begun = clock::monotonic();
        while !holds(self) {
            if begun.elapsed() > bound {
                bail!("after {} s still not: {what}", bound.as_secs());
            }
            tokio::time::timeout(LOOK, std::future::pending::<()>()).await.ok();
        }
        Ok(())
    }

    fn score(&self, kills: u64, seconds: f64, rss: Memory) -> Report {
        let seen = self.seen.lock().clone();
        let packs =
            self.packs.lines.iter().map(|(id, line)| self.pack_row(id, line.stats().cycles_completed()));
        let publishers = self.publishers.books.iter().map(|(id, books)| {
            let books = books.lock();
            let row = Row { witnessed: books.readings, offered: books.sent, ..Row::default() };
            self.row(id, row)
        });
        let ledger: Vec<_> = packs.chain(publishers).collect();
        let reconnects: Vec<_> =
            self.publishers.books.iter().flat_map(|(_, books)| books.lock().reconnects.clone()).collect();
        let trips = self.reach.faults.trips().into_iter();
        let plan = &self.plan.plan;
        Report {
            plan: plan.name.clone(),
            about: plan.about.clone(),
            seed: plan.seed,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            seconds,
            kills,
            faults: trips.map(|((point, kind), n)| (format!("{point} {}", kind.as_str()), n)).collect(),
            failures: seen.failures,
            restarts: seen.restarts,
            parked: seen.parked,
            still_down: seen.down.keys().map(ToString::to_string).collect(),
            recovery: Spread::of(&seen.recoveries),
            reconnection: Spread::of(&reconnects),
            alert_delay: Spread::of(&seen.alert_delays),
            alerts_missing: self.publishers.probes.lock().len(),
            dead_letters: self.reach.fleet.dead_letters.letters().len(),
            events_missed: seen.missed,
            rss,
            ledger_difference: ledger.iter().map(Row::difference).sum(),
            ledger,
        }
    }

    /// A pack counts an answer when its last byte has left. A poll that was cut short after that, by an end of its actor
    /// or by a fault on its line, may have lost it on the wire.
    fn pack_row(&self, id: &DeviceId, cycles: u64) -> Row {
        let tree = self.reach.fleet.supervision.tree();
        let ends =
            tree.iter().find(|actor| actor.path.name() == id.as_str()).map_or(0, |actor| actor.restarts);
        let interrupted = ends + self.reach.faults.strikes_on(id.as_str());
        self.row(id, Row { witnessed: cycles, interrupted, offered: cycles, ..Row::default() })
    }

    fn row(&self, id: &DeviceId, row: Row) -> Row {
        let ledger = self.reach.fleet.ledgers.of(id).map(|row| row.ledger).unwrap_or_default();
        Row {
            device: id.to_string(),
            received: ledger.received(),
            stored: ledger.stored,
            duplicate: ledger.duplicate,
            rejected: ledger.rejected_total(),
            dead_lettered: ledger.dead_lettered,
            pending: ledger.pending,
            ..row
        }
    }
}

/// A line of this process's account of its memory, in KiB; 0 where the system keeps none.
fn memory(line: &str) -> u64 {
    Account::Own.memory_kib(line).unwrap_or_default()
}
