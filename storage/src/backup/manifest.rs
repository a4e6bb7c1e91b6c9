//! What a backup consists of, and its files: each written beside its place, synced, and named in the manifest with its
//! checksum.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use voltree_model::Timestamp;

use crate::Error;
use crate::error::FileContext;

const NAME: &str = "manifest.json";
const LOCK: &str = "LOCK";
const VERSION: u32 = 1;

/// All of a backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Manifest {
    version: u32,
    /// When it was begun, in UTC milliseconds.
    pub(super) begun_ms: i64,
    pub(super) buckets: Vec<BucketCopy>,
    /// The journal's segments below `journal`, everything else below `files`.
    pub(super) state: Vec<FileCopy>,
}

/// One bucket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct BucketCopy {
    pub(super) level: String,
    pub(super) name: String,
    pub(super) fingerprint: Fingerprint,
    pub(super) file: FileCopy,
}

/// What a bucket's directory looked like; as long as it looks the same it has not changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Fingerprint {
    bytes: u64,
    newest_ns: u128,
    files: u64,
}

/// One file of the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileCopy {
    /// Below the backup's directory.
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) crc: u32,
}

impl Fingerprint {
    pub(super) fn of(dir: &Path) -> Result<Self, Error> {
        let mut found = Self { bytes: 0, newest_ns: 0, files: 0 };
        found.add(dir).file("read", dir)?;
        Ok(found)
    }

    fn add(&mut self, dir: &Path) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                self.add(&entry.path())?;
                continue;
            }
            let changed = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            self.bytes = self.bytes.saturating_add(metadata.len());
            self.newest_ns = self.newest_ns.max(changed.as_nanos());
            self.files += 1;
        }
        Ok(())
    }
}

impl FileCopy {
    /// Whether the file is there in its length; restoring looks at its checksum too.
    pub(super) fn is_there(&self, root: &Path) -> bool {
        fs::metadata(root.join(&self.path)).is_ok_and(|found| found.len() == self.bytes)
    }

    /// Fails unless the file is as it was written.
    pub(super) fn check(&self, root: &Path) -> Result<(), Error> {
        let path = root.join(&self.path);
        let mut file = File::open(&path).file("open", &path)?;
        let (bytes, crc) = sums(&mut file).file("read", &path)?;
        if (bytes, crc) == (self.bytes, self.crc) {
            return Ok(());
        }
        Err(Error::CorruptSnapshot { path, why: "it is not as the backup's manifest says" })
    }
}

impl Manifest {
    pub(super) fn new(begun: Timestamp) -> Self {
        Self { version: VERSION, begun_ms: begun.as_millis(), buckets: Vec::new(), state: Vec::new() }
    }

    /// The manifest of a backup, if there is one.
    pub(super) fn load(root: &Path) -> Result<Option<Self>, Error> {
        let path = root.join(NAME);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::File { doing: "read", path, source }),
        };
        match serde_json::from_slice::<Self>(&text) {
            Ok(manifest) if manifest.version == VERSION => Ok(Some(manifest)),
            Ok(_) => Err(Error::CorruptSnapshot { path, why: "its version is not known here" }),
            Err(_) => Err(Error::CorruptSnapshot { path, why: "it is no manifest of a backup" }),
        }
    }

    /// Puts it in place, which makes the backup the one that stands.
    pub(super) fn save(&self, root: &Path) -> Result<(), Error> {
        let (path, beside) = (root.join(NAME), root.join("manifest.new"));
        let text = serde_json::to_vec_pretty(self).map_err(io::Error::from).file("write", &path)?;
        let written = File::create(&beside).and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        });
        written.file("write", &beside)?;
        fs::rename(&beside, &path).file("write", &path)?;
        sync_dir(root)
    }

    pub(super) fn bucket(&self, level: &str, name: &str) -> Option<&BucketCopy> {
        self.buckets.iter().find(|bucket| bucket.level == level && bucket.name == name)
    }

    pub(super) fn file(&self, path: &Path) -> Option<&FileCopy> {
        self.state.iter().find(|file| file.path == path)
    }

    pub(super) fn files(&self) -> impl Iterator<Item = &FileCopy> {
        self.buckets.iter().map(|bucket| &bucket.file).chain(&self.state)
    }

    /// Removes what only earlier backups had.
    pub(super) fn remove_others(&self, root: &Path) -> Result<(), Error> {
        let wanted: BTreeSet<PathBuf> = self.files().map(|file| root.join(&file.path)).collect();
        for below in ["buckets", "journal", "files"] {
            remove_others(&root.join(below), &wanted)?;
        }
        Ok(())
    }
}

fn remove_others(dir: &Path, wanted: &BTreeSet<PathBuf>) -> Result<(), Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).file("list", dir),
    };
    for entry in entries {
        let path = entry.file("list", dir)?.path();
        if path.is_dir() {
            remove_others(&path, wanted)?;
        } else if !wanted.contains(&path) {
            fs::remove_file(&path).file("remove", &path)?;
        }
    }
    Ok(())
}

/// Keeps a second backup out of the directory for as long as the file is open.
pub(super) fn lock(root: &Path) -> Result<File, Error> {
    let path = root.join(LOCK);
    let opened =
        OpenOptions::new().create(true).truncate(false).write(true).open(&path).file("open", &path)?;
    match opened.try_lock() {
        Ok(()) => Ok(opened),
        Err(TryLockError::WouldBlock) => {
            Err(Error::Locked { dir: root.to_owned(), pid: "that takes another backup".to_owned() })
        }
        Err(TryLockError::Error(source)) => Err(Error::File { doing: "lock", path, source }),
    }
}

/// Copies a file to its place in the backup.
pub(super) fn copy(from: &Path, root: &Path, place: PathBuf) -> Result<FileCopy, Error> {
    let mut source = File::open(from).file("open", from)?;
    let path = root.join(&place);
    let dir = path.parent().unwrap_or(root);
    fs::create_dir_all(dir).file("create", dir)?;
    let beside = path.with_extension("copying");
    let mut target = File::create(&beside).file("create", &beside)?;
    let copied = io::copy(&mut source, &mut target).and_then(|_| target.sync_all());
    copied.file("copy", from)?;
    let (bytes, crc) = File::open(&beside).and_then(|mut file| sums(&mut file)).file("read", &beside)?;
    fs::rename(&beside, &path).file("write", &path)?;
    Ok(FileCopy { path: place, bytes, crc })
}

/// Length and checksum of a file.
pub(super) fn sums(file: &mut File) -> io::Result<(u64, u32)> {
    let (mut hasher, mut bytes) = (crc32fast::Hasher::new(), 0_u64);
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, hasher.finalize()));
        }
        hasher.update(buffer.get(..read).unwrap_or_default());
        bytes = bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    }
}

pub(super) fn sync_dir(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).file("sync", dir)
}
