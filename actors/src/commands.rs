//! Commands to devices and what became of them: each is a record in the journal before it is sent.
//!
//! So a command whose outcome nobody heard is still known after a restart as sent, and one that comes again under the
//! same key of its sender is answered from the record and never sent twice. Must never repeat anything by itself: what
//! is marked as sent may have left, and only what still waits is sent.

mod battery;
mod record;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{Mutex, broadcast};
use uuid::Uuid;
use voltree_model::{DeviceId, Timestamp};
use voltree_protocols::bms::order::OrderError;
use voltree_storage::{Error, JournalSlot, RecordChange};

pub use record::{CommandStatus, CommandView, Way};

use crate::fleet::FleetError;
use crate::orders::Unconfirmed;
use crate::registry::DeviceEntry;
use crate::{intake, now};

/// So many commands are remembered.
const MOST_COMMANDS: usize = 500;
/// So many may wait for devices or their answers; the next is refused as busy.
const MOST_OPEN: usize = 200;
/// How long the disk may take at a start.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many changes a watcher may fall behind.
const BACKLOG: usize = 256;

/// What is asked of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct CommandRequest {
    /// Which device.
    pub device: DeviceId,
    /// What to do.
    pub action: String,
    /// The action's parameters; null for none.
    pub params: Value,
    /// The moment from which on it must not be sent any more.
    pub expires_at: Option<Timestamp>,
    /// Its sender's name for it: the same command under the same key is sent once.
    pub idempotency_key: Option<String>,
}

/// Where all commands of the node are written down.
#[derive(Debug)]
pub struct CommandBook {
    journal: Arc<JournalSlot>,
    /// One change at a time: two commands of one key must not both find that there is none, and an answer must not be
    /// written over.
    changing: Mutex<()>,
    /// Published commands that wait to be sent or answered, in the order in which they were given.
    open: parking_lot::Mutex<BTreeMap<String, CommandView>>,
    watchers: broadcast::Sender<CommandView>,
}

/// How a command goes on.
pub(crate) enum Begun {
    /// It is written down now.
    Anew(CommandView),
    /// It was given before.
    Known(CommandView),
}

impl CommandBook {
    /// The commands of this journal. Blocks, while the journal has no writer.
    pub fn open(journal: Arc<JournalSlot>) -> Result<Self, Error> {
        let mut known = journal.records().all::<CommandView>()?;
        lay_by(&journal, &mut known)?;
        let open = known.into_iter().filter(|(_, command)| command.is_open()).collect();
        let watchers = broadcast::Sender::new(BACKLOG);
        Ok(Self { journal, changing: Mutex::default(), open: parking_lot::Mutex::new(open), watchers })
    }

    /// One command.
    pub fn get(&self, id: &str) -> Result<Option<CommandView>, FleetError> {
        self.journal.records().get(id).map_err(unreadable)
    }

    /// The last commands, to all devices or to one, newest first.
    pub fn list(&self, device: Option<&DeviceId>, limit: usize) -> Result<Vec<CommandView>, FleetError> {
        let known = self.journal.records().all::<CommandView>().map_err(unreadable)?;
        let wanted = |command: &CommandView| device.is_none_or(|device| command.device == *device);
        // Their ids are in the order of time.
        Ok(known.into_values().rev().filter(wanted).take(limit).collect())
    }

    /// Commands as they change, from now on.
    pub fn watch(&self) -> broadcast::Receiver<CommandView> {
        self.watchers.subscribe()
    }

    /// Published commands that wait to be sent or answered, oldest first.
    pub(crate) fn waiting(&self) -> Vec<CommandView> {
        self.open.lock().values().cloned().collect()
    }

    /// Looks for commands that were written down and whose sender went away before they could be counted as waiting.
    pub(crate) fn find_waiting(&self) -> Result<(), Error> {
        let Ok(_nobody_changes_them) = self.changing.try_lock() else { return Ok(()) };
        let known = self.journal.records().all::<CommandView>()?;
        *self.open.lock() = known.into_iter().filter(|(_, command)| command.is_open()).collect();
        Ok(())
    }

    /// Sends a command to a battery and answers with what it shows afterwards.
    pub async fn send(
        &self,
        device: &DeviceEntry,
        request: CommandRequest,
    ) -> Result<CommandView, FleetError> {
        let order = battery::order(&request.action, &request.params).map_err(FleetError::Question)?;
        if !device.takes_orders() {
            return Err(FleetError::NotAllowed(Unconfirmed::NotAllowed.to_string()));
        }
        // It counts as sent from here on: whoever finds it so after a crash knows that it may have left.
        let mut command = match self.begin(&request, CommandStatus::Sent, Way::Wire).await? {
            Begun::Anew(command) => command,
            Begun::Known(command) => return Ok(command),
        };
        let left = request.expires_at.map(|at| at.since(now()));
        let outcome = match left {
            Some(Duration::ZERO) => Err(Unconfirmed::Expired),
            valid_for => device.order(order, valid_for).await,
        };
        command.ended(outcome);
        tell(&command);
        let _one_at_a_time = self.changing.lock().await;
        self.keep(&command).await?;
        Ok(command)
    }

    /// Writes a command down, unless its key says that it was given before.
    pub(crate) async fn begin(
        &self,
        request: &CommandRequest,
        status: CommandStatus,
        way: Way,
    ) -> Result<Begun, FleetError> {
        let _one_at_a_time = self.changing.lock().await;
        if let Some(key) = &request.idempotency_key
            && let Some(known) = self.of_key(&request.device, key)?
        {
            if known.action == request.action && known.params == request.params {
                return Ok(Begun::Known(known));
            }
            let why = format!("the idempotency key {key:?} was used for another command to {}", known.device);
            return Err(FleetError::Question(why));
        }
        if way == Way::Mqtt && self.open.lock().len() >= MOST_OPEN {
            let why = format!("{MOST_OPEN} commands wait for devices that don't listen or answer; try later");
            return Err(FleetError::NotNow(why));
        }
        let mut command = CommandView::given(Uuid::now_v7().to_string(), request, status, way, now());
        if way == Way::Wire {
            command.error = Some(OrderError::Unknown.to_string());
        }
        self.keep(&command).await?;
        Ok(Begun::Anew(command))
    }

    /// Changes a command as of now, and returns once that is on disk; `step` says whether there is anything to change.
    pub(crate) async fn change(
        &self,
        id: &str,
        step: impl FnOnce(&mut CommandView) -> bool,
    ) -> Result<Option<CommandView>, FleetError> {
        let _one_at_a_time = self.changing.lock().await;
        let Some(mut command) = self.get(id)? else { return Ok(None) };
        if !step(&mut command) {
            return Ok(None);
        }
        self.keep(&command).await?;
        tell(&command);
        Ok(Some(command))
    }

    fn of_key(&self, device: &DeviceId, key: &str) -> Result<Option<CommandView>, FleetError> {
        let known = self.journal.records().all::<CommandView>().map_err(unreadable)?;
        let is_it = |command: &CommandView| {
            command.device == *device && command.idempotency_key.as_deref() == Some(key)
        };
        Ok(known.into_values().rev().find(is_it))
    }

    /// Writes it down, and returns once that is on disk; the oldest beyond what is remembered leave.
    async fn keep(&self, command: &CommandView) -> Result<(), FleetError> {
        let at = now();
        let mut entries = vec![RecordChange::entry(&command.id, Some(command), at).map_err(unreadable)?];
        for id in self.to_forget(command)? {
            entries.push(RecordChange::entry::<CommandView>(&id, None, at).map_err(unreadable)?);
        }
        let Ok(Ok(_)) = intake::submit(&self.journal, entries).await else {
            return Err(FleetError::NotNow(
                "the journal does not take the command now; try again".to_owned(),
            ));
        };
        let mut open = self.open.lock();
        match command.is_open() {
            true => drop(open.insert(command.id.clone(), command.clone())),
            false => drop(open.remove(&command.id)),
        }
        // That nobody watches is no loss.
        self.watchers.send(command.clone()).ok();
        Ok(())
    }

    /// The oldest beyond what is remembered, of those that wait for nothing.
    fn to_forget(&self, command: &CommandView) -> Result<Vec<String>, FleetError> {
        let records = self.journal.records();
        let surplus = (records.count::<CommandView>() + 1).saturating_sub(MOST_COMMANDS);
        if surplus == 0 {
            return Ok(Vec::new());
        }
        let known = records.all::<CommandView>().map_err(unreadable)?;
        let open = self.open.lock();
        // Their ids are in the order of time.
        let ended = known.into_keys().filter(|id| *id != command.id && !open.contains_key(id));
        Ok(ended.take(surplus).collect())
    }
}

/// Ends the commands to batteries that were under way when the node did: whoever waited for their answers is gone, and
/// they may have left, so nobody sends them again. Those that were published go on waiting for their answers until they
/// expire.
fn lay_by(journal: &JournalSlot, known: &mut BTreeMap<String, CommandView>) -> Result<(), Error> {
    let mut entries = Vec::new();
    for (id, command) in known {
        if command.way == Way::Wire && command.status == CommandStatus::Sent {
            command.status = CommandStatus::Unknown;
            command.error.get_or_insert_with(|| OrderError::Unknown.to_string());
            entries.push(RecordChange::entry(id, Some(command), now())?);
            tell(command);
        }
    }
    if entries.is_empty() { Ok(()) } else { journal.commit_alone(entries, PATIENCE).map(drop) }
}

#[expect(clippy::needless_pass_by_value, reason = "it is given to map_err")]
fn unreadable(error: Error) -> FleetError {
    FleetError::Store(error.to_string())
}

fn tell(command: &CommandView) {
    let CommandView { id, device, action, status, error, .. } = command;
    tracing::info!(target: "audit", event = "command", id, %device, action, ?status, error);
}

impl CommandView {
    fn ended(&mut self, outcome: Result<(), Unconfirmed>) {
        (self.status, self.error) = match outcome {
            Ok(()) => {
                self.executed_at = Some(now());
                (CommandStatus::Executed, None)
            }
            Err(why @ Unconfirmed::Device(OrderError::Unknown)) => {
                (CommandStatus::Unknown, Some(why.to_string()))
            }
            Err(why @ Unconfirmed::Expired) => (CommandStatus::Expired, Some(why.to_string())),
            Err(
                why @ (Unconfirmed::NotAllowed
                | Unconfirmed::NotKnown
                | Unconfirmed::Busy
                | Unconfirmed::Unreachable(_)
                | Unconfirmed::Device(
                    OrderError::Refused(_) | OrderError::NotTaken(_) | OrderError::Silent,
                )),
            ) => (CommandStatus::Failed, Some(why.to_string())),
        };
    }
}
