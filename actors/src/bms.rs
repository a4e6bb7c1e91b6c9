//! The actor of a battery: asks its BMS over its link, and takes what it says to the journal.
//!
//! Owns: the poll's state machine; the open link is its line's. Receives: ticks to poll, wake-ups. Lost on restart: a poll
//! under way. A battery that does not answer is offline, which is a state and no fault; only
//! what should not happen ends the actor. Supervised by: devices; parked when it fails too often.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::time::{Instant, timeout};
use voltree_model::{Amps, PackReading, RejectReason};
use voltree_protocols::bms::Driver;
use voltree_protocols::bms::order::Order;
use voltree_protocols::codec::PollCycle;
use voltree_protocols::flight::{End, Pen, Recorded};
use voltree_protocols::link::{CycleError, LinkError, OrderFailure, run_cycle, run_order};
use voltree_runtime::{ChildSpec, Failure, Fence, RestartPolicy, clock};
use voltree_storage::JournalSlot;

use crate::device::{self, DeviceMsg};
use crate::faulty::FaultyLink;
use crate::intake;
use crate::line::{Impatient, Line, Turn};
use crate::link_quality::LinkQuality;
use crate::metrics;
use crate::orders::{Pending, Unconfirmed};
use crate::registry::{DeviceEntry, LinkState};

/// How many polls in a row must fail before the battery counts as offline.
const FAILURES_TO_OFFLINE: u32 = 3;
/// The longest wait between tries to reach a battery that does not answer.
const SLOWEST: Duration = Duration::from_secs(30);

/// How many readings may wait for the journal; past that the battery is not asked. At one a second, two minutes of a full
/// disk leave no gap, and a thousand packs take what a node can spare.
const MOST_WAITING: usize = 128;

/// How long what is in the intake may wait while the board waits for its turn.
const WAITING_INTAKE: Duration = Duration::from_millis(100);

/// The longest wait between looks for a port that is gone.
const SLOWEST_LOOK: Duration = Duration::from_secs(3);

/// How a battery is reached and asked.
#[derive(Debug, Clone)]
pub struct BmsSettings {
    /// The wire that it is on.
    pub line: Arc<Line>,
    /// How often to ask.
    pub poll_interval: Duration,
    /// How to talk to the board.
    pub driver: Driver,
    /// Whether it takes orders.
    pub allow_write: bool,
    /// Whether the current of its readings is turned around.
    pub invert_current: bool,
}

/// How long a battery with this poll interval may be silent before it counts as offline.
pub fn offline_after(poll_interval: Duration) -> Duration {
    (poll_interval * 5).max(Duration::from_secs(15))
}

/// How the devices supervisor gives birth to it.
pub fn child(entry: Arc<DeviceEntry>, journal: Arc<JournalSlot>, settings: BmsSettings) -> ChildSpec {
    let name = entry.id.to_string();
    let kind = settings.driver.kind();
    let (line, board) = (Arc::clone(&settings.line), entry.id.clone());
    let args = BmsArgs { entry, journal, settings };
    ChildSpec::worker(name, kind, RestartPolicy::DEVICE, move |birth| {
        (Bms, (args.clone(), birth.incarnation, birth.fence))
    })
    .when_out_of_service(move || line.leave(&board))
}

/// Everything the actor needs in order to be born again.
#[derive(Debug, Clone)]
pub struct BmsArgs {
    entry: Arc<DeviceEntry>,
    journal: Arc<JournalSlot>,
    settings: BmsSettings,
}

/// The actor.
#[derive(Debug)]
pub struct Bms;

/// What it knows.
pub struct BmsState {
    args: BmsArgs,
    fence: Fence,
    poll: Box<dyn PollCycle + Send>,
    pen: Pen,
    failures: u32,
    /// The last poll failed for want of a wire.
    link_failed: bool,
    bad_frames: u64,
}

impl fmt::Debug for BmsState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { args, failures, .. } = self;
        f.debug_struct("BmsState").field("args", args).field("failures", failures).finish()
    }
}

impl Actor for Bms {
    type Msg = DeviceMsg;
    type State = BmsState;
    type Arguments = (BmsArgs, u64, Fence);

    async fn pre_start(
        &self,
        myself: ActorRef<DeviceMsg>,
        (args, incarnation, fence): (BmsArgs, u64, Fence),
    ) -> Result<BmsState, ActorProcessingErr> {
        let poll = args.settings.driver.poll();
        myself.send_message(DeviceMsg::Wake)?;
        myself.send_message(DeviceMsg::Poll)?;
        args.entry.orders.allow(args.settings.allow_write);
        args.settings.line.enter(&args.entry.id);
        let pen = args.entry.flight.pen(&args.settings.driver, incarnation);
        Ok(BmsState { args, fence, poll, pen, failures: 0, link_failed: false, bad_frames: 0 })
    }

    async fn handle(
        &self,
        myself: ActorRef<DeviceMsg>,
        message: DeviceMsg,
        state: &mut BmsState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            DeviceMsg::Wake => {
                state.obey(&myself).await;
                state.hand_over(&myself).await;
            }
            DeviceMsg::Poll => {
                let begun = clock::monotonic();
                if state.args.entry.intake.depth() < MOST_WAITING {
                    state.poll_once(&myself).await;
                }
                state.hand_over(&myself).await;
                myself.send_after(state.next_poll_in(begun), || DeviceMsg::Poll);
            }
        }
        Ok(())
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<DeviceMsg>,
        state: &mut BmsState,
    ) -> Result<(), ActorProcessingErr> {
        let BmsArgs { entry, journal, .. } = &state.args;
        device::hand_over_the_last(&state.fence, entry, journal).await;
        Ok(())
    }
}

fn unreachable(error: &LinkError) -> Unconfirmed {
    Unconfirmed::Unreachable(Failure::new(error).to_string())
}

impl BmsState {
    // By exclusive reference, because a conversation under way can't be shared between threads.
    async fn hand_over(&mut self, myself: &ActorRef<DeviceMsg>) {
        device::hand_over(myself, &self.fence, &self.args.entry, &self.args.journal).await;
    }

    /// Waits for this board's turn on its wire; what is in the intake is not made to wait with it.
    async fn turn<'a>(
        &mut self,
        line: &'a Line,
        myself: &ActorRef<DeviceMsg>,
    ) -> Result<Turn<'a>, LinkError> {
        let mut turn = std::pin::pin!(line.turn());
        loop {
            match timeout(WAITING_INTAKE, &mut turn).await {
                Ok(turn) => return turn,
                Err(_) if self.args.entry.intake.depth() > 0 => self.hand_over(myself).await,
                Err(_) => {}
            }
        }
    }

    async fn poll_once(&mut self, myself: &ActorRef<DeviceMsg>) {
        match self.ask(myself).await {
            Ok(pack) => self.answered(pack).await,
            Err(error) => self.failed(&error),
        }
        let bad_frames = self.poll.bad_frames();
        metrics::bad_frames(bad_frames - self.bad_frames);
        self.args.entry.link_quality(|quality| quality.add_bad_frames(bad_frames - self.bad_frames));
        self.bad_frames = bad_frames;
    }

    /// Polls once in this board's turn on its wire.
    async fn ask(&mut self, myself: &ActorRef<DeviceMsg>) -> Result<PackReading, CycleError> {
        let line = Arc::clone(&self.args.settings.line);
        let mut turn = self.turn(&line, myself).await?;
        // Whoever gave an order waits for it, and the turn is the board's.
        self.carry_out(&mut turn).await;
        let BmsArgs { entry, settings, .. } = &self.args;
        let link = turn.link().await?;
        let faulty = FaultyLink::new(link, entry.faults.clone(), entry.id.clone(), self.pen.clone());
        let begun = clock::monotonic();
        // A board that was silent last time is heard out only if it says something, where others wait.
        let suspect = self.failures > 0 && settings.line.is_shared();
        let until = suspect.then(|| begun + settings.driver.first_sign());
        let mut recorded = Recorded::new(&mut *self.poll, &self.pen, entry.now());
        let polled = run_cycle(&mut Impatient::new(faulty, until), &mut recorded).await;
        // A board that is silent keeps its port; a port that failed is opened anew.
        match &polled {
            Ok(_) => {
                turn.answered();
                metrics::poll_took(begun.elapsed());
                entry.link_quality(|quality| quality.answered(begun.elapsed()));
            }
            Err(CycleError::Link(LinkError::TurnOver { .. })) => {
                self.pen.end(End::Failed("its turn on the line was over".to_owned()));
            }
            Err(CycleError::Link(error)) => {
                self.pen.end(End::LinkFailed(Failure::new(error).to_string()));
                turn.close();
            }
            Err(CycleError::Poll(_)) if self.failures >= FAILURES_TO_OFFLINE => turn.close_if_dead(),
            Err(CycleError::Poll(_)) => {}
        }
        polled
    }

    /// Carries out the order that waits, if there is one.
    async fn obey(&mut self, myself: &ActorRef<DeviceMsg>) {
        if !self.args.entry.orders.is_one_waiting() {
            return;
        }
        let line = Arc::clone(&self.args.settings.line);
        match self.turn(&line, myself).await {
            Ok(mut turn) => self.carry_out(&mut turn).await,
            Err(error) => {
                let Some(Pending { reply, .. }) = self.args.entry.orders.take() else { return };
                self.args.entry.orders.done();
                // Whoever gave it may have gone.
                drop(reply.send(Err(unreachable(&error))));
            }
        }
    }

    /// Carries out the order that waits, once, and answers it.
    async fn carry_out(&mut self, turn: &mut Turn<'_>) {
        if !self.fence.is_current() {
            return;
        }
        let entry = Arc::clone(&self.args.entry);
        let Some(Pending { order, reply }) = entry.orders.take() else { return };
        let outcome = self.send(order, turn).await;
        entry.orders.done();
        match &outcome {
            Ok(()) => tracing::info!(event = "device.order", device = %entry.id, ?order, "confirmed"),
            Err(why) => {
                tracing::warn!(event = "device.order", device = %entry.id, ?order, %why, "not confirmed")
            }
        }
        // Whoever gave it may have gone.
        drop(reply.send(outcome));
    }

    async fn send(&mut self, order: Order, turn: &mut Turn<'_>) -> Result<(), Unconfirmed> {
        let BmsArgs { entry, settings, .. } = &self.args;
        let cycle = settings.driver.order(order, &self.poll.memory(), entry.now());
        let mut cycle = cycle.ok_or(Unconfirmed::NotKnown)?;
        let link = turn.link().await.map_err(|error| unreachable(&error))?;
        let mut link = FaultyLink::new(link, entry.faults.clone(), entry.id.clone(), self.pen.clone());
        match run_order(&mut link, &mut *cycle).await {
            Ok(()) => Ok(()),
            Err(OrderFailure::Device(error)) => Err(error.into()),
            Err(OrderFailure::NotSent(error)) => {
                turn.close();
                Err(unreachable(&error))
            }
        }
    }

    /// From here on the reading is received: it is in the intake before anything can interrupt it.
    async fn answered(&mut self, mut pack: PackReading) {
        if self.args.settings.invert_current {
            pack.pack_current = pack.pack_current.map(|amps| Amps(-amps.0));
        }
        // Another incarnation polls by now; this one was stuck, and its answer is of no known time.
        if !self.fence.is_current() {
            return;
        }
        metrics::poll("answered");
        self.failures = 0;
        let entry = &self.args.entry;
        let now = entry.now();
        entry.set_link(LinkState::Up, "it answers");
        let inbound = entry.inbound(pack.into_reading(entry.id.clone(), now), now);
        // This actor commits by itself. Its inbox is open, as it is closed only while nobody polls.
        if let Err(refused) = entry.intake.accept_unreceipted(inbound).await {
            let reason = RejectReason::Parked;
            drop(intake::reject(&self.args.journal, &entry.id, reason, refused.to_string(), now));
        }
        entry.heard(now);
    }

    fn failed(&mut self, error: &CycleError) {
        let why = Failure::new(error).to_string();
        metrics::poll("failed");
        self.args.entry.link_quality(LinkQuality::failed);
        self.link_failed =
            matches!(error, CycleError::Link(LinkError::NotFound { .. } | LinkError::HangUp { .. }));
        self.failures = self.failures.saturating_add(1);
        tracing::debug!(device = %self.args.entry.id, why, failures = self.failures, "a poll failed");
        if self.failures == FAILURES_TO_OFFLINE {
            self.args.entry.set_link(LinkState::Down, &why);
        }
    }

    /// On time while the battery answers, ever more slowly while it does not.
    fn next_poll_in(&self, begun: Instant) -> Duration {
        let interval = self.args.settings.poll_interval;
        let slower = self.failures.saturating_sub(FAILURES_TO_OFFLINE).min(8);
        // To look for a port that was unplugged costs nothing, and whoever plugs it in waits for it.
        let slowest = if self.link_failed { SLOWEST_LOOK } else { SLOWEST };
        let interval = (interval * 2_u32.pow(slower)).min(slowest.max(interval));
        interval.saturating_sub(begun.elapsed())
    }
}
