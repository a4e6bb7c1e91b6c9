//! The door for line protocol: each line is a reading of its device, counted in the ledger like a publish over MQTT.
//!
//! It belongs to the node and no actor stands behind it: what it accepts waits in the devices' inboxes. While one of
//! them is full the whole batch waits, and after a while its sender is told to come again; nothing is dropped for that.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::{Instant, timeout_at};
use voltree_model::{DeviceId, Metric, MetricName, MetricRef, Reading, RejectReason, Timestamp};
use voltree_protocols::influx::{
    KnownNames, Line, LineRejection, Lines, MAX_FIELDS, Mapping, OWN_MEASUREMENT, Precision,
};
use voltree_protocols::mqtt::{Credentials, DeviceTopic};
use voltree_runtime::{Outcome, Receipt, Refused, clock};
use voltree_storage::Entry;

use crate::access::Identity;
use crate::fault_points::NODE_CLOCK;
use crate::fleet::{Answer, FleetError, LineBatch, LineProblem, LocalFleet, WriteError, Writes, Written};
use crate::intake::{self, Inbound};
use crate::mqtt::Broker;
use crate::registry::DeviceEntry;

/// How long a batch may wait for space in inboxes.
const SPACE_PATIENCE: Duration = Duration::from_secs(10);
/// How long its commit may take after that.
const COMMIT_PATIENCE: Duration = Duration::from_secs(30);
/// So many readings of a device are handed over at once.
const AT_ONCE: usize = 256;
/// So many of all devices wait for that at most.
const MOST_WAITING: usize = 8_192;
/// How many problems are named in an answer.
const MOST_PROBLEMS: usize = 5;

/// The node's half of the door.
#[derive(Debug)]
pub struct LineDoor {
    broker: Arc<Broker>,
    mapping: Mapping,
}

/// A batch on its way in.
struct Batch<'a> {
    door: &'a LineDoor,
    identity: Identity,
    precision: Precision,
    now: Timestamp,
    space_until: Instant,
    names: KnownNames,
    /// The devices that may be written for, and what waits to be handed over to each.
    devices: Vec<Waiting>,
    /// Where each of them is, by the tag that names it.
    places: HashMap<String, usize>,
    /// How much waits for all of them.
    waiting: usize,
    /// A reading of which more lines may follow.
    open: Option<Open>,
    receipts: Vec<Receipt>,
    rejections: Vec<Entry>,
    written: Written,
}

/// What a device's lines came to, in their order, with the first line and the count of each.
struct Waiting {
    entry: Arc<DeviceEntry>,
    inbound: Vec<Inbound>,
    lines: Vec<(usize, usize)>,
}

/// A reading that Voltree itself wrote as several lines, one for each unit.
struct Open {
    first_line: usize,
    lines: usize,
    place: usize,
    reading: Reading,
    /// What the lines after the first have told.
    more: Vec<Metric>,
}

impl LineDoor {
    /// A door beside the MQTT listener, with its users.
    pub fn new(broker: Arc<Broker>, mapping: Mapping) -> Self {
        Self { broker, mapping }
    }

    async fn take_in(&self, batch: LineBatch) -> Result<Written, WriteError> {
        let credentials = batch
            .credentials
            .map(|(username, password)| Credentials { username, password: password.reveal().to_owned() });
        let identity = self.broker.judge(credentials, None, batch.peer).await?;
        let mut open = Batch {
            door: self,
            identity,
            precision: batch.precision,
            now: Timestamp::from_millis(self.broker.registry().faults().now_ms(NODE_CLOCK)),
            space_until: clock::monotonic() + SPACE_PATIENCE,
            names: KnownNames::default(),
            devices: Vec::new(),
            places: HashMap::new(),
            waiting: 0,
            open: None,
            receipts: Vec::new(),
            rejections: Vec::new(),
            written: Written::default(),
        };
        for (number, line) in Lines::new(&batch.body) {
            let line = line.map_err(|error| LineRejection::new(RejectReason::BadPayload, &error.to_string()));
            match line {
                Ok(line) => open.line(number, line).await?,
                Err(rejection) => open.reject_unnamed(number, rejection),
            }
        }
        open.close().await?;
        open.hand_over_all().await?;
        open.committed().await
    }
}

impl Batch<'_> {
    async fn line(&mut self, number: usize, line: Line<'_>) -> Result<(), WriteError> {
        let Some(place) = self.place(number, &line) else { return Ok(()) };
        let is_own = line.measurement == OWN_MEASUREMENT;
        match self.read(place, line) {
            Ok(reading) if is_own && self.joins(&reading) => {}
            Ok(reading) => {
                self.close().await?;
                let more = Vec::new();
                self.open = Some(Open { first_line: number, lines: 1, place, reading, more });
                if !is_own {
                    self.close().await?;
                }
            }
            Err(LineRejection { reason, detail }) => {
                self.note(number, detail.clone());
                self.put(place, (number, 1), Inbound::Rejected { at: self.now, reason, detail }).await?;
            }
        }
        Ok(())
    }

    /// Which of the batch's devices a line is of; whether it may be written for is found out once. A line that is nobody's
    /// is turned away.
    fn place(&mut self, number: usize, line: &Line<'_>) -> Option<usize> {
        let named = self.door.mapping.device_tag(line);
        if let Some(place) = named.and_then(|(_, name)| self.places.get(name)) {
            return Some(*place);
        }
        let device = match self.door.mapping.device(line) {
            Ok(device) => device,
            Err(rejection) => {
                self.reject_unnamed(number, rejection);
                return None;
            }
        };
        if !self.identity.may_publish(&DeviceTopic::Telemetry(device.clone()).to_string()) {
            let detail = format!("no right to write for the device {device}");
            self.reject_unnamed(number, LineRejection::new(RejectReason::NotAuthorized, &detail));
            return None;
        }
        if let Err(error) = self.door.broker.registry().hears(&device) {
            let (reason, detail) = (error.reason(), format!("{device}: {error}"));
            self.note(number, detail.clone());
            let device = Some(device);
            self.rejections.push(Entry::Rejected { device, origin: None, at: self.now, reason, detail });
            return None;
        }
        let entry = self.door.broker.registry().adopt(&device, self.now);
        self.devices.push(Waiting { entry, inbound: Vec::new(), lines: Vec::new() });
        let place = self.devices.len() - 1;
        self.places.insert(device.as_str().to_owned(), place);
        Some(place)
    }

    /// Adds a line to the reading that the lines before it began, if it is of the same device and time.
    fn joins(&mut self, next: &Reading) -> bool {
        let Some(Open { lines, reading, more, .. }) = &mut self.open else { return false };
        let fits = reading.metrics.len() + more.len() + next.metrics.len() <= MAX_FIELDS;
        // What says something again is a reading of its own, to be counted as one.
        let says_again = |name: &MetricName| {
            reading.metrics.iter().any(|known| known.name == name)
                || more.iter().any(|known| known.name == *name)
        };
        if reading.device != next.device
            || reading.at != next.at
            || !fits
            || next.metrics.iter().any(|metric| says_again(metric.name))
        {
            return false;
        }
        more.extend(next.metrics.iter().map(MetricRef::to_metric));
        reading.attributes.extend_from_slice(&next.attributes);
        reading.left_out.extend_from_slice(&next.left_out);
        *lines += 1;
        true
    }

    /// Puts the reading of which more lines might have followed with those that are to be handed over.
    async fn close(&mut self) -> Result<(), WriteError> {
        let Some(Open { first_line, lines, place, mut reading, more }) = self.open.take() else {
            return Ok(());
        };
        if !more.is_empty() {
            reading.metrics = reading.metrics.iter().map(MetricRef::to_metric).chain(more).collect();
        }
        let inbound = self.devices[place].entry.inbound(reading, self.now);
        self.put(place, (first_line, lines), inbound).await
    }

    async fn put(&mut self, place: usize, lines: (usize, usize), inbound: Inbound) -> Result<(), WriteError> {
        let waiting = &mut self.devices[place];
        waiting.inbound.push(inbound);
        waiting.lines.push(lines);
        self.waiting += 1;
        if waiting.inbound.len() >= AT_ONCE {
            return self.hand_over(place).await;
        }
        if self.waiting >= MOST_WAITING { self.hand_over_all().await } else { Ok(()) }
    }

    async fn hand_over_all(&mut self) -> Result<(), WriteError> {
        for place in 0..self.devices.len() {
            self.hand_over(place).await?;
        }
        Ok(())
    }

    /// Gives a device what waits for it: all at once, or one after the other if there is no room for all.
    async fn hand_over(&mut self, place: usize) -> Result<(), WriteError> {
        let waiting = &mut self.devices[place];
        let (inbound, lines) = (std::mem::take(&mut waiting.inbound), std::mem::take(&mut waiting.lines));
        let entry = Arc::clone(&waiting.entry);
        self.waiting -= inbound.len();
        if inbound.is_empty() {
            return Ok(());
        }
        let readings = inbound.iter().zip(&lines).filter(|(inbound, _)| is_reading(inbound));
        let taken: usize = readings.map(|(_, (_, lines))| lines).sum();
        match entry.intake.try_accept_all(inbound) {
            Ok(receipt) => {
                entry.arrived(self.now);
                self.receipts.push(receipt);
                self.written.taken += taken;
            }
            Err(Refused::Busy(inbound) | Refused::Closed(inbound)) => {
                for (inbound, (number, lines)) in inbound.into_iter().zip(lines) {
                    self.accept(number, &entry, inbound, lines).await?;
                }
            }
        }
        Ok(())
    }

    fn read(&mut self, place: usize, line: Line<'_>) -> Result<Reading, LineRejection> {
        let Self { now, precision, .. } = *self;
        let entry = &self.devices[place].entry;
        let own_time = || entry.own_time(now);
        let reading =
            self.door.mapping.reading(&entry.id, line, precision, now, own_time, &mut self.names)?;
        if self.door.broker.registry().is_too_old(&entry.id, reading.at, now) {
            let detail = format!("{} is older than readings of {} are kept", reading.at, entry.id);
            return Err(LineRejection::new(RejectReason::TooOld, &detail));
        }
        Ok(reading)
    }

    /// Waits for space as long as the whole batch may.
    async fn accept(
        &mut self,
        number: usize,
        entry: &DeviceEntry,
        inbound: Inbound,
        lines: usize,
    ) -> Result<(), WriteError> {
        let is_reading = is_reading(&inbound);
        match timeout_at(self.space_until, entry.intake.accept(inbound)).await {
            Ok(Ok(receipt)) => {
                entry.arrived(self.now);
                self.receipts.push(receipt);
                self.written.taken += if is_reading { lines } else { 0 };
                Ok(())
            }
            Ok(Err(refused @ Refused::Closed(_))) => {
                let (reason, detail) = (RejectReason::Parked, refused.to_string());
                if is_reading {
                    self.note(number, format!("{}: {detail}", entry.id));
                }
                let device = Some(entry.id.clone());
                self.rejections.push(Entry::Rejected { device, origin: None, at: self.now, reason, detail });
                Ok(())
            }
            Ok(Err(Refused::Busy(_))) | Err(_) => Err(WriteError::Busy),
        }
    }

    /// Counts a line that is nobody's on the node itself.
    fn reject_unnamed(&mut self, number: usize, rejection: LineRejection) {
        let LineRejection { reason, detail } = rejection;
        self.note(number, detail.clone());
        self.rejections.push(Entry::Rejected { device: None, origin: None, at: self.now, reason, detail });
    }

    fn note(&mut self, line: usize, detail: String) {
        self.written.rejected += 1;
        if self.written.problems.len() < MOST_PROBLEMS {
            self.written.problems.push(LineProblem { line, detail });
        }
    }

    /// Waits until all of it is on disk.
    async fn committed(self) -> Result<Written, WriteError> {
        let Self { receipts, rejections, written, door, .. } = self;
        let all = async {
            for receipt in receipts {
                match receipt.await {
                    Ok(Outcome::Done | Outcome::DeadLettered) => {}
                    Ok(Outcome::Unknown) | Err(_) => return Err(WriteError::NotCommitted),
                }
            }
            if !rejections.is_empty() {
                let counted = intake::submit(door.broker.journal(), rejections).await;
                counted.ok().and_then(Result::ok).ok_or(WriteError::NotCommitted)?;
            }
            Ok(written)
        };
        tokio::time::timeout(COMMIT_PATIENCE, all).await.unwrap_or(Err(WriteError::NotCommitted))
    }
}

const fn is_reading(inbound: &Inbound) -> bool {
    matches!(inbound, Inbound::Reading(_))
}

impl Writes for LocalFleet {
    fn write_lines(&self, batch: LineBatch) -> BoxFuture<'_, Result<Written, WriteError>> {
        Box::pin(self.lines.take_in(batch))
    }

    fn oldest_kept(&self, device: &DeviceId) -> Option<Timestamp> {
        self.store.age_limits().oldest(device, crate::now())
    }

    fn keep_for_ever(&self, device: DeviceId) -> Answer<'_, ()> {
        let store = Arc::clone(&self.store);
        Box::pin(async move {
            let kept = tokio::task::spawn_blocking(move || store.keep_for_ever(&device)).await;
            let kept = kept.map_err(|error| FleetError::Store(error.to_string()))?;
            kept.map_err(|error| FleetError::Store(error.to_string()))
        })
    }
}
