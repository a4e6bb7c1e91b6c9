//! A plan of faults: what is done to a node and when, as data, and the pure schedule that follows from it. The same
//! plan and seed give the same schedule; whom a random kill strikes depends on who is there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Fault;
use super::kind::{millis, millis_or_none};

/// What is done to a node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What people call it.
    pub name: String,
    /// What it is to show, in a sentence.
    pub about: String,
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// How long it goes on, from the moment the node is ready.
    #[serde(rename = "duration_ms", with = "millis_or_none")]
    pub duration: Duration,
    /// Its steps.
    #[serde(rename = "step")]
    pub steps: Vec<Step>,
}

/// One thing that is done, once or again and again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// When it is done first.
    #[serde(rename = "at_ms", with = "millis_or_none")]
    pub at: Duration,
    /// How often it is done again until `until`.
    #[serde(default, rename = "every_ms", with = "millis")]
    pub every: Option<Duration>,
    /// When it is no longer done; the plan's end if nothing is said.
    #[serde(default, rename = "until_ms", with = "millis")]
    pub until: Option<Duration>,
    /// Kills one actor at random of those whose path matches: a path, or the beginning of one and a `*`.
    #[serde(default)]
    pub kill: Option<String>,
    /// Injects a fault.
    #[serde(default)]
    pub inject: Option<Fault>,
}

/// What is done at one moment of a plan.
#[derive(Debug, Clone, PartialEq)]
pub enum Deed {
    /// Kill one actor at random whose path matches.
    Kill(String),
    /// Inject a fault.
    Inject(Fault),
    /// Only let time go by.
    Nothing,
}

impl Plan {
    /// Everything that is done, in order of time.
    pub fn schedule(&self) -> Vec<(Duration, Deed)> {
        let mut schedule: Vec<_> = self.steps.iter().flat_map(|step| step.deeds(self.duration)).collect();
        // Stable: what a plan names first happens first.
        schedule.sort_by_key(|(at, _)| *at);
        schedule
    }
}

impl Step {
    fn deeds(&self, end: Duration) -> Vec<(Duration, Deed)> {
        let until = self.until.unwrap_or(end).min(end);
        if self.at >= end {
            return Vec::new();
        }
        let again = self.every.filter(|every| !every.is_zero());
        let mut times = vec![self.at];
        while let (Some(every), Some(last)) = (again, times.last().copied()) {
            if last + every >= until {
                break;
            }
            times.push(last + every);
        }
        let kill = self.kill.clone().map(Deed::Kill);
        let inject = self.inject.clone().map(Deed::Inject);
        let deeds: Vec<_> = kill.into_iter().chain(inject).collect();
        times.into_iter().flat_map(|at| deeds.iter().cloned().map(move |deed| (at, deed))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kill(at_ms: u64, every_ms: Option<u64>, path: &str) -> Step {
        Step {
            at: Duration::from_millis(at_ms),
            every: every_ms.map(Duration::from_millis),
            until: None,
            kill: Some(path.to_owned()),
            inject: None,
        }
    }

    #[test]
    fn a_schedule_is_in_order_and_ends_with_its_plan() {
        let plan = Plan {
            name: "test".to_owned(),
            about: String::new(),
            seed: 1,
            duration: Duration::from_millis(350),
            steps: vec![kill(100, Some(100), "node/devices/*"), kill(150, None, "node")],
        };
        let at: Vec<_> = plan.schedule().into_iter().map(|(at, _)| at.as_millis()).collect();
        assert_eq!(at, [100, 150, 200, 300]);
        let shorter = Plan { duration: Duration::from_millis(120), ..plan };
        assert_eq!(shorter.schedule().len(), 1, "what would come after its end is left out");
    }
}
