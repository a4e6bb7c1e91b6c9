//! Would Bluetooth work here? Only batteries on the air need it, so nothing that is found is more than a note.
//!
//! Looks at what can be seen from outside: the system bus's socket, whether bluetoothd runs, the kernel's adapters and
//! the radio's switch. It does not speak D-Bus, so whether BlueZ has powered an adapter it can't say and doesn't.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::finding::{Area, Finding, Level};
use super::processes::Processes;

const SYSTEM_BUS: &str = "/run/dbus/system_bus_socket";

/// What is known about Bluetooth on this machine.
#[derive(Debug)]
struct Facts {
    /// Adapters that the kernel sees, by name (hci0).
    adapters: Vec<String>,
    blocked: Option<Block>,
    bluetoothd: bool,
}

/// What keeps the radio off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Block {
    Switch,
    Software,
}

/// What came of knocking at the system bus.
#[derive(Debug)]
enum Bus {
    Open,
    Absent,
    Closed(String),
}

/// Looks at the system bus, the kernel's adapters, the radio's switch, and whether BlueZ runs.
pub(super) fn examine(processes: &Processes) -> Vec<Finding> {
    let bluetoothd = processes.running(&["bluetoothd"]).is_some();
    let facts = Facts { adapters: adapters(), blocked: block(), bluetoothd };
    vec![judge_bus(&knock(Path::new(SYSTEM_BUS))), judge(&facts)]
}

fn knock(socket: &Path) -> Bus {
    match UnixStream::connect(socket) {
        Ok(_connection) => Bus::Open,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Bus::Absent,
        Err(error) => Bus::Closed(error.to_string()),
    }
}

fn names_in(dir: &str) -> Vec<PathBuf> {
    fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn adapters() -> Vec<String> {
    let names = names_in("/sys/class/bluetooth").into_iter();
    let mut names: Vec<_> = names
        .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
        // Connections stand beside the adapters, as hci0:64.
        .filter(|name| !name.contains(':'))
        .collect();
    names.sort();
    names
}

fn block() -> Option<Block> {
    let on = |dir: &Path, file| fs::read_to_string(dir.join(file)).is_ok_and(|text| text.trim() == "1");
    let is_bluetooth =
        |dir: &PathBuf| fs::read_to_string(dir.join("type")).is_ok_and(|kind| kind.trim() == "bluetooth");
    let radios: Vec<_> = names_in("/sys/class/rfkill").into_iter().filter(is_bluetooth).collect();
    if radios.iter().any(|dir| on(dir, "hard")) {
        Some(Block::Switch)
    } else if radios.iter().any(|dir| on(dir, "soft")) {
        Some(Block::Software)
    } else {
        None
    }
}

fn note(what: impl Into<String>, next_step: impl Into<String>) -> Finding {
    Finding::new(Area::Bluetooth, Level::Note, what, next_step)
}

fn judge_bus(bus: &Bus) -> Finding {
    match bus {
        Bus::Open => Finding::ok(Area::Bluetooth, "the D-Bus system bus takes connections"),
        Bus::Absent => note(
            "there is no D-Bus system bus; only batteries on Bluetooth need it",
            "for these, `sudo apt install dbus bluez`",
        ),
        Bus::Closed(error) => note(
            format!("the D-Bus system bus can't be reached: {error}"),
            "for Bluetooth, see `systemctl status dbus`, and in a container mount the host's /run/dbus",
        ),
    }
}

fn judge(facts: &Facts) -> Finding {
    let adapters = facts.adapters.join(", ");
    match facts.blocked {
        _ if facts.adapters.is_empty() => note(
            "there is no Bluetooth adapter; only batteries on Bluetooth need one",
            "for these, plug in an adapter that Linux knows",
        ),
        Some(Block::Switch) => note(
            format!("Bluetooth ({adapters}) is off by a switch of this machine"),
            "turn it on with the switch or key, or in the firmware's settings",
        ),
        Some(Block::Software) => {
            note(format!("Bluetooth ({adapters}) is blocked by software"), "`sudo rfkill unblock bluetooth`")
        }
        None if !facts.bluetoothd => note(
            format!("Bluetooth adapter {adapters} is there, and BlueZ (bluetoothd) does not run"),
            "`sudo apt install bluez && sudo systemctl enable --now bluetooth`",
        ),
        None => note(
            format!("Bluetooth adapter {adapters} is there and BlueZ runs"),
            "`voltree scan ble` lists the batteries that it hears",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(adapters: &[&str], blocked: Option<Block>, bluetoothd: bool) -> Finding {
        let adapters = adapters.iter().map(|&name| name.to_owned()).collect();
        judge(&Facts { adapters, blocked, bluetoothd })
    }

    #[test]
    fn the_first_thing_in_the_way_of_bluetooth_is_the_one_that_is_told() {
        assert!(found(&[], Some(Block::Switch), false).what.contains("no Bluetooth adapter"));
        assert!(found(&["hci0"], Some(Block::Switch), true).what.contains("switch"));
        assert!(found(&["hci0"], Some(Block::Software), true).next_step.contains("rfkill unblock"));
        assert!(found(&["hci0"], None, false).next_step.contains("apt install bluez"));
        assert!(found(&["hci0"], None, true).what.contains("BlueZ runs"));
    }

    #[test]
    fn nothing_about_bluetooth_is_a_problem_to_a_node_without_it() {
        for bus in [Bus::Open, Bus::Absent, Bus::Closed("hung".to_owned())] {
            assert!(judge_bus(&bus).level <= Level::Note, "{bus:?}");
        }
        for blocked in [None, Some(Block::Switch), Some(Block::Software)] {
            assert_eq!(found(&["hci0"], blocked, true).level, Level::Note);
        }
    }

    #[test]
    fn a_bus_is_open_absent_or_closed() {
        let temp = tempfile::tempdir().unwrap();
        let socket = temp.path().join("bus");
        assert!(matches!(knock(&socket), Bus::Absent));
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(knock(&socket), Bus::Open));
        drop(listener);
        assert!(matches!(knock(&socket), Bus::Closed(_)));
    }
}
