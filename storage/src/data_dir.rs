//! The data directory of one node: its layout, and the lock that keeps a second process out of it.
//!
//! The lock is the operating system's and ends with its process, so a kill leaves nothing behind to clean up. The PID
//! in the lock file is only there to name the holder.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek, Write};
use std::path::{Path, PathBuf};

use crate::Error;
use crate::error::FileContext;

/// A data directory, held exclusively while this lives unless it was opened for reading.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Holds the lock by being open.
    _lock: Option<File>,
}

impl DataDir {
    /// Creates the directory if need be and locks it for this process.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        if let Some(path) = path.ancestors().find(|above| above.exists()).filter(|above| !above.is_dir()) {
            return Err(Error::NotADirectory { path: path.to_owned() });
        }
        fs::create_dir_all(&path).file("create", &path)?;
        let lock = lock(&path)?;
        let dir = Self { path, _lock: Some(lock) };
        for sub in [dir.journal(), dir.buckets(), dir.quarantine()] {
            fs::create_dir_all(&sub).file("create", &sub)?;
        }
        File::open(&dir.path).and_then(|f| f.sync_all()).file("sync", &dir.path)?;
        Ok(dir)
    }

    /// Names the directory for inspection, whoever holds it. Nothing may be written through this.
    pub fn read_only(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref().to_owned();
        fs::read_dir(&path).file("read", &path)?;
        Ok(Self { path, _lock: None })
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.path
    }

    /// Where the journal's segments are.
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal")
    }

    /// Where the time buckets are.
    pub fn buckets(&self) -> PathBuf {
        self.path.join("buckets")
    }

    /// Where buckets go that could not be opened.
    pub fn quarantine(&self) -> PathBuf {
        self.path.join("quarantine")
    }

    /// The checkpoint file.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoint")
    }

    /// A file or directory of another room's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("LOCK");
    let opened = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
    let mut file = opened.file("open", &path)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(Error::Locked { dir: dir.to_owned(), pid: holder(&path) });
        }
        Err(TryLockError::Error(source)) => return Err(Error::File { doing: "lock", path, source }),
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .and_then(|()| file.sync_data());
    written.file("write", &path)?;
    Ok(file)
}

fn holder(lock: &Path) -> String {
    match fs::read_to_string(lock) {
        Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
        Ok(_) | Err(_) => "(unknown)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_told_the_directory_and_the_pid() {
        let temp = tempfile::tempdir().unwrap();
        let _held = DataDir::open(temp.path().join("data")).unwrap();
        let refused = DataDir::open(temp.path().join("data")).unwrap_err().to_string();
        assert!(refused.contains(&temp.path().join("data").display().to_string()), "{refused}");
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
    }

    #[test]
    fn a_directory_is_free_again_once_its_holder_is_gone() {
        let temp = tempfile::tempdir().unwrap();
        drop(DataDir::open(temp.path()).unwrap());
        DataDir::open(temp.path()).unwrap();
    }

    #[test]
    fn reading_needs_no_lock_but_a_directory() {
        let temp = tempfile::tempdir().unwrap();
        let _held = DataDir::open(temp.path()).unwrap();
        DataDir::read_only(temp.path()).unwrap();
        assert!(DataDir::read_only(temp.path().join("nowhere")).is_err());
    }
}
