//! The system's account of a process: its memory and its processor time. Linux keeps one, others may not.

use std::path::PathBuf;

use anyhow::Context as _;

/// Whose account.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Account {
    /// This process's own.
    Own,
    /// That of the process with this id.
    Of(u32),
}

impl Account {
    fn file(self, name: &str) -> PathBuf {
        match self {
            Self::Own => PathBuf::from(format!("/proc/self/{name}")),
            Self::Of(process) => PathBuf::from(format!("/proc/{process}/{name}")),
        }
    }

    /// A line about memory, in KiB: `VmRSS` is what is resident, `VmHWM` the most that ever was.
    pub(crate) fn memory_kib(self, line: &str) -> anyhow::Result<u64> {
        let status =
            std::fs::read_to_string(self.file("status")).context("reading the memory of a process")?;
        let found = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
        let kib = found.and_then(|text| text.split_whitespace().next()?.parse().ok());
        kib.with_context(|| format!("the system does not say {line} of a process"))
    }

    /// The processor time that was used, in seconds.
    pub(crate) fn cpu_s(self) -> anyhow::Result<f64> {
        let stat =
            std::fs::read_to_string(self.file("stat")).context("reading the processor time of a process")?;
        // The name in brackets may hold anything; user and system time are the 12th and 13th field after it.
        let fields: Option<Vec<_>> = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect());
        let ticks = |index: usize| fields.as_ref()?.get(index)?.parse::<f64>().ok();
        let (user, system) =
            ticks(11).zip(ticks(12)).context("the system does not say what processor time a process took")?;
        #[expect(clippy::cast_precision_loss, reason = "it is about a hundred")]
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        Ok((user + system) / per_second)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_the_same_account_under_its_id_as_under_its_own_name() {
        let of = Account::Of(std::process::id());
        let (own, most) = (Account::Own.memory_kib("VmRSS").unwrap(), of.memory_kib("VmHWM").unwrap());
        assert!(own > 0 && most > 0);
        assert!(of.cpu_s().unwrap() >= Account::Own.cpu_s().unwrap() - 1.0);
        assert!(Account::Own.memory_kib("VmNothing").unwrap_err().to_string().contains("VmNothing"));
    }
}
