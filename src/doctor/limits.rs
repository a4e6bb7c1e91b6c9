//! Open files and memory: is there enough of both for this fleet?

use procfs::{Current as _, Meminfo};
use rustix::process::{Resource, getrlimit};

use super::finding::{Area, Finding, Level};

/// What a node opens besides its devices and connections: journal, buckets, checkpoints, listeners, the runtime's own.
const BASE_FILES: u64 = 128;
/// WebSockets and HTTP connections of a few people with the console open.
const VISITORS: u64 = 64;
/// Below this many MQTT connections a growing fleet soon stands at the door.
const FEW_CONNECTIONS: u64 = 512;
/// With less memory than this left the kernel may end the node.
const LITTLE_MEMORY_BYTES: u64 = 256 << 20;

#[derive(Debug)]
struct Facts {
    /// `None` where there is no limit.
    open_files: Option<u64>,
    devices: usize,
    available_memory_bytes: Option<u64>,
}

/// Looks at this process's limits, which a node started from the same shell would have too.
pub(super) fn examine(devices: usize) -> Vec<Finding> {
    let available_memory_bytes = Meminfo::current().ok().and_then(|memory| memory.mem_available);
    judge(&Facts { open_files: getrlimit(Resource::Nofile).current, devices, available_memory_bytes })
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let memory = facts.available_memory_bytes.map(judge_memory);
    std::iter::once(judge_files(facts)).chain(memory).collect()
}

fn judge_files(facts: &Facts) -> Finding {
    let Some(limit) = facts.open_files else {
        return Finding::ok(Area::Limits, "a process may open any number of files");
    };
    let devices = u64::try_from(facts.devices).unwrap_or(u64::MAX);
    let needed = BASE_FILES.saturating_add(VISITORS).saturating_add(devices);
    let next = "raise it for this shell: `ulimit -n 65536`; for a service: LimitNOFILE=65536 in its unit";
    match limit.checked_sub(needed) {
        None => {
            let what = format!("a process may open {limit} files, and this node needs about {needed}");
            Finding::new(Area::Limits, Level::Problem, what, next)
        }
        Some(left) => {
            let what = format!("a process may open {limit} files: enough for about {left} MQTT connections");
            let few = left < FEW_CONNECTIONS;
            if few {
                Finding::new(Area::Limits, Level::Warning, what, next)
            } else {
                Finding::ok(Area::Limits, what)
            }
        }
    }
}

fn judge_memory(available_bytes: u64) -> Finding {
    let what = format!("{} MiB of memory are available", available_bytes >> 20);
    if available_bytes < LITTLE_MEMORY_BYTES {
        Finding::new(
            Area::Limits,
            Level::Warning,
            what,
            "end programs that are not needed, see `top -o %MEM`",
        )
    } else {
        Finding::ok(Area::Limits, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(open_files: Option<u64>, devices: usize) -> Level {
        judge_files(&Facts { open_files, devices, available_memory_bytes: None }).level
    }

    #[test]
    fn the_limit_of_open_files_is_held_against_the_fleet() {
        assert_eq!(with(None, 1_000_000), Level::Ok);
        assert_eq!(with(Some(1024), 1), Level::Ok);
        assert_eq!(with(Some(256), 1), Level::Warning);
        assert_eq!(with(Some(1024), 1_000), Level::Problem);
    }

    #[test]
    fn little_memory_is_a_warning() {
        assert_eq!(judge_memory(100 << 20).level, Level::Warning);
        assert_eq!(judge_memory(2 << 30).level, Level::Ok);
    }
}
