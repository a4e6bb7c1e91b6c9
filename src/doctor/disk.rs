//! Can a node keep its data here, and how long does it take until the disk says that it has it?
//!
//! The probe writes to a file without a name, which is gone with the process whatever happens.

mod observe;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::finding::{Area, Finding, Level};

/// Below this a node soon has no room to write.
const LITTLE_BYTES: u64 = 1 << 30;
/// Below this it has none.
const NO_ROOM_BYTES: u64 = 64 << 20;
/// From here on people notice that acknowledgements wait for the disk.
const SLOW: Duration = Duration::from_millis(50);
/// No disk that keeps what it is given is this fast.
const TOO_FAST: Duration = Duration::from_micros(50);

/// What is known about a data directory.
#[derive(Debug)]
struct Facts {
    dir: PathBuf,
    place: Place,
    filesystem: Option<Filesystem>,
    room: Option<Room>,
    syncs: Option<Result<Syncs, String>>,
}

#[derive(Debug)]
enum Place {
    /// There already, and writable.
    Ready,
    /// Not there, but it can be made.
    CanBeMade,
    /// It, or the nearest directory above that exists, may not be written.
    Denied { nearest: PathBuf },
    /// Something on the way that is no directory.
    NoDirectory { what: PathBuf },
}

#[derive(Debug)]
struct Filesystem {
    kind: String,
    mounted_at: PathBuf,
}

#[derive(Debug)]
struct Room {
    free_bytes: u64,
}

/// How long appending 4 KiB and syncing it took.
#[derive(Debug)]
struct Syncs {
    count: usize,
    p50: Duration,
    p99: Duration,
    max: Duration,
}

/// Looks at a data directory, or at the place where it would be made.
pub(super) fn examine(dir: &Path) -> Vec<Finding> {
    judge(&observe::facts(dir))
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let place = judge_place(facts);
    if place.level == Level::Problem {
        return vec![place];
    }
    let filesystem = facts.filesystem.as_ref().map(judge_filesystem);
    let room = facts.room.as_ref().map(|room| judge_room(&facts.dir, room));
    let syncs = facts.syncs.as_ref().map(judge_syncs);
    [Some(place), filesystem, room, syncs].into_iter().flatten().collect()
}

fn judge_place(facts: &Facts) -> Finding {
    let dir = facts.dir.display();
    let problem = |what, next_step| Finding::new(Area::Disk, Level::Problem, what, next_step);
    match &facts.place {
        Place::Ready => Finding::ok(Area::Disk, format!("the data directory {dir} can be written")),
        Place::CanBeMade => Finding::ok(Area::Disk, format!("the data directory {dir} can be made")),
        Place::Denied { nearest } => problem(
            format!("the data directory {dir} can't be used: your user may not write {}", nearest.display()),
            format!(
                "set another node.data_dir, or `sudo mkdir -p {dir} && sudo chown -R $USER {dir}`; \
                 a file system that is mounted read-only has to be mounted for writing"
            ),
        ),
        Place::NoDirectory { what } => problem(
            format!("the data directory {dir} can't be used: {} is no directory", what.display()),
            "set another node.data_dir, or move that file away".to_owned(),
        ),
    }
}

fn judge_filesystem(filesystem: &Filesystem) -> Finding {
    let Filesystem { kind, mounted_at } = filesystem;
    let at = mounted_at.display();
    let warning = |what: &str, next_step: &str| {
        Finding::new(
            Area::Disk,
            Level::Warning,
            format!("it is on {kind} (mounted at {at}): {what}"),
            next_step,
        )
    };
    match kind.as_str() {
        "tmpfs" | "ramfs" => warning("all of it is gone when the power goes", "put node.data_dir on a disk"),
        "overlay" | "overlayfs" | "aufs" => warning(
            "in a container that goes with the container",
            "mount a volume, and put node.data_dir on it",
        ),
        "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "9p" | "afs" | "ceph" | "glusterfs" | "fuse.sshfs"
        | "fuse.glusterfs" => warning(
            "over a network, locks and syncs may not mean what they say",
            "put node.data_dir on a disk of this machine",
        ),
        "vfat" | "exfat" | "msdos" | "ntfs" | "ntfs3" | "fuseblk" => warning(
            "a power cut may cost more than the last write",
            "put node.data_dir on ext4, xfs, btrfs or f2fs",
        ),
        _ => Finding::ok(Area::Disk, format!("it is on {kind} (mounted at {at})")),
    }
}

fn judge_room(dir: &Path, room: &Room) -> Finding {
    let what = format!("{} MiB are free", room.free_bytes >> 20);
    let next_step = format!("free some room on the disk of {}, or set another node.data_dir", dir.display());
    let level = match room.free_bytes {
        ..NO_ROOM_BYTES => Level::Problem,
        NO_ROOM_BYTES..LITTLE_BYTES => Level::Warning,
        LITTLE_BYTES.. => return Finding::ok(Area::Disk, what),
    };
    Finding::new(Area::Disk, level, what, next_step)
}

fn judge_syncs(syncs: &Result<Syncs, String>) -> Finding {
    let syncs = match syncs {
        Ok(syncs) => syncs,
        Err(error) => {
            let what = format!("appending 4 KiB and syncing it failed: {error}");
            return Finding::new(Area::Disk, Level::Problem, what, "set node.data_dir to another disk");
        }
    };
    let Syncs { count, p50, p99, max } = syncs;
    let [p50_ms, p99_ms, max_ms] = [p50, p99, max].map(|time| time.as_secs_f64() * 1_000.0);
    let measured = format!(
        "syncing 4 KiB takes {p50_ms:.2} ms at the median, {p99_ms:.2} ms at the 99th percentile, {max_ms:.2} ms at \
         most ({count} times)"
    );
    if *p50 < TOO_FAST {
        let what = format!("{measured}: this disk may not really sync");
        let next = "a power cut may take back what was acknowledged; on a virtual machine see the disk's cache mode, \
                    on a machine with a power supply of its own ignore this";
        return Finding::new(Area::Disk, Level::Warning, what, next);
    }
    if *p99 > SLOW {
        let next =
            "nothing is lost, but MQTT acknowledgements wait that long; an SSD is faster than an SD card";
        return Finding::new(Area::Disk, Level::Warning, measured, next);
    }
    Finding::ok(Area::Disk, format!("{measured}; an acknowledgement waits about that long for it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(kind: &str) -> Level {
        let filesystem = Filesystem { kind: kind.to_owned(), mounted_at: "/data".into() };
        judge_filesystem(&filesystem).level
    }

    fn syncing(p50_us: u64, p99_us: u64) -> Finding {
        let [p50, p99] = [p50_us, p99_us].map(Duration::from_micros);
        judge_syncs(&Ok(Syncs { count: 100, p50, p99, max: p99 }))
    }

    fn in_place(place: Place) -> Vec<Finding> {
        judge(&Facts { dir: "data".into(), place, filesystem: None, room: None, syncs: None })
    }

    #[test]
    fn only_file_systems_that_forget_are_warned_of() {
        for kind in ["tmpfs", "overlay", "nfs4", "vfat"] {
            assert_eq!(on(kind), Level::Warning, "{kind}");
        }
        for kind in ["ext4", "xfs", "btrfs", "f2fs", "zfs"] {
            assert_eq!(on(kind), Level::Ok, "{kind}");
        }
    }

    #[test]
    fn a_disk_that_is_slow_or_too_good_to_be_true_is_told() {
        assert_eq!(syncing(1_500, 9_000).level, Level::Ok);
        assert_eq!(syncing(20_000, 51_000).level, Level::Warning);
        let fast = syncing(12, 40);
        assert_eq!(fast.level, Level::Warning);
        assert!(fast.what.contains("may not really sync"), "{fast:?}");
        assert!(syncing(1_500, 9_000).what.contains("1.50 ms at the median, 9.00 ms"));
    }

    #[test]
    fn a_disk_that_cannot_sync_at_all_is_a_problem() {
        assert_eq!(judge_syncs(&Err("no space left".to_owned())).level, Level::Problem);
    }

    #[test]
    fn room_runs_out_in_two_steps() {
        let level = |free_bytes| judge_room(Path::new("data"), &Room { free_bytes }).level;
        assert_eq!(level(10 << 30), Level::Ok);
        assert_eq!(level(500 << 20), Level::Warning);
        assert_eq!(level(1 << 20), Level::Problem);
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_the_only_finding() {
        let denied = in_place(Place::Denied { nearest: "/srv".into() });
        assert!(
            matches!(&denied[..], [finding] if finding.level == Level::Problem && finding.what.contains("/srv"))
        );
        let file = in_place(Place::NoDirectory { what: "data".into() });
        assert!(matches!(&file[..], [finding] if finding.what.contains("data is no directory")));
        assert!(matches!(&in_place(Place::Ready)[..], [finding] if finding.level == Level::Ok));
    }
}
