//! What clients may change.

use async_graphql::{Context, ID, Object, Result};
use voltree_actors::fleet::{Fleet, Kill, Word};

use super::arguments;
use super::command::{Command, SendCommandInput};
use super::dead_letter::DeadLetter;
use super::device::{DeleteResult, Device};
use super::entity::Entity;
use super::error::fleet_error;
use super::fault::{FaultInput, InjectedFault};
use super::orders::{OPERATOR, Orders};
use super::set_aside::SetAsideMessage;
use super::supervision::SupervisedActor;

/// The root of all changes.
pub(crate) struct Mutation;

/// What may be changed.
#[Object]
impl Mutation {
    /// Kills the running incarnation of an actor, as a test of the tree. Its supervisor restarts it at once, however
    /// often, unless the kill is to count as a failure. Answers how the actor stood when it was killed; an actor that is
    /// not running now is an error with the code NOT_RUNNING.
    async fn kill_actor(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its place in the tree, as supervisionTree lists it.")] path: String,
        #[graphql(desc = "Why, for the log.")] reason: Option<String>,
        #[graphql(
            desc = "Whether it counts as a failure: too many in a while and the actor waits longer each time, is parked, \
                    or its supervisor fails in turn, in the end up to the node.",
            default = false
        )]
        counted: bool,
    ) -> Result<SupervisedActor> {
        let (order, kill) = match counted {
            true => ("kill_actor_counted", Kill::Counted),
            false => ("kill_actor", Kill::Uncounted),
        };
        ctx.data::<Orders>()?.admit(order, &path, reason.as_deref())?;
        let killed = ctx.data::<Fleet>()?.supervision.kill(&path, OPERATOR, kill).map_err(fleet_error)?;
        Ok(SupervisedActor::from(&killed))
    }

    /// Stops an actor in good order and keeps it parked until resumeActor. What a parked device is sent meanwhile is
    /// refused with that reason. An actor that can't be parked now is an error with the code NOT_NOW.
    async fn park_actor(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its place in the tree, as supervisionTree lists it.")] path: String,
        #[graphql(desc = "Why, for the log and for whoever finds it parked.")] reason: String,
    ) -> Result<SupervisedActor> {
        ctx.data::<Orders>()?.admit("park_actor", &path, Some(&reason))?;
        let parked = ctx.data::<Fleet>()?.supervision.park(&path, OPERATOR, &reason).map_err(fleet_error)?;
        Ok(SupervisedActor::from(&parked))
    }

    /// Starts an actor now that is parked, whoever parked it, or that waits for its next try. One that runs is an error
    /// with the code NOT_NOW.
    async fn resume_actor(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its place in the tree, as supervisionTree lists it.")] path: String,
        #[graphql(desc = "Why, for the log.")] reason: String,
    ) -> Result<SupervisedActor> {
        ctx.data::<Orders>()?.admit("resume_actor", &path, Some(&reason))?;
        let resumed = ctx.data::<Fleet>()?.supervision.resume(&path).map_err(fleet_error)?;
        Ok(SupervisedActor::from(&resumed))
    }

    /// Injects a fault, as a test of the node: it strikes whoever passes its point until it is over. Told in the log with
    /// its reason.
    async fn inject_fault(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What, where, whom and for how long.")] fault: FaultInput,
        #[graphql(desc = "Why, for the log.")] reason: String,
    ) -> Result<InjectedFault> {
        ctx.data::<Orders>()?.admit("inject_fault", fault.point(), Some(&reason))?;
        let injected = ctx.data::<Fleet>()?.faults.inject(fault.into_fault()?).map_err(fleet_error)?;
        Ok(injected.into())
    }

    /// Ends all injected faults, and answers how many there were.
    async fn clear_faults(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Why, for the log.")] reason: String,
    ) -> Result<usize> {
        ctx.data::<Orders>()?.admit("clear_faults", "all", Some(&reason))?;
        Ok(ctx.data::<Fleet>()?.faults.clear_faults())
    }

    /// Makes a device of whoever publishes under this id, for good; also of one that has not published yet.
    async fn adopt_device(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The id, as deviceCandidates lists it.")] id: ID,
        #[graphql(desc = "Why, for the log.")] reason: Option<String>,
    ) -> Result<Device> {
        ctx.data::<Orders>()?.admit("adopt_device", &id, reason.as_deref())?;
        let id = arguments::device_id("id", &id)?;
        ctx.data::<Fleet>()?.devices.adopt(id).await.map(Device).map_err(fleet_error)
    }

    /// Turns away whatever is published under this id from now on, until adoptDevice. What is stored of it stays. Answers
    /// the id.
    async fn ignore_device(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The id.")] id: ID,
        #[graphql(desc = "Why, for the log.")] reason: Option<String>,
    ) -> Result<ID> {
        ctx.data::<Orders>()?.admit("ignore_device", &id, reason.as_deref())?;
        let device = arguments::device_id("id", &id)?;
        ctx.data::<Fleet>()?.devices.ignore(device).await.map_err(fleet_error)?;
        Ok(id)
    }

    /// Takes nothing in from a device any more and stops its actor; it stays in the list as DISABLED, its alerts are
    /// resolved, and what it sends meanwhile is rejected as disabled. That outlives restarts of the node.
    async fn disable_device(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The device.")] id: ID,
        #[graphql(desc = "Why, for the log and for whoever finds it disabled.")] reason: String,
    ) -> Result<Device> {
        ctx.data::<Orders>()?.admit("disable_device", &id, Some(&reason))?;
        let id = arguments::device_id("id", &id)?;
        ctx.data::<Fleet>()?.devices.disable(id, reason).await.map(Device).map_err(fleet_error)
    }

    /// Takes a disabled device back. One that is not disabled is an error with the code NOT_NOW.
    async fn enable_device(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The device.")] id: ID,
        #[graphql(desc = "Why, for the log.")] reason: Option<String>,
    ) -> Result<Device> {
        ctx.data::<Orders>()?.admit("enable_device", &id, reason.as_deref())?;
        let id = arguments::device_id("id", &id)?;
        ctx.data::<Fleet>()?.devices.enable(id).await.map(Device).map_err(fleet_error)
    }

    /// Takes a device from the list. What is stored of it stays for as long as readings are kept, and it is discovered
    /// anew when it speaks again. A battery that the configuration names is an error with the code NOT_ALLOWED.
    async fn delete_device(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The device.")] id: ID,
        #[graphql(desc = "Why, for the log.")] reason: Option<String>,
    ) -> Result<DeleteResult> {
        ctx.data::<Orders>()?.admit("delete_device", &id, reason.as_deref())?;
        let device = arguments::device_id("id", &id)?;
        let reason = reason.unwrap_or_else(|| "none given".to_owned());
        ctx.data::<Fleet>()?.devices.remove(device, reason).await.map_err(fleet_error)?;
        Ok(DeleteResult { success: true, id })
    }

    /// Stops storing one value of a device: it is left out of the device's readings, and counted there as disabled. That
    /// outlives restarts of the node.
    async fn disable_entity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The device.")] device_id: ID,
        #[graphql(desc = "The entity, as the device's entities list it.")] key: String,
        #[graphql(desc = "Why, for the log and for whoever finds it disabled.")] reason: String,
    ) -> Result<Entity> {
        set_entity(ctx, "disable_entity", (&device_id, key), Some(Word::Disabled), Some(reason)).await
    }

    /// Stores a value again that was disabled.
    async fn enable_entity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The device.")] device_id: ID,
        #[graphql(desc = "The entity, as the device's entities list it.")] key: String,
        #[graphql(desc = "Why, for the log.")] reason: Option<String>,
    ) -> Result<Entity> {
        set_entity(ctx, "enable_entity", (&device_id, key), None, reason).await
    }

    /// Marks a value of a device as removed until the device tells it again. What is stored of it stays.
    async fn delete_entity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The device.")] device_id: ID,
        #[graphql(desc = "The entity, as the device's entities list it.")] key: String,
        #[graphql(desc = "Why, for the log.")] reason: Option<String>,
    ) -> Result<Entity> {
        set_entity(ctx, "delete_entity", (&device_id, key), Some(Word::Removed), reason).await
    }

    /// Sends a command to a device, once. A battery's is answered with what the battery shows afterwards: only what its
    /// own state shows counts as EXECUTED. An MQTT device's is answered as soon as it is published, as SENT, or as PENDING
    /// while the device does not listen; commandStatusChanged and command show how it goes on. SENT with an error means
    /// that nobody knows what came of it: look at the device before sending another one. A battery whose section lacks
    /// allow_write = true takes none, which is an error with the code NOT_ALLOWED.
    async fn send_command(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "What, and to which device.")] input: SendCommandInput,
    ) -> Result<Command> {
        ctx.data::<Orders>()?.admit("send_command", &input.subject(), None)?;
        let request = input.into_request()?;
        let sent = ctx.data::<Fleet>()?.commands.send(request).await.map_err(fleet_error)?;
        Ok(sent.into())
    }

    /// Hands a dead letter in again at its device's door and answers once it is committed; only then it is no longer
    /// listed. In the ledger it is received once more. If its handler fails on it again, it is a new dead letter.
    async fn replay_dead_letter(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id, as deadLetters lists it.")] id: ID,
        #[graphql(desc = "Why, for the log.")] reason: String,
    ) -> Result<DeadLetter> {
        ctx.data::<Orders>()?.admit("replay_dead_letter", &id, Some(&reason))?;
        let letter = ctx.data::<Fleet>()?.dead_letters.replay(&id).await.map_err(fleet_error)?;
        Ok(DeadLetter::from(letter.as_ref()))
    }

    /// Puts a message that was set aside behind what waits for its outside broker, and answers once that is on disk; from
    /// then on it is no longer listed. If the broker hangs up on it again, it is set aside again.
    async fn forward_again(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id, as setAsideMessages lists it.")] id: ID,
        #[graphql(desc = "Why, for the log.")] reason: String,
    ) -> Result<SetAsideMessage> {
        ctx.data::<Orders>()?.admit("forward_again", &id, Some(&reason))?;
        let message = ctx.data::<Fleet>()?.dead_letters.forward_again(&id).await.map_err(fleet_error)?;
        Ok(message.into())
    }
}

async fn set_entity(
    ctx: &Context<'_>,
    order: &'static str,
    (device_id, key): (&ID, String),
    word: Option<Word>,
    reason: Option<String>,
) -> Result<Entity> {
    let subject: String = format!("{} {key}", **device_id).chars().take(200).collect();
    ctx.data::<Orders>()?.admit(order, &subject, reason.as_deref())?;
    let device = arguments::device_id("deviceId", device_id)?;
    let reason = reason.unwrap_or_else(|| "none given".to_owned());
    let set = ctx.data::<Fleet>()?.devices.set_entity(device, key, word, reason).await;
    set.map(Entity::from).map_err(fleet_error)
}
