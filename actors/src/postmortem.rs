//! The report of a flight, and its examination: the recorded conversations are led again, and must come to the same
//! readings and end for the same reason.
//!
//! Pure: it starts nothing, asks no clock and touches no file. What lies outside codec and conversation (a kill, a fault
//! injected elsewhere) is named as such and never called reproduced.

use serde::{Deserialize, Serialize};
use voltree_model::{DeviceId, Timestamp};
use voltree_protocols::flight::{Call, Cycle, End, Flight, Publish, Replayed, replay_all};
use voltree_runtime::ExitReason;

use crate::registry::DeviceEntry;

/// The form of report that this build writes and reads.
const FORMAT: u32 = 1;

/// Which build wrote a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    /// The version.
    pub version: String,
    /// The commit, where it was known when it was built.
    pub commit: Option<String>,
    /// The processor and system it runs on.
    pub target: String,
}

impl std::fmt::Display for Build {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { version, commit, target } = self;
        write!(f, "voltree {version} ({}, {target})", commit.as_deref().unwrap_or("commit unknown"))
    }
}

/// A crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crash {
    /// When.
    pub at: Timestamp,
    /// Which incarnation.
    pub incarnation: u64,
    /// Why.
    pub reason: ExitReason,
}

/// A flight record as it is handed on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlightReport {
    /// The form of the report.
    pub format: u32,
    /// Who wrote it.
    pub build: Build,
    /// Whose it is.
    pub device: DeviceId,
    /// The device's type.
    pub kind: String,
    /// When it was written.
    pub written_at: Timestamp,
    /// How its actor crashed; none where the report was asked for without a crash.
    pub crash: Option<Crash>,
    /// The last conversations with a device that is asked.
    pub flight: Option<Flight>,
    /// The last payloads of a device that publishes.
    pub publishes: Vec<Publish>,
}

/// A text that is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// It can't be read.
    #[error("this is no flight report of voltree, or a damaged one")]
    Unreadable(#[source] serde_json::Error),
    /// It is of a later form.
    #[error("the report has form {0}, this build reads form {FORMAT}; use the build that wrote it")]
    Format(u64),
    /// What the conversation had learned does not fit its driver.
    #[error("the report can't be led again")]
    Memory(#[from] voltree_protocols::codec::BadMemory),
}

impl FlightReport {
    /// What is known of a device now; of a crash, what was known up to it.
    pub fn of(entry: &DeviceEntry, build: Build, now: Timestamp, crash: Option<Crash>) -> Self {
        let mut flight = entry.flight.flight();
        if let (Some(flight), Some(crash)) = (&mut flight, &crash) {
            flight.cycles.retain(|cycle| cycle.incarnation <= crash.incarnation);
        }
        let mut publishes = entry.publishes.publishes(&entry.id);
        publishes.retain(|publish| crash.as_ref().is_none_or(|crash| publish.at <= crash.at));
        let (device, kind) = (entry.id.clone(), entry.kind.to_owned());
        Self { format: FORMAT, build, device, kind, written_at: now, crash, flight, publishes }
    }

    /// Reads a report.
    pub fn parse(text: &[u8]) -> Result<Self, ReportError> {
        let value: serde_json::Value = serde_json::from_slice(text).map_err(ReportError::Unreadable)?;
        match value["format"].as_u64() {
            Some(format) if format != u64::from(FORMAT) => Err(ReportError::Format(format)),
            Some(_) | None => serde_json::from_value(value).map_err(ReportError::Unreadable),
        }
    }
}

/// What became of the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReasonFound {
    /// There was no crash to explain.
    NoCrash,
    /// It came to the same.
    Same(String),
    /// It lies outside of what can be led again; why.
    Outside(String),
    /// It came to something else.
    Different(String),
}

/// What an examination found.
#[derive(Debug, Clone, PartialEq)]
pub struct Postmortem {
    /// Cycles and payloads that were led again.
    pub repeated: usize,
    /// Those among them that gave a reading.
    pub readings: usize,
    /// Cycles that are recorded only in part, and could not be led again.
    pub cut_short: usize,
    /// Everything that came out otherwise, each with where it was.
    pub differences: Vec<String>,
    /// What became of the reason.
    pub reason: ReasonFound,
}

impl Postmortem {
    /// Whether readings and reason are the same, as far as they can be.
    pub fn is_same(&self) -> bool {
        self.differences.is_empty() && !matches!(self.reason, ReasonFound::Different(_))
    }
}

/// Leads everything in the report again.
pub fn examine(report: &FlightReport) -> Result<Postmortem, ReportError> {
    let cycles = report.flight.as_ref().map_or(&[][..], |flight| &flight.cycles);
    let replayed = report.flight.as_ref().map(replay_all).transpose()?.unwrap_or_default();
    let mut differences = Vec::new();
    let last = cycles.len().saturating_sub(1);
    for (index, (cycle, replayed)) in cycles.iter().zip(&replayed).enumerate() {
        let place = format!("cycle {} of {} at {}", index + 1, cycles.len(), cycle.at);
        differences.extend(replayed.differences.iter().map(|difference| format!("{place}: {difference}")));
        // The last one's panic is the reason's business.
        if let (Some(End::Panicked(message)), None, true) = (&replayed.end, &cycle.end, index != last) {
            differences.push(format!("{place}: the codec panics: {message}"));
        }
    }
    for publish in &report.publishes {
        let difference = publish.read_again(&report.device);
        differences.extend(difference.map(|difference| format!("payload at {}: {difference}", publish.at)));
    }
    let of_cycles = replayed.iter().filter(|replayed| matches!(replayed.end, Some(End::Reading(_)))).count();
    let of_payloads = report.publishes.iter().filter(|publish| publish.is_reading()).count();
    let cut_short = cycles.iter().filter(|cycle| cycle.cut_short).count();
    Ok(Postmortem {
        repeated: cycles.len() - cut_short + report.publishes.len(),
        readings: of_cycles + of_payloads,
        cut_short,
        differences,
        reason: reason(report.crash.as_ref(), cycles.last().zip(replayed.last())),
    })
}

fn reason(crash: Option<&Crash>, last: Option<(&Cycle, &Replayed)>) -> ReasonFound {
    // Only the conversation that was under way can have brought the actor down.
    let under_way = last.filter(|(cycle, _)| {
        cycle.end.is_none() && crash.is_none_or(|crash| crash.incarnation == cycle.incarnation)
    });
    let panicked = under_way.and_then(|(_, replayed)| match &replayed.end {
        Some(End::Panicked(message)) => Some(message.as_str()),
        Some(End::Reading(_) | End::Failed(_) | End::LinkFailed(_)) | None => None,
    });
    let injected = under_way.and_then(|(cycle, _)| match cycle.calls.last() {
        Some(Call::Injected { fault }) => Some(fault.as_str()),
        Some(Call::Began { .. } | Call::Asked { .. } | Call::Heard { .. } | Call::Woken { .. }) | None => {
            None
        }
    });
    match (crash.map(|crash| &crash.reason), panicked, injected) {
        (None, None, _) => ReasonFound::NoCrash,
        (None, Some(now), _) => ReasonFound::Different(format!("now the codec panics: {now}")),
        (Some(ExitReason::Panic { message, .. }), Some(now), _) if message == now => {
            ReasonFound::Same(format!("the codec panics: {now}"))
        }
        (Some(reason), Some(now), _) => {
            ReasonFound::Different(format!("the actor {reason}; now the codec panics: {now}"))
        }
        (Some(ExitReason::Panic { message, .. }), None, Some(fault)) if is_panic_of(fault, message) => {
            ReasonFound::Same(format!("at this place of the conversation struck {fault}"))
        }
        (Some(ExitReason::Frozen { .. }), None, Some(fault)) if fault.ends_with(": freeze") => {
            ReasonFound::Same(format!("at this place of the conversation struck {fault}"))
        }
        (Some(ExitReason::Panic { message, .. }), None, _) if message.starts_with("injected fault ") => {
            ReasonFound::Outside(format!("{message}, which is not on the way of the conversation"))
        }
        (Some(ExitReason::Panic { message, .. }), None, _) if under_way.is_some() => {
            ReasonFound::Different(format!("it panicked: {message}; now the conversation goes on"))
        }
        (Some(reason), None, _) => {
            ReasonFound::Outside(format!("the actor {reason}; nothing in the conversation does that"))
        }
    }
}

/// Whether this is the panic that the injected fault makes.
fn is_panic_of(fault: &str, message: &str) -> bool {
    fault.strip_suffix(": panic") == Some(message)
}

#[cfg(test)]
mod tests;
