//! What can go wrong while remembering, each variant named for what was being done.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::kv::KvError;
use crate::record::RecordError;
use crate::{AppendError, Lsn, RecordKind};

/// A failure of the store, the journal or their files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file operation failed.
    #[error("could not {doing} {}", path.display())]
    File {
        /// The verb: "read", "write", "sync".
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The data directory is to be where a file is.
    #[error("{} is a file, and a directory is expected; move it away, or use another data directory", path.display())]
    NotADirectory {
        /// The file.
        path: PathBuf,
    },
    /// Another process has the data directory.
    #[error("{} is in use by process {pid}; stop that one, or use another data directory", dir.display())]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// Who has it, as its lock file says.
        pid: String,
    },
    /// A journal segment has a record that was once good.
    #[error("{} is damaged at byte {offset}: {why}; restore it from a backup or a peer", path.display())]
    CorruptJournal {
        /// The segment.
        path: PathBuf,
        /// Where the damage begins.
        offset: u64,
        /// What is wrong there.
        why: &'static str,
    },
    /// A journal record can't be decoded though its checksum holds.
    #[error("{} holds a record at byte {offset} that can't be decoded", path.display())]
    UndecodableEntry {
        /// The segment.
        path: PathBuf,
        /// Where the record begins.
        offset: u64,
        /// What is wrong with it.
        source: RecordError,
    },
    /// Segments do not follow each other.
    #[error("{} begins at entry {found}, but the journal goes on at entry {expected}: a segment is missing", path.display())]
    MissingSegment {
        /// The segment that begins too late or too early.
        path: PathBuf,
        /// Where it should begin.
        expected: Lsn,
        /// Where it begins.
        found: Lsn,
    },
    /// The checkpoint knows entries that the journal does not have.
    #[error(
        "the journal in {} ends at entry {journal}, but the checkpoint covers entry {checkpoint}: \
         restore the journal that belongs to this checkpoint",
        dir.display()
    )]
    JournalBehind {
        /// The journal's directory.
        dir: PathBuf,
        /// The journal's last entry.
        journal: Lsn,
        /// The last entry that was sealed.
        checkpoint: Lsn,
    },
    /// Old entries were pruned and nothing says what became of them.
    #[error(
        "the journal in {} begins at entry {first}, but there is no checkpoint for what came before: \
         restore the file `checkpoint` or `checkpoint.old`",
        dir.display()
    )]
    CheckpointMissing {
        /// The journal's directory.
        dir: PathBuf,
        /// The journal's first entry.
        first: Lsn,
    },
    /// The journal's writer failed on a group.
    #[error("the journal's writer failed")]
    Writer(#[source] Arc<Self>),
    /// The journal did not take a change.
    #[error("the journal did not take it")]
    NotTaken(#[source] AppendError),
    /// A change was not durable in time.
    #[error(
        "the disk did not confirm it within {seconds} s, it may be full or very slow; make room and try again: it may have \
         been kept all the same"
    )]
    NotConfirmed {
        /// How long that was.
        seconds: u64,
    },
    /// The journal's writer went away before it answered.
    #[error("the journal's writer went away before it answered; try again")]
    WriterGone,
    /// A snapshot file is damaged and there is no older one to fall back to.
    #[error("{} is damaged: {why}; restore it from a backup, or move it away to begin anew", path.display())]
    CorruptSnapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A snapshot file is whole but can't be decoded.
    #[error("could not decode {}", path.display())]
    DecodeSnapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: RecordError,
    },
    /// A record is there and can't be read.
    #[error("could not read the record {key:?} of kind {kind:?}")]
    Record {
        /// Its kind.
        kind: RecordKind,
        /// Its key.
        key: String,
        /// What is wrong with it.
        source: RecordError,
    },
    /// A value can't be encoded.
    #[error("could not encode {what}")]
    Encode {
        /// What it was.
        what: &'static str,
        /// Why not.
        source: RecordError,
    },
    /// A frame can't be compressed.
    #[error("could not compress a frame: {why}")]
    Compress {
        /// What the codec said.
        why: String,
    },
    /// A frame is damaged.
    #[error("a frame is damaged: {why}")]
    CorruptFrame {
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is too little space left to write into buckets; what is committed stays in the journal meanwhile.
    #[error(
        "{} has only {free_bytes} bytes left; free some space, shorten the retention, or lower its size limit",
        dir.display()
    )]
    DiskFull {
        /// The directory of the buckets.
        dir: PathBuf,
        /// What is left there.
        free_bytes: u64,
    },
    /// An answer would be larger than one may be.
    #[error(
        "the answer has more than {most} {what}; ask for a shorter range, a wider interval or fewer series"
    )]
    TooMuch {
        /// Of what there is too much.
        what: &'static str,
        /// How much one answer may have.
        most: usize,
    },
    /// There is no such time zone.
    #[error(
        "{zone:?} is no time zone that is known here; a name such as Europe/Berlin or a POSIX rule is expected"
    )]
    UnknownZone {
        /// What was given.
        zone: String,
    },
    /// A time that no calendar reaches.
    #[error("{at} is beyond every calendar")]
    NoCalendar {
        /// The time.
        at: voltree_model::Timestamp,
    },
    /// Points could not be chosen for a chart.
    #[error("could not choose the points of a chart: {why}")]
    Chart {
        /// What was wrong.
        why: String,
    },
    /// Whoever asked called the question off.
    #[error("the question was called off")]
    Cancelled,
    /// A bucket can't be opened, and not because it is damaged.
    #[error("could not open the bucket {}", path.display())]
    OpenBucket {
        /// Its directory.
        path: PathBuf,
        /// What its engine said.
        source: KvError,
    },
    /// An open bucket failed.
    #[error("could not {doing} the bucket {}", path.display())]
    Bucket {
        /// The verb: "read", "write", "sync".
        doing: &'static str,
        /// Its directory.
        path: PathBuf,
        /// What its engine said.
        source: KvError,
    },
}

/// Says what was being done to which path when a file operation fails.
pub(crate) trait FileContext<T> {
    /// Turns the system's error into ours.
    fn file(self, doing: &'static str, path: &std::path::Path) -> Result<T, Error>;
}

impl<T> FileContext<T> for io::Result<T> {
    fn file(self, doing: &'static str, path: &std::path::Path) -> Result<T, Error> {
        self.map_err(|source| Error::File { doing, path: path.to_owned(), source })
    }
}
