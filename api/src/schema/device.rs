//! A device as clients see it.

use std::collections::BTreeMap;

use async_graphql::{Context, Enum, ID, Json, Object, Result, SimpleObject};
use voltree_actors::fleet::{DeviceView, Fleet, GapRange, LatestMetric};

use super::entity::Entity;
use super::error::fleet_error;
use super::query::STORE_COST;
use super::timeline::Gap;
use super::{arguments, timeline};

/// A device as clients see it, built from what the fleet knows of it.
pub(super) struct Device(pub(super) DeviceView);

/// Whether a device can be heard, and if not, why not.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "voltree_model::DeviceState")]
pub(super) enum DeviceState {
    /// Heard from within its expected time.
    Online,
    /// Not heard from.
    Offline,
    /// Its actor failed too often and waits for its next try.
    Parked,
    /// Set aside by the system until an operator looks.
    Quarantined,
    /// Switched off by an operator, or configured no longer: only its history is left.
    Disabled,
}

/// What was deleted.
#[derive(SimpleObject)]
pub(super) struct DeleteResult {
    /// Always true: what can't be deleted is an error.
    pub(super) success: bool,
    /// Whose id it was.
    pub(super) id: ID,
}

/// How well the link to a polled device works.
#[derive(SimpleObject)]
pub(super) struct LinkQuality {
    /// The share of its last 100 polls that gave a reading, in percent.
    good_percent: f64,
    /// How long its last good poll took from its first question to its reading, in milliseconds.
    round_trip_ms: Option<f64>,
    /// Frames that failed their checks since the node started.
    bad_frames: u64,
}

/// The newest value of one of a device's metrics.
#[derive(SimpleObject)]
pub(super) struct MetricValue {
    /// The metric.
    name: String,
    /// Its value, in `unit`. Booleans are 1 and 0.
    value: f64,
    /// The unit as the device wrote it.
    unit: Option<String>,
    /// When it was measured, as RFC 3339 in UTC.
    time: String,
}

/// When a device's state changed, and why.
#[derive(SimpleObject)]
pub(super) struct StateChange {
    /// What it became.
    state: DeviceState,
    /// From when on, as RFC 3339 in UTC.
    since: String,
    /// Why, in a few words.
    reason: String,
}

/// A battery, sensor or other device of the fleet.
#[Object]
impl Device {
    /// Its identity: 1 to 64 of A-Z a-z 0-9 _ . -, the same in MQTT topics, GraphQL and REST.
    async fn id(&self) -> ID {
        ID(self.0.id.to_string())
    }

    /// What its operator calls it.
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// What sort of device it is: daly_bms, mqtt, …
    #[graphql(name = "type")]
    async fn kind(&self) -> &str {
        &self.0.kind
    }

    /// Whether it can be heard, and if not, why not.
    async fn state(&self) -> DeviceState {
        self.0.state.into()
    }

    /// The site it stands on.
    async fn site(&self) -> Option<&str> {
        self.0.site.as_deref()
    }

    /// The operator's labels, as an object of texts.
    async fn labels(&self) -> Option<Json<&BTreeMap<String, String>>> {
        Some(Json(&self.0.labels))
    }

    /// When its last reading arrived, as RFC 3339 in UTC; null before the first.
    async fn last_seen(&self) -> Option<String> {
        self.0.last_seen.map(|time| time.to_string())
    }

    /// When Voltree first knew of it, as RFC 3339 in UTC.
    async fn created_at(&self) -> String {
        self.0.created_at.to_string()
    }

    /// When its configuration last changed, as RFC 3339 in UTC.
    async fn updated_at(&self) -> String {
        self.0.updated_at.to_string()
    }

    /// How many of its readings are safely on disk.
    async fn readings(&self) -> u64 {
        self.0.readings
    }

    /// How well its link works; null for a device that is not polled, and before its first poll.
    async fn link_quality(&self) -> Option<LinkQuality> {
        let link = &self.0.link;
        Some(LinkQuality {
            good_percent: link.good_percent()?,
            round_trip_ms: link.round_trip().map(|took| took.as_secs_f64() * 1000.0),
            bad_frames: link.bad_frames(),
        })
    }

    /// The newest value of each of its metrics, by name, or only of those that are named.
    async fn latest(
        &self,
        #[graphql(desc = "Only these metrics; those the device does not have are left out.")] names: Option<
            Vec<String>,
        >,
    ) -> Vec<MetricValue> {
        let wanted = |metric: &&LatestMetric| {
            names.as_ref().is_none_or(|names| names.iter().any(|name| name == metric.name.as_str()))
        };
        self.0.latest.iter().filter(wanted).map(MetricValue::from).collect()
    }

    /// Its latest text values (state, fault codes, …), as an object of texts.
    async fn attributes(&self) -> Option<Json<&BTreeMap<String, String>>> {
        Some(Json(&self.0.attributes))
    }

    /// What it is made of, by key: each value that it tells or takes, and how that stands.
    #[graphql(complexity = "5 + child_complexity")]
    async fn entities(&self, ctx: &Context<'_>) -> Result<Vec<Entity>> {
        Ok(ctx.data::<Fleet>()?.devices.entities(&self.0.id).into_iter().map(Entity::from).collect())
    }

    /// The last changes of its state, newest first, at most 100; they are kept when the node restarts.
    async fn state_history(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The most changes to answer, 1 to 100.", default_with = "Some(50)")] limit: Option<
            i32,
        >,
    ) -> Result<Vec<StateChange>> {
        let limit = arguments::limit(limit, 50, 100)?;
        let changes = ctx.data::<Fleet>()?.devices.state_history(&self.0.id, limit);
        Ok(changes.into_iter().map(StateChange::from).collect())
    }

    /// The gaps in its time line, oldest first: where it was silent for longer than three of its usual periods, with the
    /// cause. Between them it is covered. What the range cuts counts with its part inside; nothing is missing before the
    /// device was known, nor after now.
    #[graphql(complexity = "STORE_COST + child_complexity")]
    async fn gaps(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The first moment that counts, as RFC 3339.")] from: String,
        #[graphql(desc = "The first moment that no longer counts, as RFC 3339.")] to: String,
        #[graphql(desc = "No silence that is shorter counts, in seconds, 1 to 86400.", default = 60)]
        least_seconds: u32,
        #[graphql(desc = "The most gaps to answer, 1 to 10000.", default_with = "Some(100)")] limit: Option<
            i32,
        >,
    ) -> Result<Vec<Gap>> {
        let (from, to) = arguments::range(&from, &to)?;
        let (least, limit) = (timeline::least(least_seconds)?, arguments::limit(limit, 100, 10_000)?);
        let range = GapRange { device: self.0.id.clone(), from, to, least };
        let gaps = ctx.data::<Fleet>()?.timelines.gaps(range, limit).await.map_err(fleet_error)?;
        Ok(gaps.into_iter().map(Gap::from).collect())
    }

    /// Its actor's path in the supervision tree.
    async fn actor_path(&self) -> &str {
        self.0.actor.as_str()
    }
}

impl From<voltree_actors::fleet::StateChange> for StateChange {
    fn from(change: voltree_actors::fleet::StateChange) -> Self {
        Self { state: change.state.into(), since: change.since.to_string(), reason: change.reason }
    }
}

impl From<&LatestMetric> for MetricValue {
    fn from(metric: &LatestMetric) -> Self {
        Self {
            name: metric.name.to_string(),
            value: metric.value,
            unit: metric.unit.as_ref().map(ToString::to_string),
            time: metric.at.to_string(),
        }
    }
}
