//! What readers see of the journal: which segments there are, how far each is synced, and the newest entries in memory.
//!
//! Everything in here is committed. The writer adds to it after a sync; readers only take the lock long enough to
//! copy what they need, and read files without it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::{Entry, Lsn};

/// A place in a segment is remembered this often, so that a reader can begin near its entry.
const MARK_EVERY_BYTES: u64 = 64 * 1024;
/// How much a reader takes from a file at once, give or take one mark.
const READ_BYTES: u64 = 4 * 1024 * 1024;

/// One segment file.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) first: Lsn,
    pub(super) path: PathBuf,
    /// How much of it is committed.
    pub(super) len: u64,
    /// Entries and where their records begin, ascending.
    marks: Vec<(Lsn, u64)>,
}

/// A piece of a segment that begins and ends with whole records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) path: PathBuf,
    pub(super) offset: u64,
    pub(super) len: u64,
}

/// An entry on its way into the catalog.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) lsn: Lsn,
    pub(super) entry: Arc<Entry>,
    pub(super) offset: u64,
    pub(super) end: u64,
}

/// Where a reader finds the entries after its cursor.
#[derive(Debug)]
pub(super) enum Found {
    Level,
    InMemory(Vec<(Lsn, Arc<Entry>)>),
    OnDisk(Piece),
}

/// The newest entries, bounded by their number and their encoded size.
#[derive(Debug)]
struct Tail {
    entries: VecDeque<(Written, u64)>,
    bytes: u64,
    max_entries: usize,
    max_bytes: u64,
}

/// What readers see.
#[derive(Debug)]
pub(super) struct Catalog {
    segments: VecDeque<Segment>,
    tail: Tail,
    committed: Lsn,
}

impl Segment {
    pub(super) fn new(first: Lsn, path: PathBuf, len: u64) -> Self {
        Self { first, path, len, marks: vec![(first, len)] }
    }

    fn note(&mut self, lsn: Lsn, offset: u64, end: u64) {
        self.len = end;
        if self.marks.last().is_none_or(|(_, last)| offset >= last + MARK_EVERY_BYTES) {
            self.marks.push((lsn, offset));
        }
    }

    /// The piece that holds the entry and at most about `max` more.
    fn piece(&self, lsn: Lsn, max: usize) -> Piece {
        let begin = self.marks.partition_point(|(first, _)| *first <= lsn).saturating_sub(1);
        let offset = self.marks.get(begin).map_or(self.len, |(_, offset)| *offset);
        let last = Lsn(lsn.0.saturating_add(u64::try_from(max).unwrap_or(u64::MAX)));
        let after = self.marks.iter().skip(begin + 1);
        let mut enough = after.filter(|(first, at)| *first >= last || *at >= offset + READ_BYTES);
        let end = enough.next().map_or(self.len, |(_, at)| *at);
        Piece { path: self.path.clone(), offset, len: end - offset }
    }
}

impl Tail {
    fn push(&mut self, written: Written) {
        let bytes = written.end - written.offset;
        self.bytes += bytes;
        self.entries.push_back((written, bytes));
        while self.entries.len() > self.max_entries || self.bytes > self.max_bytes {
            let Some((_, bytes)) = self.entries.pop_front() else { break };
            self.bytes -= bytes;
        }
    }

    fn first(&self) -> Option<Lsn> {
        self.entries.front().map(|(written, _)| written.lsn)
    }
}

impl Catalog {
    pub(super) fn new(max_entries: usize, max_bytes: u64) -> Self {
        let tail = Tail { entries: VecDeque::new(), bytes: 0, max_entries, max_bytes };
        Self { segments: VecDeque::new(), tail, committed: Lsn(0) }
    }

    /// Says which entry the oldest segment begins with.
    pub(super) fn begin_at(&mut self, first: Lsn) {
        self.committed = first.previous();
    }

    pub(super) fn add_segment(&mut self, segment: Segment) {
        self.segments.push_back(segment);
    }

    pub(super) fn remove_last_segment(&mut self) {
        self.segments.pop_back();
    }

    pub(super) fn last_segment(&self) -> Option<&Segment> {
        self.segments.back()
    }

    /// Whether a segment is still kept.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.segments.iter().any(|segment| segment.path == path)
    }

    /// Adds a committed entry of the last segment.
    pub(super) fn add(&mut self, written: Written) {
        self.add_unread(written.lsn, written.offset, written.end);
        self.tail.push(written);
    }

    /// Adds a committed entry of the last segment that was found on disk; whoever wants it reads it there.
    pub(super) fn add_unread(&mut self, lsn: Lsn, offset: u64, end: u64) {
        self.committed = lsn;
        if let Some(segment) = self.segments.back_mut() {
            segment.note(lsn, offset, end);
        }
    }

    pub(super) fn committed(&self) -> Lsn {
        self.committed
    }

    /// The oldest entry that is kept; the next one to come if there is none.
    pub(super) fn first(&self) -> Lsn {
        self.segments.front().map_or(self.committed.next(), |segment| segment.first)
    }

    /// The entries after `from`, or where to read them. What was pruned is passed over.
    pub(super) fn find(&self, from: Lsn, max: usize) -> Found {
        let wanted = from.next().max(self.first());
        if wanted > self.committed || max == 0 {
            return Found::Level;
        }
        if let Some(skip) = self.tail.first().and_then(|first| wanted.0.checked_sub(first.0)) {
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            let entries = self.tail.entries.iter().skip(skip).take(max);
            return Found::InMemory(entries.map(|(w, _)| (w.lsn, Arc::clone(&w.entry))).collect());
        }
        let after = self.segments.partition_point(|segment| segment.first <= wanted);
        match after.checked_sub(1).and_then(|index| self.segments.get(index)) {
            Some(segment) => Found::OnDisk(segment.piece(wanted, max)),
            None => Found::Level,
        }
    }

    /// The oldest segment, if all its entries are at or below `below`, and two newer segments and `keep` bytes stay.
    pub(super) fn prunable(&self, below: Lsn, keep: u64) -> Option<&Segment> {
        let second = self.segments.get(1)?;
        if self.segments.iter().skip(1).map(|segment| segment.len).sum::<u64>() < keep {
            return None;
        }
        (self.segments.len() > 2 && second.first.previous() <= below).then(|| self.segments.front()).flatten()
    }

    pub(super) fn remove_first_segment(&mut self) {
        self.segments.pop_front();
    }
}
