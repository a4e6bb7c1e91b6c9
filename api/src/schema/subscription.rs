//! What clients may watch.
//!
//! A client that reads too slowly is told how many events it missed and goes on; it never slows the node down.

use std::collections::VecDeque;
use std::sync::Arc;

use async_graphql::{Context, Error, ErrorExtensions, ID, Result, Subscription};
use futures::Stream;
use futures::stream::unfold;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use voltree_actors::fleet::{CommandView, Devices, Fleet, FleetError, LiveReading};
use voltree_model::DeviceId;

use super::alert::Alert;
use super::arguments;
use super::command::Command;
use super::device::Device;
use super::error::{Code, coded, fleet_error, unknown_device};
use super::supervision::SupervisionEvent;
use super::telemetry::TelemetryPoint;

/// The root of everything that can be watched.
pub(crate) struct Subscription;

/// What may be watched, over WebSocket with the protocol graphql-transport-ws.
#[Subscription]
impl Subscription {
    /// Every reading of a device as soon as it is safely on disk, one message per metric. A client that reads too
    /// slowly gets an error with the code LAGGED that says how many readings it missed, and then goes on.
    async fn telemetry_received(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The device.")] device_id: ID,
    ) -> Result<impl Stream<Item = Result<TelemetryPoint>>> {
        let device = arguments::device_id("deviceId", &device_id)?;
        let fleet = ctx.data::<Fleet>()?;
        fleet.devices.get(&device).ok_or_else(|| unknown_device(&device))?;
        Ok(points_of(device, fleet.telemetry.live()))
    }

    /// A device whenever its state changes, and at most once a second while it goes on talking; every device if none is
    /// named. A client that reads too slowly gets an error with the code LAGGED that says how many changes it missed,
    /// and then goes on.
    async fn device_updated(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only this device.")] device_id: Option<ID>,
    ) -> Result<impl Stream<Item = Result<Device>>> {
        let wanted = arguments::optional_device_id("deviceId", device_id.as_ref())?;
        let devices = Arc::clone(&ctx.data::<Fleet>()?.devices);
        if let Some(device) = &wanted {
            devices.get(device).ok_or_else(|| unknown_device(device))?;
        }
        Ok(updates_of(devices, wanted))
    }

    /// How far a command is now, and then each of its changes. One that is not remembered is an error with the code
    /// NOT_FOUND. A client that reads too slowly gets an error with the code LAGGED, and then goes on.
    async fn command_status_changed(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The command, as sendCommand answered it.")] command_id: ID,
    ) -> Result<impl Stream<Item = Result<Command>>> {
        let commands = &ctx.data::<Fleet>()?.commands;
        let changes = commands.watch();
        let current = commands.get(&command_id).map_err(fleet_error)?;
        let current =
            current.ok_or_else(|| fleet_error(FleetError::UnknownCommand(command_id.to_string())))?;
        Ok(changes_of(current, changes))
    }

    /// Everything that happens to the node's actors from now on. A client that reads too slowly gets an error with
    /// the code LAGGED that says how many events it missed, and then goes on.
    async fn supervision_event(
        &self,
        ctx: &Context<'_>,
    ) -> Result<impl Stream<Item = Result<SupervisionEvent>>> {
        let events = ctx.data::<Fleet>()?.supervision.subscribe();
        Ok(each(events, "supervision events", |event| SupervisionEvent::from(event.as_ref())))
    }

    /// Every alert as it begins, from now on. A client that reads too slowly gets an error with the code LAGGED that
    /// says how many alerts it missed, and then goes on.
    async fn alert_triggered(&self, ctx: &Context<'_>) -> Result<impl Stream<Item = Result<Alert>>> {
        let alerts = ctx.data::<Fleet>()?.alerts.subscribe();
        Ok(each(alerts, "alerts", |alert| Alert(alert.as_ref().clone())))
    }
}

/// Everything that a channel brings, in the shape in which it is shown.
fn each<T: Clone, U>(
    events: Receiver<T>,
    what: &'static str,
    show: fn(T) -> U,
) -> impl Stream<Item = Result<U>> {
    unfold(events, move |mut events| async move {
        let event = match events.recv().await {
            Ok(event) => Ok(show(event)),
            Err(RecvError::Lagged(missed)) => Err(lagged(missed, what)),
            Err(RecvError::Closed) => return None,
        };
        Some((event, events))
    })
}

/// A command as it is, and as it changes.
fn changes_of(current: CommandView, changes: Receiver<CommandView>) -> impl Stream<Item = Result<Command>> {
    let id = current.id.clone();
    unfold((Some(current), changes, id), |(first, mut changes, id)| async move {
        if let Some(first) = first {
            return Some((Ok(Command::from(first)), (None, changes, id)));
        }
        let change = loop {
            match changes.recv().await {
                Ok(command) if command.id == id => break Ok(Command::from(command)),
                Ok(_another) => {}
                Err(RecvError::Lagged(missed)) => break Err(lagged(missed, "changes of commands")),
                Err(RecvError::Closed) => return None,
            }
        };
        Some((change, (None, changes, id)))
    })
}

fn updates_of(devices: Arc<dyn Devices>, wanted: Option<DeviceId>) -> impl Stream<Item = Result<Device>> {
    let changes = devices.changes();
    unfold((changes, devices, wanted), |(mut changes, devices, wanted)| async move {
        let update = loop {
            match changes.recv().await {
                Ok(device) if wanted.as_ref().is_none_or(|wanted| *wanted == device) => {
                    // A device that was removed in between has nothing left to show.
                    if let Some(view) = devices.get(&device) {
                        break Ok(Device(view));
                    }
                }
                Ok(_another) => {}
                Err(RecvError::Lagged(missed)) => break Err(lagged(missed, "changes of devices")),
                Err(RecvError::Closed) => return None,
            }
        };
        Some((update, (changes, devices, wanted)))
    })
}

fn points_of(
    device: DeviceId,
    readings: Receiver<LiveReading>,
) -> impl Stream<Item = Result<TelemetryPoint>> {
    let state = (readings, VecDeque::new());
    unfold(state, move |(mut readings, mut ready)| {
        let device = device.clone();
        async move {
            loop {
                if let Some(point) = ready.pop_front() {
                    return Some((Ok(point), (readings, ready)));
                }
                match readings.recv().await {
                    Ok(reading) if reading.device == device => {
                        ready.extend(
                            reading.metrics.iter().map(|metric| TelemetryPoint::live(metric, reading.at)),
                        );
                    }
                    Ok(_of_another_device) => {}
                    Err(RecvError::Lagged(missed)) => {
                        return Some((Err(lagged(missed, "readings of the fleet")), (readings, ready)));
                    }
                    Err(RecvError::Closed) => return None,
                }
            }
        }
    })
}

fn lagged(missed: u64, what: &str) -> Error {
    coded(Code::Lagged, format!("this client reads too slowly and missed {missed} {what}"))
        .extend_with(|_, extensions| extensions.set("missed", missed))
}
