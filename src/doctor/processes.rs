//! Which process holds what: listening sockets and device files, from /proc. Processes of other users show their files
//! to root alone, so a holder may stay nameless.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process as ProcProcess};

/// A process and its program's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) program: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.program, self.pid)
    }
}

/// Names them in one text.
pub(super) fn names(processes: &[Process]) -> String {
    processes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The processes of this machine that could be looked into.
#[derive(Debug, Default)]
pub(super) struct Processes {
    programs: Vec<String>,
    listening: Vec<(SocketAddr, u64)>,
    sockets: BTreeMap<u64, Process>,
    devices: BTreeMap<PathBuf, Vec<Process>>,
    /// Programs that run pseudo-terminals of their own, such as simulators.
    terminal_keepers: BTreeSet<u32>,
}

impl Processes {
    /// Looks through /proc once. What can't be read is left out.
    pub(super) fn observe() -> Self {
        let mut this = Self::default();
        let entries = [procfs::net::tcp(), procfs::net::tcp6()].into_iter().flatten().flatten();
        this.listening = entries.filter(listens).map(|entry| (entry.local_address, entry.inode)).collect();
        for process in procfs::process::all_processes().into_iter().flatten().flatten() {
            this.look_into(&process);
        }
        this
    }

    fn look_into(&mut self, process: &ProcProcess) {
        let (Ok(stat), Ok(pid)) = (process.stat(), u32::try_from(process.pid())) else { return };
        self.programs.push(stat.comm.clone());
        if pid == std::process::id() {
            return;
        }
        let process_name = Process { pid, program: stat.comm };
        for file in process.fd().into_iter().flatten().flatten() {
            if let FDTarget::Socket(inode) = file.target {
                self.sockets.insert(inode, process_name.clone());
            } else if let FDTarget::Path(path) = file.target
                && path.starts_with("/dev")
            {
                self.note_device(path, &process_name);
            }
        }
    }

    fn note_device(&mut self, path: PathBuf, process: &Process) {
        if path.ends_with("ptmx") {
            self.terminal_keepers.insert(process.pid);
        }
        let holders = self.devices.entry(path).or_default();
        if holders.last() != Some(process) {
            holders.push(process.clone());
        }
    }

    /// Who listens where a server at `address` would be in the way.
    pub(super) fn listening_at(&self, address: SocketAddr) -> Vec<Process> {
        let clashes = |(other, _): &&(SocketAddr, u64)| clash(*other, address);
        let inodes = self.listening.iter().filter(clashes).map(|(_, inode)| inode);
        let mut processes: Vec<_> = inodes.filter_map(|inode| self.sockets.get(inode).cloned()).collect();
        processes.sort();
        processes.dedup();
        processes
    }

    /// Who uses this device, by its real path. A program that keeps a pseudo-terminal for others is its other end, and
    /// often has the device's side open too; it is in nobody's way.
    pub(super) fn using(&self, device: &Path) -> Vec<Process> {
        let is_user = |process: &&Process| {
            !(device.starts_with("/dev/pts") && self.terminal_keepers.contains(&process.pid))
        };
        self.devices.get(device).into_iter().flatten().filter(is_user).cloned().collect()
    }

    /// Whether a program of one of these names runs, and which; the kernel cuts names after 15 characters.
    pub(super) fn running<'a>(&self, names: &[&'a str]) -> Option<&'a str> {
        let runs = |name: &str| self.programs.iter().any(|program| *program == name[..name.len().min(15)]);
        names.iter().copied().find(|name| runs(name))
    }
}

fn listens(entry: &TcpNetEntry) -> bool {
    entry.state == TcpState::Listen
}

/// A socket on all addresses clashes with one on any of them; the IPv6 one usually takes IPv4 along.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let all = |ip: IpAddr| ip.is_unspecified();
    one.port() == other.port() && (one.ip() == other.ip() || all(one.ip()) || all(other.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_in_the_way_of_one() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert!(clash(at("0.0.0.0:80"), at("127.0.0.1:80")));
        assert!(clash(at("127.0.0.1:80"), at("[::]:80")));
        assert!(!clash(at("127.0.0.1:80"), at("127.0.0.1:81")));
        assert!(!clash(at("127.0.0.1:80"), at("192.168.1.2:80")));
    }

    #[test]
    fn a_simulator_is_in_nobodys_way_at_its_own_terminal() {
        let process = |pid| Process { pid, program: "voltree".to_owned() };
        let mut processes = Processes::default();
        for (path, pid) in [("/dev/pts/ptmx", 1), ("/dev/pts/3", 1), ("/dev/pts/3", 2), ("/dev/ttyUSB0", 1)] {
            processes.note_device(path.into(), &process(pid));
        }
        assert_eq!(processes.using(Path::new("/dev/pts/3")), [process(2)]);
        assert_eq!(processes.using(Path::new("/dev/ttyUSB0")), [process(1)]);
        assert_eq!(processes.using(Path::new("/dev/ttyUSB1")), []);
    }

    #[test]
    fn long_program_names_are_known_as_the_kernel_shows_them() {
        let processes = Processes { programs: vec!["systemd-timesyn".to_owned()], ..Processes::default() };
        assert_eq!(processes.running(&["chronyd", "systemd-timesyncd"]), Some("systemd-timesyncd"));
        assert_eq!(processes.running(&["systemd"]), None);
    }
}
