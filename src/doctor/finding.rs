//! What the doctor says: one finding a check, and beneath it the next step. Values only; nothing here looks at anything.

use serde_json::json;

/// What part of the machine was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Area {
    Configuration,
    Ports,
    Serial,
    Bluetooth,
    Node,
    Disk,
    Clock,
    Limits,
}

impl Area {
    fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "config",
            Self::Ports => "ports",
            Self::Serial => "serial",
            Self::Bluetooth => "bluetooth",
            Self::Node => "node",
            Self::Disk => "disk",
            Self::Clock => "clock",
            Self::Limits => "limits",
        }
    }
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// It is as it should be.
    Ok,
    /// Good to know; nothing is in the way.
    Note,
    /// It runs, and may disappoint.
    Warning,
    /// It can't run, or loses data.
    Problem,
}

impl Level {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was found, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) area: Area,
    pub(super) level: Level,
    pub(super) what: String,
    /// Empty where nothing needs doing.
    pub(super) next_step: String,
}

impl Finding {
    /// Something that is as it should be.
    pub(super) fn ok(area: Area, what: impl Into<String>) -> Self {
        Self::new(area, Level::Ok, what, "")
    }

    pub(super) fn new(
        area: Area,
        level: Level,
        what: impl Into<String>,
        next_step: impl Into<String>,
    ) -> Self {
        Self { area, level, what: what.into(), next_step: next_step.into() }
    }

    /// For people: level, area and finding in a line, the next step indented beneath it.
    pub(super) fn text(&self) -> String {
        let what = self.what.replace('\n', "\n                     ");
        let line = format!("{:<8} {:<10}  {what}", self.level.as_str(), self.area.as_str());
        if self.next_step.is_empty() {
            line
        } else {
            format!("{line}\n                     → {}", self.next_step)
        }
    }

    /// For programs: one object in one line.
    pub(super) fn json(&self) -> String {
        let next_step = Some(&self.next_step).filter(|step| !step.is_empty());
        let (area, level) = (self.area.as_str(), self.level.as_str());
        json!({ "area": area, "level": level, "what": self.what, "next_step": next_step }).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_step_stands_beneath_its_finding() {
        let finding = Finding::new(Area::Ports, Level::Problem, "taken", "free it");
        assert_eq!(finding.text(), "problem  ports       taken\n                     → free it");
        assert_eq!(Finding::ok(Area::Clock, "fine").text(), "ok       clock       fine");
    }

    #[test]
    fn programs_get_the_same_words() {
        let finding: serde_json::Value =
            serde_json::from_str(&Finding::ok(Area::Disk, "fine").json()).unwrap();
        assert_eq!(finding, json!({ "area": "disk", "level": "ok", "what": "fine", "next_step": null }));
    }
}
