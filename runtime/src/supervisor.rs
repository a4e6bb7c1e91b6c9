//! The thin actor around the supervisor's core: it carries out what [`core`] decides and decides nothing itself.
//!
//! Owns: the core's knowledge of its children. Receives: births and ends of children, timers, shutdown. Lost on
//! restart: failure counts. It never waits for a child: stops and back-offs are timers and messages.

mod core;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent as Ractor};

use self::core::{Action, Core, Event};
use crate::child::{Birth, ChildSpec, Children};
use crate::directory::Slot;
use crate::{ActorPath, ActorStatus, Directory, ErrorChain, EventKind, ExitReason, Failure, clock};

/// What a supervisor is told.
#[derive(Debug)]
pub enum SupervisorMsg {
    /// A child was added to its list.
    ChildAdded(String),
    /// A back-off or parking time is over.
    Due(String, u64),
    /// A child was told to stop and its time is up.
    StopOverdue(String, u64),
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
}

/// A one_for_one supervisor.
#[derive(Debug)]
pub(crate) struct Supervisor;

/// A supervisor's state.
#[derive(Debug)]
pub(crate) struct SupervisorState {
    args: SupervisorArgs,
    core: Core,
    born: tokio::time::Instant,
    running: HashMap<ActorId, (String, u64)>,
}

impl Actor for Supervisor {
    type Msg = SupervisorMsg;
    type State = SupervisorState;
    type Arguments = SupervisorArgs;

    async fn pre_start(
        &self,
        _myself: ActorRef<SupervisorMsg>,
        args: SupervisorArgs,
    ) -> Result<SupervisorState, ActorProcessingErr> {
        let core = Core::new(fastrand::u64(..));
        Ok(SupervisorState { args, core, born: clock::monotonic(), running: HashMap::new() })
    }

    async fn post_start(
        &self,
        myself: ActorRef<SupervisorMsg>,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        for name in state.args.children.names() {
            state.add(&myself, name).await?;
        }
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<SupervisorMsg>,
        message: SupervisorMsg,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMsg::ChildAdded(name) => state.add(&myself, name).await,
            SupervisorMsg::Due(child, generation) => {
                state.decide(&myself, Event::Due { child, generation }).await
            }
            SupervisorMsg::StopOverdue(child, generation) => {
                state.kill_overdue(&child, generation);
                Ok(())
            }
            SupervisorMsg::ShutDown => state.decide(&myself, Event::ShutDown).await,
        }
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<SupervisorMsg>,
        event: Ractor,
        state: &mut SupervisorState,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            Ractor::ActorTerminated(cell, _, reason) => state.ended(&myself, &cell, terminated(reason)).await,
            Ractor::ActorFailed(cell, error) => state.ended(&myself, &cell, ExitReason::of(&error)).await,
            Ractor::ActorStarted(_) | Ractor::ProcessGroupChanged(_) => Ok(()),
        }
    }
}

impl SupervisorState {
    async fn add(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        name: String,
    ) -> Result<(), ActorProcessingErr> {
        let Some(spec) = self.args.children.get(&name) else { return Ok(()) };
        let slot = self.slot(&spec);
        let lived = slot.view().incarnation > 0;
        if lived && slot.cell().is_some() {
            // It went down with the supervisor before us, and nobody else is left to tell.
            slot.end(&ExitReason::ParentEnded);
            self.report(&name, EventKind::Failed, Some(ExitReason::ParentEnded), None);
        }
        self.decide(myself, Event::Added { child: name, policy: spec.policy, restarted: lived }).await
    }

    async fn ended(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        cell: &ActorCell,
        mut reason: ExitReason,
    ) -> Result<(), ActorProcessingErr> {
        let Some((child, generation)) = self.running.remove(&cell.get_id()) else { return Ok(()) };
        let mut asked = false;
        if let Some(spec) = self.args.children.get(&child) {
            let slot = self.slot(&spec);
            if let Some(by) = slot.end(&reason) {
                asked = true;
                reason = ExitReason::Killed { by };
                slot.blame(reason.clone());
            }
        }
        self.decide(myself, Event::Ended { child, generation, reason, asked }).await
    }

    /// Feeds the core and carries out what it says; what a start leads to is fed back until nothing is left.
    async fn decide(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        event: Event,
    ) -> Result<(), ActorProcessingErr> {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            let now = clock::monotonic().duration_since(self.born);
            for action in self.core.step(event, now) {
                if let Some(next) = self.carry_out(myself, action).await? {
                    events.push(next);
                }
            }
        }
        Ok(())
    }

    async fn carry_out(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        action: Action,
    ) -> Result<Option<Event>, ActorProcessingErr> {
        match action {
            Action::Start { child, generation } => return Ok(self.start(myself, child, generation).await),
            Action::Arm { child, generation, delay } => {
                myself.send_after(delay, move || SupervisorMsg::Due(child, generation));
            }
            Action::Report { child, kind, reason, delay } => self.report(&child, kind, reason, delay),
            Action::Stop { child, generation } => self.stop(myself, child, generation),
            Action::Forget { child } => {
                self.args.children.remove(&child);
                self.args.directory.forget(&self.args.path.child(&child));
            }
            Action::Escalate { child, reason } => {
                let text = format!("{} can't be helped: {reason}", self.args.path.child(&child));
                return Err(Box::new(Failure::text(text)));
            }
            Action::Finish => myself.stop(None),
        }
        Ok(None)
    }

    async fn start(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        child: String,
        generation: u64,
    ) -> Option<Event> {
        let spec = self.args.children.get(&child)?;
        let slot = self.slot(&spec);
        let birth = Birth {
            path: slot.path().clone(),
            incarnation: slot.begin(),
            directory: self.args.directory.clone(),
        };
        match (spec.start)(birth, myself.get_cell()).await {
            Ok(cell) => {
                self.running.insert(cell.get_id(), (child.clone(), generation));
                slot.run(cell);
                Some(Event::Started { child, generation })
            }
            Err(error) => {
                let reason = ExitReason::StartFailed { chain: ErrorChain::new(&error) };
                slot.end(&reason);
                Some(Event::Ended { child, generation, reason, asked: false })
            }
        }
    }

    fn stop(&self, myself: &ActorRef<SupervisorMsg>, child: String, generation: u64) {
        let Some(spec) = self.args.children.get(&child) else { return };
        let Some(cell) = self.slot(&spec).cell() else { return };
        if spec.supervisor {
            // A supervisor that is already gone needs no order to stop: its end is on the way to us.
            drop(cell.send_message(SupervisorMsg::ShutDown));
        } else {
            cell.stop(None);
        }
        myself.send_after(spec.shutdown, move || SupervisorMsg::StopOverdue(child, generation));
    }

    fn kill_overdue(&self, child: &str, generation: u64) {
        let overdue = self.running.values().any(|(name, g)| name == child && *g == generation);
        let Some(spec) = self.args.children.get(child).filter(|_| overdue) else { return };
        if let Some(cell) = self.slot(&spec).cell() {
            tracing::warn!(actor = %self.args.path.child(child), "did not stop in time and is killed");
            cell.kill();
        }
    }

    fn report(&self, child: &str, kind: EventKind, reason: Option<ExitReason>, delay: Option<Duration>) {
        let Some(spec) = self.args.children.get(child) else { return };
        let slot = self.slot(&spec);
        let next_try_ms = delay.map(|d| clock::now_ms() + i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
        match kind {
            EventKind::Failed if delay.is_some() => slot.wait(ActorStatus::BackingOff, next_try_ms),
            EventKind::Parked => slot.wait(ActorStatus::Parked, next_try_ms),
            EventKind::Started
            | EventKind::Restarted
            | EventKind::Failed
            | EventKind::Stopped
            | EventKind::Escalated => {}
        }
        self.args.directory.events().emit(kind, slot.view(), reason, delay);
    }

    fn slot(&self, spec: &ChildSpec) -> Arc<Slot> {
        self.args.directory.slot(&self.args.path.child(&spec.name), spec.kind, spec.supervisor)
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
