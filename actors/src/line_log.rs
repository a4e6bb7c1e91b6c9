//! A bounded log of small records, one JSON object a line, in two files: the one that is written, and the full one
//! before it. For what people want to read with any tool and what may be lost back to the last sync.
//!
//! A line that was cut short by a crash is cut off, one that can't be read is passed over and counted. It never holds
//! more than twice what it must keep.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use voltree_storage::{Disk, DiskFile};

/// A log file could not be used.
#[derive(Debug, thiserror::Error)]
#[error("could not {doing} {}", path.display())]
pub struct LineLogError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// The log.
#[derive(Debug)]
pub(crate) struct LineLog {
    disk: Arc<dyn Disk>,
    current: PathBuf,
    previous: PathBuf,
    file: Option<Box<dyn DiskFile>>,
    /// How much of the current file is known to be good.
    len: u64,
    lines: usize,
    keep: usize,
}

/// What a log held when it was opened.
#[derive(Debug)]
pub(crate) struct Loaded<T> {
    /// The last records, oldest first.
    pub(crate) records: Vec<T>,
    /// Lines that could not be read.
    pub(crate) unreadable: usize,
}

/// Reads the last records of the log `name` in `dir`, whoever writes it, and leaves it as it is.
pub(crate) fn load<T: DeserializeOwned>(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    keep: usize,
) -> Result<Loaded<T>, LineLogError> {
    let before = read(disk, &dir.join(format!("{name}.1.jsonl")))?;
    let now = read(disk, &dir.join(format!("{name}.jsonl")))?;
    let whole = now.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    Ok(Loaded::of(&before, &now[..whole], keep))
}

impl<T: DeserializeOwned> Loaded<T> {
    fn of(before: &[u8], now: &[u8], keep: usize) -> Self {
        let mut loaded = Self { records: Vec::new(), unreadable: 0 };
        for line in before.split(|byte| *byte == b'\n').chain(now.split(|byte| *byte == b'\n')) {
            match serde_json::from_slice(line) {
                Ok(record) => loaded.records.push(record),
                Err(_) => loaded.unreadable += usize::from(!line.is_empty()),
            }
        }
        loaded.records.drain(..loaded.records.len().saturating_sub(keep));
        loaded
    }
}

impl LineLog {
    /// Opens the log `name` in `dir`, which keeps at least the last `keep` records, and reads them.
    pub(crate) fn open<T: DeserializeOwned>(
        disk: Arc<dyn Disk>,
        dir: &Path,
        name: &str,
        keep: usize,
    ) -> Result<(Self, Loaded<T>), LineLogError> {
        let (current, previous) = (dir.join(format!("{name}.jsonl")), dir.join(format!("{name}.1.jsonl")));
        let (before, now) = (read(disk.as_ref(), &previous)?, read(disk.as_ref(), &current)?);
        let whole = now.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let mut log = Self {
            len: u64::try_from(whole).unwrap_or(u64::MAX),
            lines: now[..whole].iter().filter(|byte| **byte == b'\n').count(),
            file: None,
            disk,
            current,
            previous,
            keep,
        };
        if !now.is_empty() {
            log.reopen()?;
        }
        Ok((log, Loaded::of(&before, &now[..whole], keep)))
    }

    /// Returns once all records are on stable storage. After an error none of them counts as written.
    pub(crate) fn append<T: Serialize>(&mut self, records: &[T]) -> Result<(), LineLogError> {
        let mut bytes = Vec::new();
        for record in records {
            let line = serde_json::to_vec(record).map_err(io::Error::from);
            bytes.extend(line.map_err(|source| self.error("encode a record for", source))?);
            bytes.push(b'\n');
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.reopen()?,
        };
        if self.lines >= self.keep {
            file = self.rotate()?;
        }
        // After a failed write or sync the file is opened anew, and what may have reached it is cut off.
        let written = file.append(&bytes).and_then(|()| file.sync_data());
        written.map_err(|source| self.error("write", source))?;
        self.file = Some(file);
        self.len += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.lines += records.len();
        Ok(())
    }

    fn reopen(&mut self) -> Result<Box<dyn DiskFile>, LineLogError> {
        match self.disk.truncate(&self.current, self.len) {
            Ok(()) => self.disk.open_append(&self.current).map_err(|source| self.error("open", source)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create(),
            Err(source) => Err(self.error("cut", source)),
        }
    }

    fn rotate(&mut self) -> Result<Box<dyn DiskFile>, LineLogError> {
        let renamed = self.disk.rename(&self.current, &self.previous);
        renamed.map_err(|source| self.error("set aside", source))?;
        self.create()
    }

    fn create(&mut self) -> Result<Box<dyn DiskFile>, LineLogError> {
        let file = self.disk.create(&self.current).map_err(|source| self.error("create", source))?;
        let dir = self.current.parent().unwrap_or(Path::new("."));
        self.disk.sync_dir(dir).map_err(|source| self.error("create", source))?;
        (self.len, self.lines) = (0, 0);
        Ok(file)
    }

    fn error(&self, doing: &'static str, source: io::Error) -> LineLogError {
        LineLogError { doing, path: self.current.clone(), source }
    }
}

fn read(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, LineLogError> {
    match disk.read(path) {
        Ok(bytes) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(LineLogError { doing: "read", path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use voltree_storage::MemoryDisk;

    fn open(disk: &Arc<MemoryDisk>, keep: usize) -> (LineLog, Vec<u32>) {
        let (log, loaded) =
            LineLog::open(Arc::clone(disk) as Arc<dyn Disk>, Path::new("data"), "events", keep).unwrap();
        (log, loaded.records)
    }

    #[test]
    fn a_line_that_was_cut_short_is_cut_off_and_the_next_one_is_whole() {
        let disk = Arc::new(MemoryDisk::default());
        open(&disk, 10).0.append(&[1_u32, 2]).unwrap();
        disk.open_append(Path::new("data/events.jsonl")).unwrap().append(b"3").unwrap();
        open(&disk, 10).0.append(&[4_u32]).unwrap();
        assert_eq!(open(&disk, 10).1, [1, 2, 4]);
    }

    #[test]
    fn a_line_that_can_not_be_read_is_passed_over_and_counted() {
        let disk = Arc::new(MemoryDisk::default());
        open(&disk, 10).0.append(&["word".to_owned()]).unwrap();
        open(&disk, 10).0.append(&[4_u32]).unwrap();
        let (_, loaded) =
            LineLog::open::<u32>(Arc::clone(&disk) as Arc<dyn Disk>, Path::new("data"), "events", 10)
                .unwrap();
        assert_eq!((loaded.records, loaded.unreadable), (vec![4], 1));
    }

    proptest! {
        #[test]
        fn the_last_records_are_there_after_a_power_cut_and_the_files_stay_bounded(
            batches in prop::collection::vec(0_usize..7, 1..40),
            reopen in prop::collection::vec(any::<bool>(), 40),
        ) {
            let (disk, keep) = (Arc::new(MemoryDisk::default()), 10);
            let (mut log, _) = open(&disk, keep);
            let mut written = Vec::new();
            for (batch, reopen) in batches.into_iter().zip(reopen) {
                let records: Vec<u32> = (0..batch).map(|n| u32::try_from(written.len() + n).unwrap()).collect();
                log.append(&records).unwrap();
                written.extend(records);
                if reopen {
                    disk.power_cut(|| false);
                    log = open(&disk, keep).0;
                }
            }
            disk.power_cut(|| false);
            let last = &written[written.len().saturating_sub(keep)..];
            prop_assert_eq!(open(&disk, keep).1, last);
            let current = disk.read(Path::new("data/events.jsonl")).unwrap();
            let lines = current.iter().filter(|byte| **byte == b'\n').count();
            prop_assert!(lines < keep + 7, "{} lines", lines);
        }
    }
}
