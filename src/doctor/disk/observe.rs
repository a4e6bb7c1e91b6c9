//! Looks at the place of a data directory and times real syncs there.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use procfs::process::{MountInfo, Process};
use rustix::fs::{Access, AtFlags, CWD};
use voltree_runtime::clock;

use super::{Facts, Filesystem, Place, Room, Syncs};

/// How many syncs are timed, unless the time is up first.
const SYNCS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn facts(dir: &Path) -> Facts {
    let (place, ground) = place(dir);
    let (filesystem, room) = (filesystem(&ground), room(&ground));
    let usable = matches!(place, Place::Ready | Place::CanBeMade);
    let syncs = usable.then(|| time_syncs(&ground).map_err(|error| error.to_string()));
    Facts { dir: dir.to_owned(), place, filesystem, room, syncs }
}

/// What stands at `dir`, and the existing directory where it is or would be made.
fn place(dir: &Path) -> (Place, PathBuf) {
    let mut nearest = if dir.is_absolute() { dir.to_owned() } else { Path::new(".").join(dir) };
    let made = !exists(&nearest);
    while !exists(&nearest) && nearest.pop() {}
    if !nearest.is_dir() {
        return (Place::NoDirectory { what: nearest.clone() }, nearest);
    }
    let rights = Access::WRITE_OK | Access::EXEC_OK;
    if rustix::fs::accessat(CWD, &nearest, rights, AtFlags::EACCESS).is_err() {
        return (Place::Denied { nearest: nearest.clone() }, nearest);
    }
    (if made { Place::CanBeMade } else { Place::Ready }, nearest)
}

/// A path below a file counts as not there, so that the file itself is found; so does what may not be looked at.
fn exists(path: &Path) -> bool {
    path.as_os_str().is_empty() || fs::symlink_metadata(path).is_ok()
}

fn filesystem(ground: &Path) -> Option<Filesystem> {
    let ground = fs::canonicalize(ground).ok()?;
    let mounts = Process::myself().and_then(|process| process.mountinfo()).ok()?;
    let mount = mount_of(&ground, &mounts.0)?;
    Some(Filesystem { kind: mount.fs_type.clone(), mounted_at: mount.mount_point.clone() })
}

/// The mount that a path is on: the deepest, and of several at one point the last.
fn mount_of<'a>(path: &Path, mounts: &'a [MountInfo]) -> Option<&'a MountInfo> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.mount_point));
    above.max_by_key(|mount| mount.mount_point.components().count())
}

fn room(ground: &Path) -> Option<Room> {
    let stat = rustix::fs::statvfs(ground).ok()?;
    Some(Room { free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize) })
}

fn time_syncs(ground: &Path) -> io::Result<Syncs> {
    let mut file = tempfile::tempfile_in(ground)?;
    let block = [0xA5_u8; 4096];
    let begun = clock::monotonic();
    let mut times = Vec::with_capacity(SYNCS);
    while times.len() < SYNCS && begun.elapsed() < PATIENCE {
        let from = clock::monotonic();
        file.write_all(&block)?;
        file.sync_data()?;
        times.push(from.elapsed());
    }
    summary(times).ok_or_else(|| io::Error::other("no time was left for a single one"))
}

fn summary(mut times: Vec<Duration>) -> Option<Syncs> {
    times.sort();
    let at =
        |percent: usize| times.get((times.len() * percent / 100).min(times.len().saturating_sub(1))).copied();
    Some(Syncs { count: times.len(), p50: at(50)?, p99: at(99)?, max: at(100)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let syncs = summary((1..=100).rev().map(Duration::from_millis).collect()).unwrap();
        let [p50, p99, max] = [51, 100, 100].map(Duration::from_millis);
        assert_eq!((syncs.count, syncs.p50, syncs.p99, syncs.max), (100, p50, p99, max));
        let one = summary(vec![Duration::from_millis(7)]).unwrap();
        assert_eq!((one.p50, one.max), (Duration::from_millis(7), Duration::from_millis(7)));
        assert!(summary(Vec::new()).is_none());
    }

    #[test]
    fn the_deepest_mount_counts() {
        let line = |at: &str, kind: &str| {
            MountInfo::from_line(&format!("36 35 98:0 / {at} rw,noatime - {kind} /dev/x rw")).unwrap()
        };
        let mounts = [line("/", "ext4"), line("/srv", "nfs4"), line("/srv/data", "xfs")];
        let kind = |path: &str| mount_of(Path::new(path), &mounts).unwrap().fs_type.clone();
        assert_eq!(kind("/srv/data/voltree"), "xfs");
        assert_eq!(kind("/srv/database"), "nfs4");
        assert_eq!(kind("/home"), "ext4");
    }

    #[test]
    fn a_place_is_found_without_making_it() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(matches!(place(temp.path()), (Place::Ready, ground) if ground == temp.path()));
        assert!(
            matches!(place(&temp.path().join("a/b")), (Place::CanBeMade, ground) if ground == temp.path())
        );
        assert!(matches!(place(&file), (Place::NoDirectory { what }, _) if what == file));
        assert!(matches!(place(&file.join("below")), (Place::NoDirectory { what }, _) if what == file));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
    }

    #[test]
    fn timing_syncs_leaves_nothing_behind() {
        let temp = tempfile::tempdir().unwrap();
        let syncs = time_syncs(temp.path()).unwrap();
        assert!(syncs.p50 <= syncs.p99 && syncs.p99 <= syncs.max, "{syncs:?}");
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
