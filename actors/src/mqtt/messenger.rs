//! The messenger: publishes the commands that wait for devices, and ends the wait for answers that do not come.
//!
//! Owns: its turn; the commands are records of the journal. Receives: wake-ups, ticks. Lost on restart: nothing; what was
//! marked as sent is never sent again, for it may have left, and what still waits is sent. Supervised by: mqtt.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use rumqttc::QoS;
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use voltree_model::Timestamp;
use voltree_protocols::mqtt::{DeviceTopic, PublishProperties};
use voltree_runtime::{ChildSpec, RestartPolicy};

use super::broker::{Broker, Routing, Said};
use super::mapped::Request;
use crate::commands::{Begun, CommandRequest, CommandStatus, CommandView, Way};
use crate::fleet::FleetError;
use crate::registry::DeviceEntry;

/// How often it is looked for devices that listen now, and for answers that are overdue.
const TICK: Duration = Duration::from_secs(1);
/// After how many ticks it is looked for commands whose senders went away early.
const TICKS_TO_FIND: u32 = 30;
/// How long a command without a time of its own waits for its device and its answer.
const USUAL_VALIDITY: Duration = Duration::from_secs(60);
/// How long whoever gives a command waits for it to leave.
const PATIENCE: Duration = Duration::from_secs(2);
/// Said of a command to a device that does not follow the contract.
const NO_ANSWERS: &str =
    "told in the device's own words, which have no answer; its state shows what came of it";

/// What the messenger is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessengerMsg {
    /// A command was given, or somebody listens who did not.
    Wake,
    /// Time went by.
    Tick,
}

/// The actor.
#[derive(Debug)]
pub struct Messenger;

/// What one incarnation knows.
#[derive(Debug)]
pub struct MessengerState {
    broker: Arc<Broker>,
    ticks: u32,
}

/// How the MQTT supervisor gives birth to it.
pub fn child(broker: Arc<Broker>) -> ChildSpec {
    ChildSpec::worker("messenger", "mqtt_messenger", RestartPolicy::SERVICE, move |_| {
        (Messenger, Arc::clone(&broker))
    })
}

impl Actor for Messenger {
    type Msg = MessengerMsg;
    type State = MessengerState;
    type Arguments = Arc<Broker>;

    async fn pre_start(
        &self,
        myself: ActorRef<MessengerMsg>,
        broker: Arc<Broker>,
    ) -> Result<MessengerState, ActorProcessingErr> {
        myself.send_interval(TICK, || MessengerMsg::Tick);
        myself.send_message(MessengerMsg::Wake)?;
        Ok(MessengerState { broker, ticks: 0 })
    }

    async fn handle(
        &self,
        _myself: ActorRef<MessengerMsg>,
        message: MessengerMsg,
        state: &mut MessengerState,
    ) -> Result<(), ActorProcessingErr> {
        if message == MessengerMsg::Tick {
            state.ticks = state.ticks.wrapping_add(1);
            if state.ticks.is_multiple_of(TICKS_TO_FIND) {
                let broker = &state.broker;
                broker.commands.find_waiting()?;
                broker.ways_out.tidy(|device| broker.registry.get(device)?.last_arrival());
            }
        }
        state.attend_to_all().await;
        Ok(())
    }
}

impl MessengerState {
    async fn attend_to_all(&self) {
        for command in self.broker.commands.waiting() {
            // The journal may be without a writer for a moment; the next tick tries again.
            if let Err(error) = attend(&self.broker, &command, crate::now()).await {
                tracing::debug!(command = command.id, %error, "a command waits for the journal");
            }
        }
    }
}

/// Takes a command as far as it goes now.
async fn attend(broker: &Broker, command: &CommandView, now: Timestamp) -> Result<(), FleetError> {
    if command.expires_at.is_some_and(|at| at <= now) {
        return give_up(broker, command).await;
    }
    if command.status != CommandStatus::Pending {
        return Ok(());
    }
    let words = match Words::of(broker, command) {
        Ok(words) => words,
        Err(why) => return fail(broker, command, why).await,
    };
    let way = Exit::to(broker, command);
    if let Err(why) = way.is_open(broker, &words) {
        let waits = broker.commands.change(&command.id, |command| waits(command, &why));
        return waits.await.map(drop);
    }
    // On disk before it leaves. Whoever finds it so after a crash can't tell whether it left, and leaves it alone.
    let marked = broker.commands.change(&command.id, |command| {
        let waits = command.status == CommandStatus::Pending;
        if waits {
            command.status = CommandStatus::Sent;
            command.error = (!words.answered).then(|| NO_ANSWERS.to_owned());
        }
        waits
    });
    if marked.await?.is_some() && !way.publish(broker, words, command, now) {
        // Nobody took it, which is certain: it waits on.
        broker.commands.change(&command.id, wait_on).await?;
    }
    Ok(())
}

/// Says of a command why it waits, unless that was said before.
fn waits(command: &mut CommandView, why: &str) -> bool {
    let is_news = command.status == CommandStatus::Pending && command.error.as_deref() != Some(why);
    if is_news {
        command.error = Some(why.to_owned());
    }
    is_news
}

fn wait_on(command: &mut CommandView) -> bool {
    let unanswered = command.status == CommandStatus::Sent;
    if unanswered {
        (command.status, command.error) = (CommandStatus::Pending, None);
    }
    unanswered
}

async fn give_up(broker: &Broker, command: &CommandView) -> Result<(), FleetError> {
    let changed = broker.commands.change(&command.id, |command| {
        let why = match command.status {
            CommandStatus::Pending => {
                let why = command.error.as_deref().unwrap_or("nobody listened for it");
                format!("it expired and was not sent: {why}")
            }
            CommandStatus::Sent => "it was sent, and no answer came before it expired".to_owned(),
            CommandStatus::Acknowledged
            | CommandStatus::Executed
            | CommandStatus::Failed
            | CommandStatus::Expired
            | CommandStatus::Unknown => return false,
        };
        (command.status, command.error) = (CommandStatus::Expired, Some(why));
        true
    });
    changed.await.map(drop)
}

async fn fail(broker: &Broker, command: &CommandView, why: String) -> Result<(), FleetError> {
    let changed = broker.commands.change(&command.id, |command| {
        let waits = command.status == CommandStatus::Pending;
        if waits {
            (command.status, command.error) = (CommandStatus::Failed, Some(why));
        }
        waits
    });
    changed.await.map(drop)
}

/// A command as it is published.
struct Words {
    message: Request,
    /// Whether the device will answer.
    answered: bool,
}

impl Words {
    /// A device that is mapped, or announced itself, is told in its own words; any other one in the contract's.
    fn of(broker: &Broker, command: &CommandView) -> Result<Self, String> {
        match broker.conventions.say(&command.device, &command.action, &command.params) {
            Some(said) => Ok(Self { message: said.map_err(|error| error.to_string())?, answered: false }),
            None => Ok(Self { message: native(command), answered: true }),
        }
    }
}

/// The command as the contract writes it.
fn native(command: &CommandView) -> Request {
    let params = if command.params.is_null() { json!({}) } else { command.params.clone() };
    let payload = json!({
        "command_id": command.id,
        "action": command.action,
        "params": params,
        "timestamp": command.sent_at.to_string(),
        "expires_at": command.expires_at.map(|at| at.to_string()),
    });
    (DeviceTopic::Commands(command.device.clone()).to_string(), payload.to_string().into_bytes())
}

/// Where a device is to be found.
enum Exit {
    /// Among the node's own clients.
    Own,
    /// Behind these brokers of others.
    Outside(Vec<String>),
}

impl Exit {
    fn to(broker: &Broker, command: &CommandView) -> Self {
        let last_arrival = broker.registry.get(&command.device).and_then(|entry| entry.last_arrival());
        broker.ways_out.lead_to(&command.device, last_arrival).map_or(Self::Own, Self::Outside)
    }

    /// Whether a message would be taken there; if not, why.
    fn is_open(&self, broker: &Broker, words: &Words) -> Result<(), String> {
        let topic = &words.message.0;
        match self {
            Self::Own if broker.is_heard(topic) => Ok(()),
            Self::Own if broker.has_ways_out() => Err(format!(
                "nobody subscribes to {topic} here, and no outside broker brought the device's last message"
            )),
            Self::Own => Err(format!("nobody subscribes to {topic}")),
            Self::Outside(houses) if broker.ways_out.are_open(houses) => Ok(()),
            Self::Outside(houses) => {
                let houses = houses.join(", ");
                Err(format!(
                    "the device was heard through {houses}, and this node is not connected there now"
                ))
            }
        }
    }

    /// Publishes it once; says whether anybody took it.
    fn publish(&self, broker: &Broker, words: Words, command: &CommandView, now: Timestamp) -> bool {
        let (topic, payload) = words.message;
        match self {
            Self::Outside(houses) => broker.ways_out.send(houses, &(topic, payload)),
            Self::Own => {
                // Nor does it leave a sleeping device's session when its time is over.
                let left = command.expires_at.map(|at| at.since(now).as_secs().max(1));
                let message_expiry_interval = left.map(|left| u32::try_from(left).unwrap_or(u32::MAX));
                let said = PublishProperties { message_expiry_interval, ..PublishProperties::default() };
                let routing = Routing { said: Some(Arc::new(Said::of(said, now))), ..Routing::default() };
                // The command's own record outlives a crash, so nobody waits for what is kept of the message.
                broker.route(&topic, &Bytes::from(payload), QoS::AtLeastOnce, routing).heard
            }
        }
    }
}

impl Broker {
    /// Takes a command for a device that publishes: writes it down, lets it go, and answers how far it got by then.
    pub(crate) async fn command(
        &self,
        device: &DeviceEntry,
        mut request: CommandRequest,
    ) -> Result<CommandView, FleetError> {
        if !matches!(request.params, Value::Null | Value::Object(_)) {
            return Err(FleetError::Question("params: expected an object".to_owned()));
        }
        let entity = request.params.get("entity").and_then(Value::as_str);
        let standings = device.entity_standings();
        if let Some(entity) = entity.filter(|entity| standings.contains_key(*entity)) {
            return Err(FleetError::NotAllowed(format!(
                "{entity} of {} is disabled; enable it first",
                device.id
            )));
        }
        if let Some(Err(error)) = self.conventions.say(&device.id, &request.action, &request.params) {
            return Err(FleetError::Question(error.to_string()));
        }
        request.expires_at.get_or_insert_with(|| crate::now().plus(USUAL_VALIDITY));
        let mut changes = self.commands.watch();
        let command = match self.commands.begin(&request, CommandStatus::Pending, Way::Mqtt).await? {
            Begun::Known(command) => return Ok(command),
            Begun::Anew(command) => command,
        };
        self.messenger.nudge(MessengerMsg::Wake);
        let left = tokio::time::timeout(PATIENCE, next_change(&mut changes, &command.id)).await;
        match left.ok().flatten() {
            Some(left) => Ok(left),
            // By now it is written down why it waits.
            None => Ok(self.commands.get(&command.id)?.unwrap_or(command)),
        }
    }
}

/// The next change of this command, from waiting on.
async fn next_change(changes: &mut Receiver<CommandView>, id: &str) -> Option<CommandView> {
    loop {
        match changes.recv().await {
            Ok(command) if command.id == id && command.status != CommandStatus::Pending => {
                return Some(command);
            }
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return None,
        }
    }
}
