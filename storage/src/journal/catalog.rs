//! What readers see of the journal: which segments there are, how far each is synced, and the newest entries in memory.
//!
//! Everything in here is committed. The writer adds to it after a sync; readers only take the lock long enough to
//! copy what they need, and read files without it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use voltree_model::DeviceId;

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
    pub(super) entry: Entry,
    pub(super) offset: u64,
    pub(super) end: u64,
}

/// Where a reader finds the entries after its cursor.
#[derive(Debug)]
pub(super) enum Found {
    Level,
    /// Those of them that are wanted, and the last one that was looked at.
    InMemory(Vec<(Lsn, Entry)>, Lsn),
    OnDisk(Piece),
}

/// How many of the newest entries stay in memory, for readers that follow closely.
#[derive(Debug, Clone, Copy)]
pub(super) struct TailLimits {
    pub(super) entries: usize,
    /// As encoded; in memory they are four times as large.
    pub(super) bytes: u64,
    /// Whoever is further behind reads files.
    pub(super) age: Duration,
}

/// The newest entries.
#[derive(Debug)]
struct Tail {
    entries: VecDeque<Kept>,
    bytes: u64,
    limits: TailLimits,
}

#[derive(Debug)]
struct Kept {
    lsn: Lsn,
    entry: Entry,
    bytes: u64,
    since: Instant,
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
    fn push(&mut self, written: Written, now: Instant) {
        let Written { lsn, entry, offset, end } = written;
        let bytes = end - offset;
        self.bytes += bytes;
        self.entries.push_back(Kept { lsn, entry, bytes, since: now });
        while self.has_too_much(now)
            && let Some(oldest) = self.entries.pop_front()
        {
            self.bytes -= oldest.bytes;
        }
    }

    fn has_too_much(&self, now: Instant) -> bool {
        let TailLimits { entries, bytes, age } = self.limits;
        let is_old = |oldest: &Kept| now.saturating_duration_since(oldest.since) > age;
        self.entries.len() > entries || self.bytes > bytes || self.entries.front().is_some_and(is_old)
    }

    fn first(&self) -> Option<Lsn> {
        self.entries.front().map(|kept| kept.lsn)
    }
}

impl Catalog {
    pub(super) fn new(limits: TailLimits) -> Self {
        let tail = Tail { entries: VecDeque::new(), bytes: 0, limits };
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

    /// Adds an entry of the last segment that is committed by now.
    pub(super) fn add(&mut self, written: Written, now: Instant) {
        self.add_unread(written.lsn, written.offset, written.end);
        self.tail.push(written, now);
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
    pub(super) fn find(&self, from: Lsn, max: usize, wanted: impl Fn(Option<&DeviceId>) -> bool) -> Found {
        let next = from.next().max(self.first());
        if next > self.committed || max == 0 {
            return Found::Level;
        }
        if let Some(skip) = self.tail.first().and_then(|first| next.0.checked_sub(first.0)) {
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            let looked_at = self.tail.entries.range(skip.min(self.tail.entries.len())..).take(max);
            let last = looked_at.clone().next_back().map_or(from, |kept| kept.lsn);
            let found = looked_at.filter(|kept| wanted(kept.entry.device()));
            return Found::InMemory(found.map(|kept| (kept.lsn, kept.entry.clone())).collect(), last);
        }
        let after = self.segments.partition_point(|segment| segment.first <= next);
        match after.checked_sub(1).and_then(|index| self.segments.get(index)) {
            Some(segment) => Found::OnDisk(segment.piece(next, max)),
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

#[cfg(test)]
mod tests {
    use voltree_model::{RejectReason, Timestamp};

    use super::*;

    fn written(lsn: u64) -> Written {
        let (reason, detail) = (RejectReason::BadValue, String::new());
        let at = Timestamp::from_millis(0);
        let entry = Entry::Rejected { device: None, origin: None, at, reason, detail };
        Written { lsn: Lsn(lsn), entry, offset: 10 * lsn, end: 10 * lsn + 10 }
    }

    #[test]
    fn entries_leave_memory_when_they_are_many_or_large_or_old() {
        let age = Duration::from_secs(4);
        let mut tail =
            Tail { entries: VecDeque::new(), bytes: 0, limits: TailLimits { entries: 3, bytes: 1_000, age } };
        let begin = crate::clock::monotonic();
        (1..=4).for_each(|lsn| tail.push(written(lsn), begin));
        assert_eq!((tail.first(), tail.bytes), (Some(Lsn(2)), 30));
        tail.push(written(5), begin + age);
        assert_eq!(tail.first(), Some(Lsn(3)), "not yet too old");
        tail.push(written(6), begin + age + Duration::from_millis(1));
        assert_eq!((tail.first(), tail.bytes), (Some(Lsn(5)), 20));
        tail.limits.bytes = 20;
        tail.push(written(7), begin + age);
        assert_eq!(tail.first(), Some(Lsn(6)));
    }
}
