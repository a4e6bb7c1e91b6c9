//! Gathers what is known about serial devices from the file system and from one careful look at the device itself.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::{Facts, Gate, State, is_adapter};
use crate::doctor::processes::Processes;

/// The wanted devices, then the others that are plugged in; a device with several names comes once.
pub(super) fn devices(wanted: Vec<PathBuf>, processes: &Processes) -> Vec<Facts> {
    let stable = stable_names();
    let mut all: Vec<Facts> = Vec::new();
    let found = stable.values().cloned().chain(adapters());
    for (path, wanted) in wanted.into_iter().map(|path| (path, true)).chain(found.map(|path| (path, false))) {
        let target = fs::canonicalize(&path).unwrap_or_default();
        let known =
            |other: &Facts| other.path == path || (!target.as_os_str().is_empty() && other.target == target);
        if !all.iter().any(known) {
            let state = look(&path, &target, processes);
            all.push(Facts { stable_name: stable.get(&target).cloned(), path, target, wanted, state });
        }
    }
    all
}

/// Names under /dev/serial/by-id, by the device they lead to.
fn stable_names() -> BTreeMap<PathBuf, PathBuf> {
    let entries = fs::read_dir("/dev/serial/by-id").into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((fs::canonicalize(entry.path()).ok()?, entry.path()))).collect()
}

fn adapters() -> Vec<PathBuf> {
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).filter(|path| is_adapter(path)).collect();
    paths.sort();
    paths
}

fn look(path: &Path, target: &Path, processes: &Processes) -> State {
    let Ok(metadata) = fs::metadata(path) else { return State::Missing };
    let rights = Access::READ_OK | Access::WRITE_OK;
    if rustix::fs::accessat(CWD, path, rights, AtFlags::EACCESS).is_err() {
        return State::Denied(gate(&metadata));
    }
    let users = processes.using(target);
    if !users.is_empty() {
        return State::Held(users);
    }
    open(path)
}

fn open(path: &Path) -> State {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let device = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(device) => device,
        Err(Errno::BUSY) => return State::Locked,
        Err(Errno::ISDIR) => return State::NoTerminal,
        Err(error) => return State::Failed(error.to_string()),
    };
    if !rustix::termios::isatty(&device) {
        return State::NoTerminal;
    }
    match rustix::fs::flock(&device, FlockOperation::NonBlockingLockShared) {
        Err(Errno::WOULDBLOCK) => State::Locked,
        Ok(()) | Err(_) => State::Usable,
    }
}

fn gate(metadata: &fs::Metadata) -> Gate {
    const GROUP_READS_AND_WRITES: u32 = 0o060;
    let opens = metadata.mode() & GROUP_READS_AND_WRITES == GROUP_READS_AND_WRITES;
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let group = group_of(&groups, metadata.gid()).filter(|_| opens && metadata.gid() != 0);
    let user = std::env::var("USER").unwrap_or_default();
    let joined_since = group.as_ref().is_some_and(|group| group.members.contains(&user));
    Gate { group: group.map(|group| group.name), joined_since }
}

/// A line of /etc/group.
#[derive(Debug, PartialEq, Eq)]
struct Group {
    name: String,
    members: Vec<String>,
}

fn group_of(file: &str, gid: u32) -> Option<Group> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, id, members) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let members = members.split(',').filter(|member| !member.is_empty()).map(str::to_owned).collect();
        (id.parse() == Ok(gid)).then(|| Group { name: name.to_owned(), members })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_by_number_with_their_members() {
        let file = "root:x:0:\nbroken\ndialout:x:20:ana,bo\n";
        let members = vec!["ana".to_owned(), "bo".to_owned()];
        assert_eq!(group_of(file, 20), Some(Group { name: "dialout".to_owned(), members }));
        assert_eq!(group_of(file, 21), None);
    }

    #[test]
    fn what_is_no_terminal_is_said_to_be_none() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        let found = devices(vec![file.clone(), temp.path().join("gone"), file], &Processes::default());
        let wanted: Vec<_> = found.iter().filter(|facts| facts.wanted).collect();
        assert!(
            matches!(
                wanted[..],
                [Facts { state: State::NoTerminal, .. }, Facts { state: State::Missing, .. },]
            ),
            "{wanted:?}"
        );
    }

    #[test]
    fn a_terminal_is_usable_until_somebody_locks_it() {
        let master =
            rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let path = PathBuf::from(name.to_str().unwrap());
        assert!(matches!(open(&path), State::Usable));
        let held = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        rustix::fs::flock(&held, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(matches!(open(&path), State::Locked));
    }
}
