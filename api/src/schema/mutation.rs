//! What clients may change.

use async_graphql::{Context, ID, Object, Result};
use voltree_actors::fleet::{Fleet, Kill};

use super::arguments;
use super::command::{Command, SendCommandInput};
use super::dead_letter::DeadLetter;
use super::device::Device;
use super::error::fleet_error;
use super::fault::{FaultInput, InjectedFault};
use super::orders::{OPERATOR, Orders};
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

    /// Sends a command to a device, once, and answers with what the device shows afterwards. Only what its own state
    /// shows counts as EXECUTED. SENT with an error means that nobody knows what came of it: look at the device before
    /// sending another one. A device whose section lacks allow_write = true takes none, which is an error with the code
    /// NOT_ALLOWED.
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
}
