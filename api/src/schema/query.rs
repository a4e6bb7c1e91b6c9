//! What clients may ask.

use async_graphql::{Context, ID, MergedObject, Object, Result};
use voltree_actors::fleet::{self, AlertView, Fleet, PointRange};
use voltree_model::DeviceId;

use super::alert::{Alert, AlertSeverity};
use super::arguments;
use super::candidate::DeviceCandidate;
use super::command::Command;
use super::crash_report::CrashReport;
use super::dead_letter::DeadLetter;
use super::device::Device;
use super::error::{fleet_error, unknown_device};
use super::fault::{FaultPoint, InjectedFault};
use super::history::HistoryQuery;
use super::ledger::LedgerRow;
use super::node::NodeView;
use super::set_aside::SetAsideMessage;
use super::supervision::{SupervisedActor, SupervisionEvent};
use super::telemetry::{TelemetryAggregation, TelemetryPoint, TelemetrySeries};
use crate::NodeInfo;

/// The most samples one answer may have.
const MAX_POINTS: usize = 100_000;
const DEFAULT_POINTS: usize = 1_000;
/// The most alerts or events one answer may have.
const MAX_ENTRIES: usize = 10_000;
const DEFAULT_ENTRIES: usize = 100;
/// The most commands one answer may have: as many as are remembered.
const MAX_COMMANDS: usize = 500;
/// What a question to the store costs, against the schema's limit of complexity.
pub(super) const STORE_COST: usize = 50;
/// What a list of devices, actors or ledger rows costs.
const LIST_COST: usize = 10;

/// Every question but those for charts and balances.
#[derive(Default)]
pub(crate) struct MainQuery;

/// The root of all questions.
#[derive(MergedObject, Default)]
#[graphql(name = "Query")]
pub(crate) struct Query(MainQuery, HistoryQuery);

/// What may be asked.
#[Object]
impl MainQuery {
    /// One device; null if the fleet knows none of this id.
    async fn device(&self, ctx: &Context<'_>, #[graphql(desc = "Its id.")] id: ID) -> Result<Option<Device>> {
        let id = arguments::device_id("id", &id)?;
        Ok(doors(ctx)?.devices.get(&id).map(Device))
    }

    /// All devices, by id.
    #[graphql(complexity = "LIST_COST + child_complexity")]
    async fn devices(&self, ctx: &Context<'_>) -> Result<Vec<Device>> {
        Ok(doors(ctx)?.devices.list().into_iter().map(Device).collect())
    }

    /// Who publishes and is no device: those who wait to be adopted, and those whom an operator sent away, by id.
    #[graphql(complexity = "LIST_COST + child_complexity")]
    async fn device_candidates(&self, ctx: &Context<'_>) -> Result<Vec<DeviceCandidate>> {
        Ok(doors(ctx)?.devices.candidates().into_iter().map(DeviceCandidate::from).collect())
    }

    /// One command; null if none of this id is remembered.
    async fn command(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
    ) -> Result<Option<Command>> {
        Ok(doors(ctx)?.commands.get(&id).map_err(fleet_error)?.map(Command::from))
    }

    /// The last commands, newest first; the node remembers 500, also across its restarts.
    #[graphql(complexity = "LIST_COST + child_complexity")]
    async fn commands(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those to this device.")] device_id: Option<ID>,
        #[graphql(desc = "The most commands to answer, 1 to 500.", default_with = "Some(100)")] limit: Option<
            i32,
        >,
    ) -> Result<Vec<Command>> {
        let device = arguments::optional_device_id("deviceId", device_id.as_ref())?;
        let limit = arguments::limit(limit, DEFAULT_ENTRIES, MAX_COMMANDS)?;
        let commands = doors(ctx)?.commands.list(device.as_ref(), limit).map_err(fleet_error)?;
        Ok(commands.into_iter().map(Command::from).collect())
    }

    /// The samples of one metric in a range of time: the first `limit` of them, oldest first.
    #[graphql(complexity = "points_cost(limit) + child_complexity")]
    async fn device_telemetry(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The device.")] device_id: ID,
        #[graphql(desc = "The metric, as deviceMetrics names it.")] metric_name: String,
        #[graphql(desc = "The first moment that counts, as RFC 3339.")] from: String,
        #[graphql(desc = "The first moment that no longer counts, as RFC 3339.")] to: String,
        #[graphql(desc = "The most samples to answer, 1 to 100000.", default_with = "Some(1000)")]
        limit: Option<i32>,
    ) -> Result<TelemetrySeries> {
        let range = point_range(&device_id, &metric_name, &from, &to)?;
        let limit = arguments::limit(limit, DEFAULT_POINTS, MAX_POINTS)?;
        let series = doors(ctx)?.telemetry.points(range, limit).await.map_err(fleet_error)?;
        Ok(series.into())
    }

    /// Mean, smallest and largest sample of one metric in intervals of equal width, aligned to
    /// 1970-01-01T00:00:00Z, oldest first. Intervals without samples are left out.
    #[graphql(complexity = "STORE_COST + child_complexity")]
    async fn device_telemetry_aggregated(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The device.")] device_id: ID,
        #[graphql(desc = "The metric, as deviceMetrics names it.")] metric_name: String,
        #[graphql(desc = "The first moment that counts, as RFC 3339.")] from: String,
        #[graphql(desc = "The first moment that no longer counts, as RFC 3339.")] to: String,
        #[graphql(
            desc = "The width: a whole number of minutes, hours or days, such as \"15 minutes\" or \"1 day\"; \
                    the range may hold 10000 of them."
        )]
        interval: String,
    ) -> Result<Vec<TelemetryAggregation>> {
        let range = point_range(&device_id, &metric_name, &from, &to)?;
        let interval = arguments::interval(&interval)?;
        arguments::check_buckets(range.from, range.to, interval)?;
        let buckets = doors(ctx)?.telemetry.aggregated(range, interval).await.map_err(fleet_error)?;
        Ok(buckets.into_iter().map(TelemetryAggregation::from).collect())
    }

    /// The newest sample of one metric; null if the device has none.
    async fn device_latest_metric(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The device.")] device_id: ID,
        #[graphql(desc = "The metric, as deviceMetrics names it.")] metric_name: String,
    ) -> Result<Option<TelemetryPoint>> {
        let device = arguments::device_id("deviceId", &device_id)?;
        let metric = arguments::metric_name("metricName", &metric_name)?;
        let fleet = doors(ctx)?;
        require_device(fleet, &device)?;
        let point = fleet.telemetry.latest(&device, &metric);
        Ok(point.map(|point| TelemetryPoint::new(&metric, &point)))
    }

    /// The names of the metrics a device has.
    async fn device_metrics(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The device.")] device_id: ID,
    ) -> Result<Vec<String>> {
        let device = arguments::device_id("deviceId", &device_id)?;
        let names = doors(ctx)?.telemetry.metrics(&device).ok_or_else(|| unknown_device(&device))?;
        Ok(names.into_iter().map(String::from).collect())
    }

    /// The alerts whose condition holds now, newest first.
    #[graphql(complexity = "LIST_COST + child_complexity")]
    async fn active_alerts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those of this device.")] device_id: Option<ID>,
        #[graphql(desc = "Only those of this severity.")] severity: Option<AlertSeverity>,
    ) -> Result<Vec<Alert>> {
        let device = arguments::optional_device_id("deviceId", device_id.as_ref())?;
        let severity = severity.map(fleet::AlertSeverity::from);
        let mut alerts = doors(ctx)?.alerts.active();
        alerts.retain(|alert| is_of(alert, device.as_ref()) && severity.is_none_or(|s| s == alert.severity));
        Ok(alerts.into_iter().map(Alert).collect())
    }

    /// The alerts that began in a range of time, active and ended ones, newest first.
    #[graphql(complexity = "STORE_COST + child_complexity")]
    async fn alert_history(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those of this device.")] device_id: Option<ID>,
        #[graphql(desc = "The first moment that counts, as RFC 3339.")] from: String,
        #[graphql(desc = "The first moment that no longer counts, as RFC 3339.")] to: String,
        #[graphql(desc = "The most alerts to answer, 1 to 10000.", default_with = "Some(100)")] limit: Option<
            i32,
        >,
    ) -> Result<Vec<Alert>> {
        let device = arguments::optional_device_id("deviceId", device_id.as_ref())?;
        let (from, to) = arguments::range(&from, &to)?;
        let limit = arguments::limit(limit, DEFAULT_ENTRIES, MAX_ENTRIES)?;
        let alerts = doors(ctx)?.alerts.history(from, to).into_iter();
        Ok(alerts.filter(|alert| is_of(alert, device.as_ref())).take(limit).map(Alert).collect())
    }

    /// Every actor of the node, by path; a supervisor stands before its children.
    #[graphql(complexity = "LIST_COST + child_complexity")]
    async fn supervision_tree(&self, ctx: &Context<'_>) -> Result<Vec<SupervisedActor>> {
        Ok(doors(ctx)?.supervision.tree().iter().map(SupervisedActor::from).collect())
    }

    /// What happened in the tree lately, newest first. The node keeps the last 10000 events, also across its restarts.
    #[graphql(complexity = "LIST_COST + child_complexity")]
    async fn supervision_events(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The most events to answer, 1 to 10000.", default_with = "Some(100)")] limit: Option<
            i32,
        >,
        #[graphql(desc = "Only those of the actor at this path, as supervisionTree lists it.")] path: Option<
            String,
        >,
    ) -> Result<Vec<SupervisionEvent>> {
        let limit = arguments::limit(limit, DEFAULT_ENTRIES, MAX_ENTRIES)?;
        let events = doors(ctx)?.supervision.events(limit, path.as_deref());
        Ok(events.iter().map(|event| SupervisionEvent::from(event.as_ref())).collect())
    }

    /// What became of each reading: the node's own row first, then every device by id, or one device's row.
    #[graphql(complexity = "LIST_COST + child_complexity")]
    async fn ledger(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only this device's row.")] device_id: Option<ID>,
    ) -> Result<Vec<LedgerRow>> {
        let ledgers = &doors(ctx)?.ledgers;
        let rows = match arguments::optional_device_id("deviceId", device_id.as_ref())? {
            Some(device) => vec![ledgers.of(&device).ok_or_else(|| unknown_device(&device))?],
            None => ledgers.all(),
        };
        Ok(rows.into_iter().map(LedgerRow::from).collect())
    }

    /// What handlers failed on three times and was set aside, the newest first. It survives restarts of the node until it
    /// is replayed.
    #[graphql(complexity = "LIST_COST + child_complexity")]
    async fn dead_letters(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those of this device.")] device_id: Option<ID>,
        #[graphql(desc = "The most letters to answer, 1 to 10000.", default_with = "Some(100)")]
        limit: Option<i32>,
    ) -> Result<Vec<DeadLetter>> {
        let device = arguments::optional_device_id("deviceId", device_id.as_ref())?;
        let limit = arguments::limit(limit, DEFAULT_ENTRIES, MAX_ENTRIES)?;
        let letters = doors(ctx)?.dead_letters.letters().into_iter();
        let wanted = letters.filter(|letter| device.as_ref().is_none_or(|device| *device == letter.device));
        Ok(wanted.take(limit).map(|letter| DeadLetter::from(letter.as_ref())).collect())
    }

    /// Messages that don't go to an outside broker, because that hung up on each of them three times while nothing else was
    /// under way; the newest first. They survive restarts of the node until they are sent again.
    #[graphql(complexity = "LIST_COST + child_complexity")]
    async fn set_aside_messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those for this broker.")] broker: Option<String>,
        #[graphql(desc = "The most messages to answer, 1 to 10000.", default_with = "Some(100)")]
        limit: Option<i32>,
    ) -> Result<Vec<SetAsideMessage>> {
        let limit = arguments::limit(limit, DEFAULT_ENTRIES, MAX_ENTRIES)?;
        let messages = doors(ctx)?.dead_letters.messages().map_err(fleet_error)?.into_iter();
        let wanted =
            messages.filter(|message| broker.as_ref().is_none_or(|broker| *broker == message.broker));
        Ok(wanted.take(limit).map(SetAsideMessage::from).collect())
    }

    /// The reports of devices' actors that crashed, the newest first. The node keeps the last 20, also across its restarts.
    #[graphql(complexity = "LIST_COST + child_complexity")]
    async fn crash_reports(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those of this device.")] device_id: Option<ID>,
    ) -> Result<Vec<CrashReport>> {
        let device = arguments::optional_device_id("deviceId", device_id.as_ref())?;
        let reports = doors(ctx)?.flights.crash_reports().into_iter();
        let wanted = reports.filter(|report| device.as_ref().is_none_or(|device| *device == report.device));
        Ok(wanted.map(CrashReport::from).collect())
    }

    /// What was last said between the node and a device, byte for byte, as the JSON text that `voltree postmortem` reads.
    /// It holds no secrets.
    #[graphql(complexity = "STORE_COST + child_complexity")]
    async fn flight_record(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The device.")] device_id: ID,
    ) -> Result<String> {
        let device = arguments::device_id("deviceId", &device_id)?;
        let text = doors(ctx)?.flights.flight_record(&device).await.map_err(fleet_error)?;
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// The places in the node where injectFault can make faults strike.
    async fn fault_points(&self, ctx: &Context<'_>) -> Result<Vec<FaultPoint>> {
        Ok(doors(ctx)?.faults.points().into_iter().map(FaultPoint::from).collect())
    }

    /// The faults that strike now.
    async fn active_faults(&self, ctx: &Context<'_>) -> Result<Vec<InjectedFault>> {
        Ok(doors(ctx)?.faults.active_faults().into_iter().map(InjectedFault::from).collect())
    }

    /// The node that answers.
    async fn node<'a>(&self, ctx: &Context<'a>) -> Result<NodeView<'a>> {
        Ok(NodeView(ctx.data::<NodeInfo>()?))
    }
}

fn doors<'a>(ctx: &Context<'a>) -> Result<&'a Fleet> {
    ctx.data::<Fleet>()
}

fn point_range(device: &ID, metric: &str, from: &str, to: &str) -> Result<PointRange> {
    let device = arguments::device_id("deviceId", device)?;
    let metric = arguments::metric_name("metricName", metric)?;
    let (from, to) = arguments::range(from, to)?;
    Ok(PointRange { device, metric, from, to })
}

fn require_device(fleet: &Fleet, device: &DeviceId) -> Result<()> {
    fleet.devices.get(device).map(|_| ()).ok_or_else(|| unknown_device(device))
}

fn is_of(alert: &AlertView, device: Option<&DeviceId>) -> bool {
    device.is_none_or(|device| *device == alert.device)
}

/// The more samples may be answered, the more the question costs, so that aliases can't multiply large answers.
fn points_cost(limit: Option<i32>) -> usize {
    let limit = limit.map_or(DEFAULT_POINTS, |limit| usize::try_from(limit).unwrap_or(0));
    STORE_COST + limit.min(MAX_POINTS) / 100
}
