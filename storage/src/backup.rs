//! Backups: a copy of everything a data directory holds, taken while a node works on it or while none does.
//!
//! What makes it whole: the checkpoint is from its beginning, the journal from its end, and buckets from in between. So
//! the journal has every entry that the checkpoint does not cover and every one that a bucket has already, and a node
//! that opens the copy folds the difference again without harm. Buckets are copied by content, which no engine's open
//! files can spoil, and only those that changed since the last backup into the same directory. The manifest is written
//! last: until then the last backup stands.

mod content;
mod manifest;
mod restore;

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;
use voltree_model::Timestamp;

use crate::bucket::Buckets;
use crate::error::FileContext;
use crate::{DataDir, Error, Level, Store};
use manifest::{FileCopy, Fingerprint, Manifest, copy, sync_dir};

pub use restore::{Restored, restore};

/// Where segments are linked while a backup is taken, so that pruning does not take them away.
const LINKS: &str = "backup-links";
/// What is no state: the lock, and what is copied in a way of its own.
const APART: [&str; 6] = ["LOCK", "journal", "buckets", "quarantine", LINKS, REQUESTS];
/// Where whoever may write into the data directory leaves word that a backup is wanted.
const REQUESTS: &str = "backup-requests";
/// What says that something is done must not be newer than what was done.
const FIRST: [&str; 4] = ["checkpoint", "checkpoint.changes", "checkpoint.old", "rolled-up"];
/// What says that something is gone must not be older.
const LAST: [&str; 1] = ["aged-out"];

/// What a backup came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct BackedUp {
    /// How many buckets it has.
    pub buckets: u64,
    /// How many of them had changed and were copied.
    pub buckets_copied: u64,
    /// How many bytes it has.
    pub bytes: u64,
    /// How many of them were written.
    pub bytes_written: u64,
}

struct Taking<'a> {
    store: &'a Store,
    data: &'a Path,
    to: &'a Path,
    before: Manifest,
    now: Manifest,
    done: BackedUp,
}

impl Store {
    /// Backs the data directory up into another directory, where the last backup may be. `progress` is told what is next,
    /// and ends it by breaking; what is copied already is not copied again the next time.
    pub fn back_up(
        &self,
        data: &DataDir,
        to: &Path,
        now: Timestamp,
        progress: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<BackedUp, Error> {
        back_up(self, data.root(), to, now, progress)
    }

    /// The same for a node, which knows its data directory by its store.
    pub fn back_up_own(
        &self,
        to: &Path,
        now: Timestamp,
        progress: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<BackedUp, Error> {
        back_up(self, self.data_root(), to, now, progress)
    }

    /// Where word that a backup is wanted lies in the data directory.
    pub fn backup_requests(&self) -> PathBuf {
        self.data_root().join(REQUESTS)
    }
}

fn back_up(
    store: &Store,
    data: &Path,
    to: &Path,
    now: Timestamp,
    progress: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<BackedUp, Error> {
    fs::create_dir_all(to).file("create", to)?;
    let (data_path, to_path) =
        (fs::canonicalize(data).file("read", data)?, fs::canonicalize(to).file("read", to)?);
    if to_path.starts_with(&data_path) {
        let source = io::Error::other("a backup must not lie in the data directory itself");
        return Err(Error::File { doing: "back up to", path: to.to_owned(), source });
    }
    let _alone = manifest::lock(to)?;
    let before = Manifest::load(to)?.unwrap_or_else(|| Manifest::new(now));
    let mut taking = Taking { store, data, to, before, now: Manifest::new(now), done: BackedUp::default() };
    taking.begin()?;
    let taken = taking.take(progress);
    // Links that are left behind are replaced by the next backup.
    fs::remove_dir_all(data.join(LINKS)).ok();
    taken?;
    Ok(taking.done)
}

impl Taking<'_> {
    /// Takes what must be from the beginning, and holds on to the journal.
    fn begin(&mut self) -> Result<(), Error> {
        let links = self.data.join(LINKS);
        match fs::remove_dir_all(&links) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).file("remove", &links);
            }
            Ok(()) | Err(_) => {}
        }
        fs::create_dir_all(&links).file("create", &links)?;
        let _no_seal = self.store.sealing_lock();
        self.link_journal()?;
        FIRST.iter().try_for_each(|name| self.state(Path::new(name)))
    }

    fn take(&mut self, progress: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<(), Error> {
        let levels = [None, Some(Level::Minutes), Some(Level::Hours), Some(Level::Days)];
        for (directory, buckets) in levels.map(|level| self.store.buckets_of(level)) {
            for name in buckets.names() {
                if progress(&format!("{directory}/{name}")).is_break() {
                    return Err(Error::Cancelled);
                }
                self.bucket(directory, buckets, &name)?;
            }
        }
        self.states(Path::new(""))?;
        {
            let _no_seal = self.store.sealing_lock();
            LAST.iter().try_for_each(|name| self.state(Path::new(name)))?;
            // Retention may have taken some away since.
            let gone = |directory: &str, name: &str| {
                let of_level = levels.map(|level| self.store.buckets_of(level));
                !of_level.iter().any(|(known, b)| *known == directory && b.names().iter().any(|n| n == name))
            };
            self.now.buckets.retain(|bucket| !gone(&bucket.level, &bucket.name));
            self.link_journal()?;
        }
        self.journal(progress)?;
        sync_dir(self.to)?;
        self.now.save(self.to)?;
        self.done.buckets = u64::try_from(self.now.buckets.len()).unwrap_or(u64::MAX);
        self.done.bytes = self.now.files().map(|file| file.bytes).sum();
        self.now.remove_others(self.to)
    }

    /// Another name for each segment, so that it stays when it is pruned.
    fn link_journal(&self) -> Result<(), Error> {
        let (journal, links) = (self.data.join("journal"), self.data.join(LINKS));
        for name in names(&journal)? {
            let (from, to) = (journal.join(&name), links.join(&name));
            match fs::hard_link(&from, &to) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                // A last segment that was made anew goes by the same name.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).file("link", &from),
            }
        }
        Ok(())
    }

    fn journal(&mut self, progress: &mut dyn FnMut(&str) -> ControlFlow<()>) -> Result<(), Error> {
        let links = self.data.join(LINKS);
        let segments = names(&links)?;
        for (index, name) in segments.iter().enumerate() {
            if progress(&format!("journal/{name}")).is_break() {
                return Err(Error::Cancelled);
            }
            let (from, place) = (links.join(name), PathBuf::from("journal").join(name));
            let size = fs::metadata(&from).file("read", &from)?.len();
            // Only the last segment still grows.
            let known =
                self.before.file(&place).filter(|known| known.bytes == size && index + 1 < segments.len());
            let known = known.filter(|known| known.is_there(self.to)).cloned();
            let copied = match known {
                Some(known) => known,
                None => self.copied(&from, place)?,
            };
            self.now.state.push(copied);
        }
        Ok(())
    }

    fn bucket(&mut self, directory: &str, buckets: &Buckets, name: &str) -> Result<(), Error> {
        let fingerprint = Fingerprint::of(&buckets.path(name))?;
        let known = self.before.bucket(directory, name);
        let unchanged =
            known.filter(|known| known.fingerprint == fingerprint && known.file.is_there(self.to));
        if let Some(known) = unchanged {
            self.now.buckets.push(known.clone());
            return Ok(());
        }
        // No part may move into another while they are read.
        let no_seal = self.store.sealing_lock();
        let Some(bucket) = buckets.find_named(name)? else { return Ok(()) };
        let copy = content::write(&bucket, self.to, directory, name)?;
        drop((bucket, no_seal));
        self.done.buckets_copied += u64::from(copy.is_new);
        self.done.bytes_written += if copy.is_new { copy.file.bytes } else { 0 };
        let (level, name) = (directory.to_owned(), name.to_owned());
        self.now.buckets.push(manifest::BucketCopy { level, name, fingerprint, file: copy.file });
        Ok(())
    }

    /// Every file that is not copied in a way of its own.
    fn states(&mut self, below: &Path) -> Result<(), Error> {
        let dir = self.data.join(below);
        let names = names(&dir)?;
        // A directory of an engine is a view of what is in the journal, and can't be copied while it is open.
        if names.iter().any(|name| name == "db") && names.iter().any(|name| name == "conf") {
            return Ok(());
        }
        for name in names {
            let apart =
                below == Path::new("") && [&APART[..], &FIRST, &LAST].concat().contains(&name.as_str());
            let path = below.join(&name);
            if apart || path.extension().is_some_and(|ending| ending == "new") {
                continue;
            }
            match fs::metadata(self.data.join(&path)) {
                Ok(found) if found.is_dir() => self.states(&path)?,
                Ok(_) => self.state(&path)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).file("read", &path),
            }
        }
        Ok(())
    }

    fn state(&mut self, path: &Path) -> Result<(), Error> {
        let from = self.data.join(path);
        match self.copied(&from, Path::new("files").join(path)) {
            Ok(copied) => self.now.state.push(copied),
            Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn copied(&mut self, from: &Path, place: PathBuf) -> Result<FileCopy, Error> {
        let copied = copy(from, self.to, place)?;
        self.done.bytes_written += copied.bytes;
        Ok(copied)
    }
}

fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).file("list", dir)? {
        names.extend(entry.file("list", dir)?.file_name().into_string().ok());
    }
    names.sort_unstable();
    Ok(names)
}
