//! Random sequences of kills, panics, freezes, cut lines, failing disks and restarts of the node, against packs on ptys
//! and publishers on sockets. After each sequence the node has to agree with what the outside counted, to have kept at
//! most one incarnation of everything alive at a time, to be whole again within a bound, and to have lost no alert.
//!
//! These are plain proptest strategies rather than a state machine of proptest's: every operation is possible at any
//! time, so there is no state of a model to generate from, and a node that is a process of its own is played in one
//! async run per case. `VOLTREE_MODEL_CASES` asks for more cases, `VOLTREE_MODEL_SEED` for others; a failure tells its
//! seed and the shortest sequence found.

mod checks;
mod operations;
mod states;
mod witness;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};
use voltree_protocols::sim::SimHandle;

use self::operations::Step;
use self::witness::{PROBE, Witness, Witnesses};
use crate::support::node::{BOUND, Node, Site, VOLTREE};
use crate::support::{hush, now_ms, pack, until};

const PACKS: usize = 2;
const SENSORS: usize = 3;
/// How often a case that failed is played again, shorter.
const SHRINKS: u32 = 12;

/// A node, its fleet, and what is known of it from outside.
struct Play {
    site: Site,
    /// None only while it is restarted.
    running: Option<Node>,
    /// Since when this process of the node may have told of anything, in UTC milliseconds.
    born_ms: i64,
    packs: Vec<SimHandle>,
    witnesses: Witnesses,
    /// Polls of each pack that may have been cut short after they were answered.
    interrupted: [u64; PACKS],
}

impl Play {
    async fn begin() -> Self {
        let packs: Vec<_> = (0..PACKS).map(|n| pack(n as u64)).collect();
        let site = packs
            .iter()
            .enumerate()
            .fold(Site::new().out_of_reach(), |site, (n, pack)| site.pack(&pack_id(n), pack.path(), 300));
        let born_ms = now_ms();
        let node = site.start().await;
        let witnesses = Witnesses::start(node.mqtt, SENSORS);
        let play = Self { site, running: Some(node), born_ms, packs, witnesses, interrupted: [0; PACKS] };
        play.everyone_goes_on().await;
        play
    }

    async fn restart(&mut self, orderly: bool) {
        let old = self.running.take().unwrap();
        checks::one_incarnation_at_a_time(&old, self.born_ms).await;
        for (n, interrupted) in self.interrupted.iter_mut().enumerate() {
            // Cut short by the end of the process, and by every end before it.
            *interrupted += checks::ends(&old, &device_path(&pack_id(n)), self.born_ms).await + 1;
            // A kill -9 also takes what a pack had said and the journal had not kept: a poll waits for its turn, so that
            // is the one before at most.
            *interrupted += u64::from(!orderly);
        }
        let born_ms = now_ms();
        if orderly {
            assert_eq!(old.stop().await, Some(0), "it stops in order");
        } else {
            old.kill();
        }
        let node = self.site.start().await;
        self.born_ms = born_ms;
        self.witnesses.go_to(node.mqtt);
        self.running = Some(node);
    }

    fn node(&self) -> &Node {
        self.running.as_ref().unwrap()
    }

    /// Ends every fault that is left and waits until the whole fleet works.
    async fn recover(&self) -> Duration {
        let begun = Instant::now();
        until("the faults are cleared", BOUND, || self.node().clear_faults()).await;
        until("every actor runs", BOUND, || async {
            let tree = self.node().try_tree().await?;
            for parked in tree.iter().filter(|actor| actor.status == "parked") {
                self.node().order("resumeActor", &parked.path).await.ok();
            }
            let down: Vec<_> = tree.iter().filter(|actor| actor.status != "running").collect();
            if down.is_empty() { Ok(()) } else { Err(format!("{down:?}")) }
        })
        .await;
        self.everyone_goes_on().await;
        begun.elapsed()
    }

    async fn everyone_goes_on(&self) {
        let progress = || {
            let polled = self.packs.iter().map(|pack| pack.stats().cycles_completed());
            self.witnesses.acknowledged().chain(polled).collect::<Vec<_>>()
        };
        let before = progress();
        until("everyone gets further readings through", BOUND, || async {
            let now = progress();
            let all = now.iter().zip(&before).all(|(now, before)| now > before);
            if all { Ok(()) } else { Err(format!("{before:?} and now {now:?}")) }
        })
        .await;
    }

    async fn end(mut self) {
        let recovery = self.recover().await;
        let witnesses = self.witnesses.stop().await;
        hush(&self.packs).await;
        println!("  recovered after {recovery:?}");
        for witness in &witnesses {
            self.agrees_with(witness).await;
        }
        for n in 0..PACKS {
            self.agrees_with_pack(n).await;
        }
        let probe = witnesses.iter().find(|witness| witness.device == PROBE).unwrap();
        checks::every_alert_was_raised_once(self.node(), probe).await;
        checks::one_incarnation_at_a_time(self.node(), self.born_ms).await;
        assert_eq!(self.running.take().unwrap().stop().await, Some(0));
        recount(&self.site.data());
    }

    async fn agrees_with(&self, witness: &Witness) {
        let device = &witness.device;
        let ledger = self.node().ledger_at_rest(Some(device)).await;
        println!("  {device}: {} readings, {} sent, {ledger:?}", witness.readings, witness.sent);
        let stored: Vec<_> =
            self.node().samples(device, "number").await.into_iter().map(|(_, n)| n as u64).collect();
        assert!(stored.is_sorted_by(|a, b| a < b), "{device}: a sample is there twice, or out of order");
        assert!(
            stored.iter().all(|n| (1..=witness.readings).contains(n)),
            "{device}: stored what was never sent"
        );
        assert_eq!(stored.len() as u64, ledger.stored, "{device}: {ledger:?}");
        let settled = ledger.stored + ledger.rejected + ledger.dead;
        assert!(settled >= witness.readings, "{device}: {} are lost", witness.readings - settled);
        assert!(ledger.received <= witness.sent, "{device}: received more than was sent");
        if ledger.rejected + ledger.dead == 0 {
            assert_eq!(ledger.stored, witness.readings, "{device}");
        }
    }

    async fn agrees_with_pack(&self, n: usize) {
        let id = pack_id(n);
        let cut = self.interrupted[n] + checks::ends(self.node(), &device_path(&id), self.born_ms).await;
        let ledger = self.node().ledger_at_rest(Some(&id)).await;
        let cycles = self.packs[n].stats().cycles_completed();
        println!("  {id}: {cycles} polls answered, {cut} cut short at most, {ledger:?}");
        let settled = ledger.stored + ledger.rejected + ledger.dead;
        assert!(ledger.stored <= cycles && cycles <= settled + cut, "{id}: {cycles}, {cut}, {ledger:?}");
        assert_eq!(self.node().samples(&id, "pack_voltage").await.len() as u64, ledger.stored, "{id}");
    }
}

fn pack_id(n: usize) -> String {
    format!("pack-{n}")
}

fn sensor_id(n: usize) -> String {
    format!("sensor-{n}")
}

fn device_path(id: &str) -> String {
    format!("node/devices/{id}")
}

/// The stored frames themselves say the same as the fold over the journal.
fn recount(data: &Path) {
    let output = Command::new(VOLTREE).args(["ledger", "--data", data.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn play(steps: &[Step]) {
    // One runtime for each case: what a failed one left behind ends with it.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut play = Play::begin().await;
        for step in steps {
            step.operation.carry_out(&mut play).await;
            tokio::time::sleep(Duration::from_millis(step.pause_ms)).await;
        }
        play.end().await;
    });
}

fn asked<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

#[test]
fn whatever_is_done_to_a_node_it_agrees_with_its_witnesses() {
    let seed = asked("VOLTREE_MODEL_SEED").unwrap_or(1);
    let mut runner = TestRunner::new(Config {
        cases: asked("VOLTREE_MODEL_CASES").unwrap_or(4),
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: SHRINKS,
        failure_persistence: None,
        ..Config::default()
    });
    let played = runner.run(&operations::sequences(), |steps| {
        let begun = Instant::now();
        println!("{steps:?}");
        play(&steps);
        println!("  took {:?}", begun.elapsed());
        Ok(())
    });
    match played {
        Ok(()) => {}
        Err(TestError::Fail(reason, steps)) => {
            panic!("VOLTREE_MODEL_SEED={seed}: {reason}\nplayed: {steps:#?}")
        }
        Err(TestError::Abort(reason)) => panic!("VOLTREE_MODEL_SEED={seed}: {reason}"),
    }
}
