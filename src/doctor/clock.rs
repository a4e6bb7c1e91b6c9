//! Is the time right, and does somebody keep it right? Readings that name no time of their own get this clock's.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use voltree_model::Timestamp;

use super::finding::{Area, Finding, Level};
use super::processes::Processes;

/// 2026-01-01, before which this program did not exist, and 2100-01-01, at which no machine runs yet.
const SANE_MS: std::ops::Range<i64> = 1_767_225_600_000..4_102_444_800_000;
/// How far the data may be ahead of the clock before it is told.
const AHEAD_MS: i64 = 2_000;
/// Programs that set clocks by the network.
const KEEPERS: [&str; 5] = ["chronyd", "ntpd", "ntp-daemon", "systemd-timesyncd", "openntpd"];

#[derive(Debug)]
struct Facts {
    now_ms: i64,
    kept: Kept,
    newest_data: Option<(PathBuf, i64)>,
}

#[derive(Debug)]
enum Kept {
    /// systemd-timesyncd says that it set the clock.
    Synchronized,
    /// A program that keeps clocks runs; whether it has reached anybody is not known.
    By(&'static str),
    Unknown,
}

/// Looks at the clock, and at the newest file in the data directory.
pub(super) fn examine(data: &Path, processes: &Processes) -> Vec<Finding> {
    let now_ms = voltree_runtime::clock::now_ms();
    judge(&Facts { now_ms, kept: kept(processes), newest_data: newest(data) })
}

fn kept(processes: &Processes) -> Kept {
    if Path::new("/run/systemd/timesync/synchronized").exists() {
        return Kept::Synchronized;
    }
    processes.running(&KEEPERS).map_or(Kept::Unknown, Kept::By)
}

/// The journal and the checkpoint are written by the clock of their time.
fn newest(data: &Path) -> Option<(PathBuf, i64)> {
    let journal = fs::read_dir(data.join("journal")).into_iter().flatten().flatten();
    let files = journal.map(|entry| entry.path()).chain([data.join("checkpoint")]);
    let dated = files.filter_map(|path| {
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).ok()?;
        let since = modified.duration_since(UNIX_EPOCH).ok()?;
        Some((path, i64::try_from(since.as_millis()).ok()?))
    });
    dated.max_by_key(|(_, at_ms)| *at_ms)
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![judge_now(facts)];
    if let Some((path, at_ms)) = &facts.newest_data
        && at_ms - facts.now_ms > AHEAD_MS
    {
        let ahead_s = (at_ms - facts.now_ms) / 1_000;
        findings.push(Finding::new(
            Area::Clock,
            Level::Warning,
            format!(
                "{} was written {ahead_s} s in this clock's future: the clock was set back",
                path.display()
            ),
            "set the clock right before a node runs, or new readings will seem older than those it has",
        ));
    }
    findings
}

fn judge_now(facts: &Facts) -> Finding {
    let now = Timestamp::from_millis(facts.now_ms);
    if !SANE_MS.contains(&facts.now_ms) {
        let what = format!("the clock says {now}, which can't be");
        let next = "set it: `sudo timedatectl set-ntp true`; a machine without a clock of its own needs the network, \
                    or a clock module, before a node runs";
        return Finding::new(Area::Clock, Level::Problem, what, next);
    }
    match facts.kept {
        Kept::Synchronized => {
            Finding::ok(Area::Clock, format!("the clock says {now} and is synchronized by systemd-timesyncd"))
        }
        Kept::By(program) => {
            Finding::ok(Area::Clock, format!("the clock says {now}, and {program} keeps it"))
        }
        Kept::Unknown => Finding::new(
            Area::Clock,
            Level::Note,
            format!("the clock says {now}; nothing that would keep it right was found"),
            "compare it with your watch; `sudo timedatectl set-ntp true` keeps it right (in a container the host does)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_790_000_000_000;

    fn found(now_ms: i64, kept: Kept, newest_ms: Option<i64>) -> Vec<Level> {
        let newest_data = newest_ms.map(|at_ms| ("journal/1".into(), at_ms));
        judge(&Facts { now_ms, kept, newest_data }).iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn a_clock_that_forgot_the_year_is_a_problem() {
        assert_eq!(found(0, Kept::Unknown, None), [Level::Problem]);
        assert_eq!(found(SANE_MS.end, Kept::Synchronized, None), [Level::Problem]);
    }

    #[test]
    fn nobody_keeping_the_clock_is_worth_a_note() {
        assert_eq!(found(NOW_MS, Kept::Unknown, None), [Level::Note]);
        assert_eq!(found(NOW_MS, Kept::By("chronyd"), None), [Level::Ok]);
        assert_eq!(found(NOW_MS, Kept::Synchronized, Some(NOW_MS - 60_000)), [Level::Ok]);
    }

    #[test]
    fn data_from_the_future_means_that_the_clock_was_set_back() {
        assert_eq!(found(NOW_MS, Kept::Synchronized, Some(NOW_MS + 3_600_000)), [Level::Ok, Level::Warning]);
        assert_eq!(found(NOW_MS, Kept::Synchronized, Some(NOW_MS + 1_000)), [Level::Ok]);
    }

    #[test]
    fn the_newest_file_of_the_journal_is_the_one_that_counts() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(newest(temp.path()), None);
        fs::create_dir(temp.path().join("journal")).unwrap();
        let write = |name: &str, at_ms: u64| {
            let file = fs::File::create(temp.path().join(name)).unwrap();
            file.set_modified(UNIX_EPOCH + std::time::Duration::from_millis(at_ms)).unwrap();
        };
        write("checkpoint", 1_790_000_000_000);
        write("journal/1", 1_790_000_060_000);
        write("journal/0", 1_790_000_030_000);
        assert_eq!(newest(temp.path()), Some((temp.path().join("journal/1"), 1_790_000_060_000)));
    }

    #[test]
    fn the_bounds_are_the_days_they_are_said_to_be() {
        let [from, to] = [SANE_MS.start, SANE_MS.end].map(|at| Timestamp::from_millis(at).to_string());
        assert!(
            from.starts_with("2026-01-01T00:00:00") && to.starts_with("2100-01-01T00:00:00"),
            "{from} {to}"
        );
    }
}
