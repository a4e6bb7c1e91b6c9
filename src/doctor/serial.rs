//! Which serial devices are there, and may this user read and write them?
//!
//! A port that another program holds is never opened: opening one moves its control lines, which some devices notice.

mod observe;

use std::path::{Path, PathBuf};

use super::finding::{Area, Finding, Level};
use super::processes::{Process, Processes, names};

/// What is known about one device.
#[derive(Debug, Clone)]
struct Facts {
    /// As it was asked for or found.
    path: PathBuf,
    /// The device behind all its names.
    target: PathBuf,
    /// Its name under /dev/serial/by-id, which stays when ports are plugged in another order.
    stable_name: Option<PathBuf>,
    /// Whether the configuration or the command line names it.
    wanted: bool,
    state: State,
}

#[derive(Debug, Clone)]
enum State {
    Missing,
    NoTerminal,
    Denied(Gate),
    Held(Vec<Process>),
    Locked,
    Failed(String),
    Usable,
}

/// Who would be let in where this user isn't.
#[derive(Debug, Clone)]
struct Gate {
    group: Option<String>,
    /// The user belongs to the group, but logged in before that was so.
    joined_since: bool,
}

/// Looks at every serial adapter of this machine and at the wanted devices.
pub(super) fn examine(wanted: Vec<PathBuf>, processes: &Processes, node: Option<u32>) -> Vec<Finding> {
    let facts = observe::devices(wanted, processes);
    let mut findings: Vec<_> = facts.iter().map(|facts| judge(facts, node)).collect();
    if facts.is_empty() {
        findings.push(Finding::new(
            Area::Serial,
            Level::Note,
            "no serial adapter is plugged in",
            "plug one in and look again; without hardware, `voltree demo` shows a simulated fleet",
        ));
    }
    if rustix::process::geteuid().is_root() {
        findings.push(Finding::new(
            Area::Serial,
            Level::Note,
            "this was looked at as root, who may open everything",
            "look again as the user that will run the node",
        ));
    }
    findings
}

fn is_adapter(target: &Path) -> bool {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    ["ttyUSB", "ttyACM", "ttyAMA"].iter().any(|prefix| name.starts_with(prefix))
}

fn judge(facts: &Facts, node: Option<u32>) -> Finding {
    let name = name(facts);
    // What nobody asked for can't be a problem.
    let trouble = if facts.wanted { Level::Problem } else { Level::Warning };
    let found = |level, what, next_step: String| Finding::new(Area::Serial, level, what, next_step);
    match &facts.state {
        State::Usable => usable(facts, &name),
        State::Missing => found(
            trouble,
            format!("{name} is not there"),
            "plug the adapter in, see its name with `ls -l /dev/serial/by-id/`, and give that as the port"
                .to_owned(),
        ),
        State::NoTerminal => found(
            trouble,
            format!("{name} is no serial device"),
            "give the adapter's name under /dev/serial/by-id/ as the port".to_owned(),
        ),
        State::Denied(gate) => {
            found(trouble, format!("your user may not read and write {name}"), gate.opened())
        }
        State::Held(holders) if holders.iter().any(|holder| Some(holder.pid) == node) => Finding::ok(
            Area::Serial,
            format!("{name} is used by the node that is running: {}", names(holders)),
        ),
        State::Held(holders) => found(
            if facts.wanted { Level::Problem } else { Level::Note },
            format!("{name} is in use by {}", names(holders)),
            "stop that program before a node uses the port; two readers take each other's answers".to_owned(),
        ),
        State::Locked => found(
            trouble,
            format!("{name} is locked by a program of another user"),
            format!("see which with `sudo fuser -v {}`, and stop it", facts.target.display()),
        ),
        State::Failed(error) => found(
            trouble,
            format!("{name} can't be opened: {error}"),
            "unplug the adapter and plug it in again; `sudo dmesg | tail` tells what the kernel thinks of it"
                .to_owned(),
        ),
    }
}

fn usable(facts: &Facts, name: &str) -> Finding {
    let what = format!("{name} can be opened for reading and writing");
    match &facts.stable_name {
        Some(stable) if *stable != facts.path => {
            let next =
                format!("give it as port = \"{}\": that name stays with the adapter", stable.display());
            Finding::new(Area::Serial, Level::Ok, what, next)
        }
        Some(_) | None => Finding::ok(Area::Serial, what),
    }
}

fn name(facts: &Facts) -> String {
    if facts.path == facts.target || facts.target.as_os_str().is_empty() {
        facts.path.display().to_string()
    } else {
        format!("{} ({})", facts.path.display(), facts.target.display())
    }
}

impl Gate {
    fn opened(&self) -> String {
        match &self.group {
            Some(_) if self.joined_since => {
                "you are in its group since you logged in last: log out and in again".to_owned()
            }
            Some(group) => format!("`sudo usermod -aG {group} $USER`, then log out and in again"),
            None => "its group is closed to users: a udev rule has to open it, such as \
                     SUBSYSTEM==\"tty\", GROUP=\"dialout\", MODE=\"0660\""
                .to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(wanted: bool, state: State) -> Facts {
        let target = PathBuf::from("/dev/ttyUSB0");
        Facts { path: target.clone(), target, stable_name: None, wanted, state }
    }

    fn denied(group: Option<&str>, joined_since: bool) -> State {
        State::Denied(Gate { group: group.map(str::to_owned), joined_since })
    }

    fn holder() -> State {
        State::Held(vec![Process { pid: 77, program: "minicom".to_owned() }])
    }

    #[test]
    fn a_closed_port_names_the_command_that_opens_it() {
        let finding = judge(&facts(true, denied(Some("dialout"), false)), None);
        assert_eq!(finding.level, Level::Problem);
        assert_eq!(finding.next_step, "`sudo usermod -aG dialout $USER`, then log out and in again");
    }

    #[test]
    fn who_joined_the_group_only_needs_to_log_in_again() {
        let finding = judge(&facts(true, denied(Some("dialout"), true)), None);
        assert!(!finding.next_step.contains("usermod"), "{finding:?}");
        let rule = judge(&facts(true, denied(None, false)), None);
        assert!(rule.next_step.contains("udev"), "{rule:?}");
    }

    #[test]
    fn what_nobody_asked_for_is_no_problem() {
        for state in
            [denied(Some("dialout"), false), holder(), State::Locked, State::Failed("EIO".to_owned())]
        {
            assert!(judge(&facts(false, state.clone()), None).level < Level::Problem, "{state:?}");
            assert_eq!(judge(&facts(true, state.clone()), None).level, Level::Problem, "{state:?}");
        }
    }

    #[test]
    fn a_port_in_use_names_the_program_unless_it_is_the_node() {
        let finding = judge(&facts(true, holder()), None);
        assert_eq!(finding.what, "/dev/ttyUSB0 is in use by minicom (pid 77)");
        assert_eq!(judge(&facts(true, holder()), Some(77)).level, Level::Ok);
    }

    #[test]
    fn the_name_that_stays_is_recommended_once() {
        let stable = PathBuf::from("/dev/serial/by-id/usb-FTDI-if00-port0");
        let passing = Facts { stable_name: Some(stable.clone()), ..facts(true, State::Usable) };
        assert!(judge(&passing, None).next_step.contains("usb-FTDI-if00-port0"));
        let staying = Facts { path: stable, ..passing };
        let finding = judge(&staying, None);
        assert_eq!(finding.next_step, "");
        assert!(finding.what.contains("(/dev/ttyUSB0)"), "{finding:?}");
    }
}
