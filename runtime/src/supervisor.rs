//! The thin actor around the supervisor's core: it carries out what [`core`] decides and decides nothing itself.
//!
//! Owns: the core's knowledge of its children. Receives: births and ends of children, timers, orders, shutdown. Lost
//! on restart: failure counts. It never waits for a child: starts are the queue's, stops and back-offs are timers and
//! messages.

mod core;
mod starts;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorProcessingErr, ActorRef, SupervisionEvent as Ractor};

pub(crate) use self::core::Key;
use self::core::{Action, Core, Event};
pub(crate) use self::starts::{Nursery, StartJob, StartQueue};
use self::watched::Announced;
pub(crate) use self::watched::{Cradle, Watched};
use crate::child::{Children, Entry, Newborn};
use crate::directory::{Fence, Slot};
use crate::{ActorPath, ActorStatus, Directory, EventKind, ExitReason, Failure, Strategy, clock};

/// What a supervisor is told.
#[derive(Debug)]
pub(crate) enum SupervisorMsg {
    /// Children were added to its list.
    ChildrenAdded,
    /// A child must go for good.
    Remove(Key),
    /// A child could not be started.
    StartFailed { key: Key, generation: u64, reason: ExitReason },
    /// A timer of a child went off.
    Due(Key, u32),
    /// This incarnation of the child of this name is at one thing for too long.
    Frozen(String, u64),
    /// An operator parks the child of this name.
    Park(String),
    /// An operator wants the child of this name to run.
    Resume(String),
    /// Stop all children, last started first, then end.
    ShutDown,
}

/// Everything a supervisor needs in order to be born again.
#[derive(Debug, Clone)]
pub(crate) struct SupervisorArgs {
    /// Its own path.
    pub(crate) path: ActorPath,
    /// The node's directory.
    pub(crate) directory: Directory,
    /// Its children, in start order.
    pub(crate) children: Children,
    /// How they hang together.
    pub(crate) strategy: Strategy,
    /// Whether they start one after the other.
    pub(crate) in_order: bool,
    /// Where its own birth is announced; the root has nobody to tell.
    pub(crate) newborn: Option<Newborn>,
}

/// A supervisor.
#[derive(Debug)]
pub(crate) struct Supervisor;

/// A supervisor's state.
#[derive(Debug)]
pub(crate) struct SupervisorState {
    args: SupervisorArgs,
    core: Core,
    born: tokio::time::Instant,
    nursery: Arc<Nursery>,
    /// Starts that were decided on and are queued together.
    starts: Vec<StartJob>,
    /// The child that was dealt with last; what follows mostly concerns it as well.
    at_hand: Option<(Key, Arc<Entry>)>,
}

impl Actor for Supervisor {
    type Msg = SupervisorMsg;
    type State = SupervisorState;
    type Arguments = SupervisorArgs;

    async fn pre_start(
        &self,
        myself: ActorRef<SupervisorMsg>,
        args: SupervisorArgs,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        if let Some(newborn) = &args.newborn {
            Announced::new(newborn, myself.get_id())?.keep()?;
        }
        let core = Core::new(args.strategy, args.in_order, fastrand::u64(..));
        let nursery = Arc::new(Nursery {
            path: args.path.clone(),
            directory: args.directory.clone(),
            cradle: Arc::default(),
            supervisor: myself,
        });
        let born = clock::monotonic();
        Ok(SupervisorState { args, core, born, nursery, starts: Vec::new(), at_hand: None })
    }

    async fn post_start(
        &self,
        myself: ActorRef<SupervisorMsg>,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        let children = state.args.children.supervised_by(myself.clone());
        state.added(&myself, children)
    }

    async fn handle(
        &self,
        myself: ActorRef<SupervisorMsg>,
        message: SupervisorMsg,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMsg::ChildrenAdded => {
                let news = state.args.children.take_news();
                state.added(&myself, news)
            }
            SupervisorMsg::Remove(key) => state.decide(&myself, Event::Remove { key }),
            SupervisorMsg::StartFailed { key, generation, reason } => {
                state.ended(&myself, key, generation, reason)
            }
            SupervisorMsg::Due(key, timer) => state.decide(&myself, Event::Due { key, timer }),
            SupervisorMsg::Frozen(name, generation) => {
                state.order(&myself, &name, |key| Event::Frozen { key, generation })
            }
            SupervisorMsg::Park(name) => state.order(&myself, &name, |key| Event::Park { key }),
            SupervisorMsg::Resume(name) => state.order(&myself, &name, |key| Event::Resume { key }),
            SupervisorMsg::ShutDown => state.decide(&myself, Event::ShutDown),
        }
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<SupervisorMsg>,
        event: Ractor,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            Ractor::ActorStarted(cell) => state.started(&myself, cell),
            Ractor::ActorTerminated(cell, _, reason) => state.gone(&myself, &cell, terminated(reason)),
            Ractor::ActorFailed(cell, error) => state.gone(&myself, &cell, ExitReason::of(&error)),
            Ractor::ProcessGroupChanged(_) => Ok(()),
        }
    }
}

impl SupervisorState {
    fn added(&mut self, myself: &ActorRef<SupervisorMsg>, keys: Vec<Key>) -> Result<(), ActorProcessingErr> {
        for key in keys {
            let Some(entry) = self.entry(key) else { continue };
            let slot = self.slot(&entry);
            if slot.status() == ActorStatus::Running {
                // It went down with the supervisor before us, and nobody else is left to tell.
                let (reason, _) = self.args.directory.end(slot, ExitReason::ParentEnded);
                self.report(key, EventKind::Failed, Some(reason), None);
            }
            let (lived, held) = (slot.incarnation(), slot.held().is_some());
            let terms = Arc::clone(&entry.spec.terms);
            self.step(myself, Event::Added { key, terms, lived, held })?;
        }
        self.queue_starts(myself);
        Ok(())
    }

    fn started(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        cell: ActorCell,
    ) -> Result<(), ActorProcessingErr> {
        let Some((key, generation)) = self.nursery.cradle.get(cell.get_id()) else { return Ok(()) };
        if let Some(entry) = self.entry(key) {
            let slot = self.slot(&entry);
            if slot.lives(generation) {
                slot.run(cell.clone());
            }
        }
        let discarded = self.step(myself, Event::Started { key, generation })?;
        if discarded {
            cell.kill();
        }
        self.queue_starts(myself);
        Ok(())
    }

    fn gone(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        cell: &ActorCell,
        reason: ExitReason,
    ) -> Result<(), ActorProcessingErr> {
        let Some((key, generation)) = self.nursery.cradle.remove(cell.get_id()) else { return Ok(()) };
        self.ended(myself, key, generation, reason)
    }

    fn ended(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        key: Key,
        generation: u64,
        reason: ExitReason,
    ) -> Result<(), ActorProcessingErr> {
        let Some(entry) = self.entry(key) else { return Ok(()) };
        let slot = self.slot(&entry);
        // One that was given up, and ends after all, is nobody's news.
        if !slot.lives(generation) {
            return Ok(());
        }
        let (reason, asked) = self.args.directory.end(slot, reason);
        self.decide(myself, Event::Ended { key, generation, reason, asked })
    }

    /// Turns an order that names a child into an event.
    fn order(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        name: &str,
        event: impl FnOnce(Key) -> Event,
    ) -> Result<(), ActorProcessingErr> {
        let Some(key) = self.args.children.key_of(name) else { return Ok(()) };
        self.decide(myself, event(key))
    }

    fn decide(&mut self, myself: &ActorRef<SupervisorMsg>, event: Event) -> Result<(), ActorProcessingErr> {
        self.step(myself, event)?;
        self.queue_starts(myself);
        Ok(())
    }

    /// Feeds the core and carries out what it says; answers whether what has just begun must be discarded.
    fn step(&mut self, myself: &ActorRef<SupervisorMsg>, event: Event) -> Result<bool, ActorProcessingErr> {
        let now = clock::monotonic().duration_since(self.born);
        let mut discard = false;
        for action in self.core.step(event, now) {
            match action {
                Action::Start { key, generation } => self.start(key, generation),
                Action::Arm { key, timer, delay } => {
                    myself.send_after(delay, move || SupervisorMsg::Due(key, timer));
                }
                Action::Report { key, kind, reason, delay } => self.report(key, kind, reason, delay),
                Action::Stop { key, .. } => self.stop(key),
                Action::Kill { key, .. } => self.kill(key),
                Action::Fence { key, reason, .. } => self.fence(key, reason),
                Action::Discard { .. } => discard = true,
                Action::Forget { key } => self.forget(key),
                Action::Escalate { key, reason } => return Err(self.escalation(key, &reason)),
                Action::Finish => myself.stop(None),
            }
        }
        Ok(discard)
    }

    fn start(&mut self, key: Key, generation: u64) {
        let Some(entry) = self.entry(key) else { return };
        let slot = self.slot(&entry);
        let life = self.args.directory.begin(slot, generation, entry.spec.terms.stall);
        let nursery = Arc::clone(&self.nursery);
        self.starts.push(StartJob { entry, key, fence: Fence::of(life), nursery });
    }

    fn queue_starts(&mut self, myself: &ActorRef<SupervisorMsg>) {
        if !self.starts.is_empty() {
            self.args.directory.starts().push(myself.get_id(), std::mem::take(&mut self.starts));
        }
    }

    fn stop(&mut self, key: Key) {
        let Some(entry) = self.entry(key) else { return };
        let Some(cell) = self.slot(&entry).cell() else { return };
        if entry.spec.is_supervisor() {
            // A supervisor that is already gone needs no order to stop: its end is on the way to us.
            drop(cell.send_message(SupervisorMsg::ShutDown));
        } else {
            cell.stop(None);
        }
    }

    fn kill(&mut self, key: Key) {
        let Some(entry) = self.entry(key) else { return };
        let slot = self.slot(&entry);
        if let Some(cell) = slot.cell() {
            tracing::warn!(actor = %slot.path(), "does not come to an end and is killed");
            cell.kill();
        }
    }

    fn fence(&mut self, key: Key, reason: ExitReason) {
        if let Some(entry) = self.entry(key) {
            drop(self.args.directory.end(self.slot(&entry), reason));
        }
    }

    fn forget(&mut self, key: Key) {
        if let Some(entry) = self.entry(key) {
            self.args.directory.forget(self.slot(&entry).path());
            self.args.children.forget(key);
            self.at_hand = None;
        }
    }

    fn escalation(&mut self, key: Key, reason: &ExitReason) -> ActorProcessingErr {
        let name = self.entry(key).map(|entry| Arc::clone(&entry.spec.name));
        let path = self.args.path.child(name.as_deref().unwrap_or("a child"));
        Box::new(Failure::text(format!("{path} can't be helped: {reason}")))
    }

    fn report(&mut self, key: Key, kind: EventKind, mut reason: Option<ExitReason>, delay: Option<Duration>) {
        let Some(entry) = self.entry(key) else { return };
        let slot = self.slot(&entry);
        let next_try_ms = delay.map(|d| clock::now_ms() + i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        match kind {
            EventKind::Failed if delay.is_some_and(|delay| !delay.is_zero()) => {
                slot.wait(ActorStatus::BackingOff, next_try_ms);
            }
            EventKind::Parked => {
                if let Some(held) = slot.held().filter(|_| delay.is_none()) {
                    reason = Some(held.as_reason());
                }
                slot.wait(ActorStatus::Parked, next_try_ms);
                entry.spec.out_of_service();
            }
            EventKind::Stopped => entry.spec.out_of_service(),
            EventKind::Started
            | EventKind::Restarted
            | EventKind::Failed
            | EventKind::Escalated
            | EventKind::Stuck => {}
        }
        if let Some(reason) = &reason {
            slot.blame(reason.clone());
        }
        self.args.directory.events().emit(kind, slot.view(), reason, delay);
    }

    /// The child of this key, while it is listed.
    fn entry(&mut self, key: Key) -> Option<Arc<Entry>> {
        if let Some((_, entry)) = self.at_hand.as_ref().filter(|(at_hand, _)| *at_hand == key) {
            return Some(Arc::clone(entry));
        }
        let entry = self.args.children.get(key)?;
        self.at_hand = Some((key, Arc::clone(&entry)));
        Some(entry)
    }

    fn slot<'a>(&self, entry: &'a Entry) -> &'a Arc<Slot> {
        entry.slot(&self.args.directory, &self.args.path)
    }
}

/// ractor tells a kill and a cancelled task as terminations with a reason; both are abnormal.
fn terminated(reason: Option<String>) -> ExitReason {
    match reason.as_deref() {
        Some("killed") => ExitReason::Killed { by: "unknown".to_owned() },
        Some("actor_task_cancelled") => ExitReason::Killed { by: "runtime (task cancelled)".to_owned() },
        Some(_) | None => ExitReason::Stopped,
    }
}
