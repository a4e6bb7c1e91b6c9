//! Does a node run on the data directory already? Asks the lock without taking it away from anybody: a shared lock, for
//! reading, let go at once.

use std::fs::{File, TryLockError};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::finding::{Area, Finding, Level};

/// Who holds the data directory.
#[derive(Debug)]
pub(super) struct Facts {
    dir: PathBuf,
    holder: Holder,
}

#[derive(Debug)]
enum Holder {
    Nobody,
    Process(Option<u32>),
    Unreadable(String),
}

impl Facts {
    /// Looks at the lock of a data directory.
    pub(super) fn observe(dir: &Path) -> Self {
        let holder = match File::open(dir.join("LOCK")) {
            Ok(lock) => ask(lock),
            // Where there is no lock there was no node yet; whether the directory itself is of use, the disk check says.
            Err(error) if error.kind() != std::io::ErrorKind::PermissionDenied => Holder::Nobody,
            Err(error) => Holder::Unreadable(error.to_string()),
        };
        Self { dir: dir.to_owned(), holder }
    }

    /// The process that holds the directory.
    pub(super) fn pid(&self) -> Option<u32> {
        match self.holder {
            Holder::Process(pid) => pid,
            Holder::Nobody | Holder::Unreadable(_) => None,
        }
    }

    /// One finding: a second node on one directory could not start.
    pub(super) fn judge(&self) -> Finding {
        let dir = self.dir.display();
        match &self.holder {
            Holder::Nobody => Finding::ok(Area::Node, format!("no node runs on {dir}")),
            Holder::Process(pid) => {
                let who =
                    pid.map_or_else(|| "of an unknown process".to_owned(), |pid| format!("with pid {pid}"));
                Finding::new(
                    Area::Node,
                    Level::Note,
                    format!("a node {who} runs on {dir}"),
                    "open its console, or stop it before you start another one on this directory",
                )
            }
            Holder::Unreadable(error) => Finding::new(
                Area::Node,
                Level::Problem,
                format!("{}/LOCK can't be read: {error}", self.dir.display()),
                format!("let your user own the directory: `sudo chown -R $USER {dir}`"),
            ),
        }
    }
}

fn ask(mut lock: File) -> Holder {
    match lock.try_lock_shared() {
        Ok(()) => Holder::Nobody,
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let read = lock.read_to_string(&mut text);
            Holder::Process(read.ok().and_then(|_| text.trim().parse().ok()))
        }
        Err(TryLockError::Error(error)) => Holder::Unreadable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use voltree_storage::DataDir;

    #[test]
    fn a_held_directory_names_its_process_and_a_free_one_does_not() {
        let temp = tempfile::tempdir().unwrap();
        let held = DataDir::open(temp.path()).unwrap();
        let facts = Facts::observe(temp.path());
        assert_eq!(facts.pid(), Some(std::process::id()));
        assert_eq!(facts.judge().level, Level::Note);
        drop(held);
        let facts = Facts::observe(temp.path());
        assert_eq!((facts.pid(), facts.judge().level), (None, Level::Ok));
    }

    #[test]
    fn looking_does_not_create_anything_and_hinders_nobody() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(Facts::observe(&temp.path().join("new")).judge().level, Level::Ok);
        assert_eq!(std::fs::read_dir(temp.path()).unwrap().count(), 0);
        drop(DataDir::open(temp.path()).unwrap());
        drop(Facts::observe(temp.path()));
        DataDir::open(temp.path()).unwrap();
    }
}
