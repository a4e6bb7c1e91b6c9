//! The writer: takes what is queued, writes it, syncs it, tells everybody. One group after the other.
//!
//! A group that was begun and not finished, for whatever reason, is cut off before the next one: after a failed sync
//! nobody can say what is on the disk, so the writer goes on in a new segment behind the last entry it is sure of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use voltree_model::{DeviceId, Origin};

use super::catalog::Written;
use super::load::Load;
use super::queue::{Append, AppendError, Done, push_payload};
use super::reading::KnownNames;
use super::recovery::{create_segment, to_u64};
use super::segment::{HEADER_BYTES, push_record};
use super::{JournalSlot, JournalStats};
use crate::clock;
use crate::error::FileContext;
use crate::{DiskFile, Entry, Error, Lsn};

/// A group is synced once it has this many bytes, however young it is.
const GROUP_BYTES: u64 = 4 * 1024 * 1024;

/// The writer's state; whoever holds it is the writer.
#[derive(Debug)]
pub(super) struct Writer {
    /// The last segment, open for writing.
    file: Option<Box<dyn DiskFile>>,
    /// How much of the last segment is written.
    len: u64,
    /// Which names the last segment has, as far as this writer put them there.
    known: KnownNames,
    committed: Lsn,
    last_sync_began: Option<Instant>,
    load: Load,
    /// A group was begun and not finished.
    unfinished: bool,
}

/// A busy one gathers for that many times as long: what each sync and each answer costs is shared by more entries.
const BUSY_STRETCH: u32 = 4;

/// How often a writer that waits for space looks for it.
const SPACE_CHECK: Duration = Duration::from_millis(100);

/// Entries that are made durable by one sync.
#[derive(Default)]
struct Group {
    written: Vec<Written>,
    origins: BTreeMap<DeviceId, Origin>,
    /// The device of the last entry with its last origin, which is not among the others: the next entry is mostly its too.
    last: Option<(DeviceId, Origin)>,
    waiting: Vec<(Done, Lsn)>,
    /// What goes into the file, all at once.
    buffer: Vec<u8>,
}

impl Group {
    fn bytes(&self) -> u64 {
        to_u64(self.buffer.len())
    }
}

impl Writer {
    pub(super) fn new(committed: Lsn) -> Self {
        Self {
            file: None,
            len: 0,
            known: KnownNames::default(),
            committed,
            last_sync_began: None,
            load: Load::default(),
            unfinished: false,
        }
    }

    pub(super) fn run(&mut self, slot: &JournalSlot, stop: &AtomicBool) -> Result<(), Error> {
        self.prepare(slot)?;
        while slot.queue.wait(stop) && slot.wait_for_space(stop) {
            if let Some(first) = slot.queue.pop() {
                self.write_group(slot, first, stop)?;
            }
        }
        Ok(())
    }

    /// Makes sure that there is a segment that ends with the last committed entry and is open for writing.
    fn prepare(&mut self, slot: &JournalSlot) -> Result<(), Error> {
        if self.unfinished {
            self.file = None;
            self.cut_off_unfinished(slot)?;
            self.unfinished = false;
        }
        if self.file.is_some() {
            return Ok(());
        }
        let last = slot.catalog.read().last_segment().map(|segment| (segment.path.clone(), segment.len));
        // A full one is left alone even if the last attempt to follow it up failed half-way: that made a file which
        // is named for the entry to come.
        let last = last.filter(|(_, len)| *len <= full_at(slot));
        let Some((path, len)) = last else { return self.begin_segment(slot) };
        self.file = Some(slot.disk.open_append(&path).file("open", &path)?);
        self.known = KnownNames::default();
        self.len = len;
        Ok(())
    }

    fn cut_off_unfinished(&self, slot: &JournalSlot) -> Result<(), Error> {
        let last = slot.catalog.read().last_segment().cloned();
        if let Some(segment) = last {
            slot.disk.truncate(&segment.path, segment.len).file("truncate", &segment.path)?;
            tracing::warn!(
                event = "journal.group_cut_off",
                committed = self.committed.0,
                "going on in a new segment"
            );
        }
        self.replace_segment(slot)
    }

    fn begin_segment(&mut self, slot: &JournalSlot) -> Result<(), Error> {
        self.file = None;
        self.replace_segment(slot)?;
        self.prepare(slot)
    }

    /// Begins the segment after the last committed entry; an empty one of the same name gives way.
    fn replace_segment(&self, slot: &JournalSlot) -> Result<(), Error> {
        let first = self.committed.next();
        // Readers have no business in an empty segment, so its file can be replaced before they are told.
        let segment = create_segment(slot.disk.as_ref(), &slot.dir, first, slot.options.segment_bytes)?;
        let mut catalog = slot.catalog.write();
        if catalog.last_segment().is_some_and(|last| last.first == first) {
            catalog.remove_last_segment();
        }
        catalog.add_segment(segment);
        Ok(())
    }

    fn write_group(&mut self, slot: &JournalSlot, first: Append, stop: &AtomicBool) -> Result<(), Error> {
        self.unfinished = true;
        let mut group = Group::default();
        let result = self.fill(slot, &mut group, first, stop).and_then(|()| self.sync(slot, &group));
        let Group { written, waiting, .. } = group;
        if let Err(error) = result {
            let error = Arc::new(error);
            slot.stats.lock().failures += 1;
            for (done, _) in waiting {
                done(Err(AppendError::Writer(Arc::clone(&error))));
            }
            return Err(Error::Writer(error));
        }
        let last = written.last().map(|written| written.lsn);
        slot.publish(written);
        self.committed = last.unwrap_or(self.committed);
        self.unfinished = false;
        for (done, lsn) in waiting {
            done(Ok(lsn));
        }
        if last.is_some() {
            slot.listeners.read().iter().for_each(|listener| listener(self.committed));
        }
        self.roll(slot)
    }

    /// Gathers what comes after the first append until the group has to be synced, and writes all of it.
    fn fill(
        &mut self,
        slot: &JournalSlot,
        group: &mut Group,
        first: Append,
        stop: &AtomicBool,
    ) -> Result<(), Error> {
        let now = clock::monotonic();
        let stretch = if slot.is_busy() { BUSY_STRETCH } else { 1 };
        let interval = slot.options.sync_interval * stretch;
        let paced = self.last_sync_began.map_or(now, |began| began + interval);
        let due = paced.min(now + slot.options.sync_deadline);
        self.add(slot, group, first);
        for append in slot.queue.gather(due, GROUP_BYTES.saturating_sub(group.bytes()), stop) {
            self.add(slot, group, append);
        }
        self.write(slot, group)
    }

    fn add(&mut self, slot: &JournalSlot, group: &mut Group, append: Append) {
        append.encoded.into_each(|entry, ahead| {
            if group.has(slot, &entry) {
                return;
            }
            let lsn = group.written.last().map_or(self.committed, |written| written.lsn).next();
            let offset = self.len + group.bytes();
            push_record(&mut group.buffer, lsn, self.committed, |bytes| {
                push_payload(&entry, ahead, offset, &mut self.known, bytes);
            });
            let end = self.len + group.bytes();
            group.written.push(Written { lsn, entry, offset, end });
        });
        let last = group.written.last().map_or(self.committed, |written| written.lsn);
        group.waiting.push((append.done, last));
    }

    fn write(&mut self, slot: &JournalSlot, group: &Group) -> Result<(), Error> {
        if group.buffer.is_empty() {
            return Ok(());
        }
        let file = self.file.as_mut().expect("prepare opened it, and only prepare closes it");
        file.append(&group.buffer).file("write", &slot.dir)?;
        self.len += group.bytes();
        Ok(())
    }

    fn sync(&mut self, slot: &JournalSlot, group: &Group) -> Result<(), Error> {
        if group.written.is_empty() {
            return Ok(());
        }
        let began = clock::monotonic();
        if let Some(last) = self.last_sync_began.replace(began) {
            let entries = u32::try_from(group.written.len()).unwrap_or(u32::MAX);
            let is_busy = self.load.after(entries, began.duration_since(last));
            slot.busy.store(is_busy, Ordering::Release);
        }
        let file = self.file.as_mut().expect("prepare opened it, and only prepare closes it");
        file.sync_data().file("sync", &slot.dir)?;
        let mut stats = slot.stats.lock();
        *stats = JournalStats {
            syncs: stats.syncs + 1,
            bytes: stats.bytes + group.bytes(),
            last_sync_duration: began.elapsed(),
            ..*stats
        };
        Ok(())
    }

    /// Begins a new segment when the last is full; between groups, so that a full segment is wholly synced.
    fn roll(&mut self, slot: &JournalSlot) -> Result<(), Error> {
        if self.len <= full_at(slot) {
            return Ok(());
        }
        self.begin_segment(slot)
    }
}

/// A segment that is longer takes no more groups; one without entries always takes one.
fn full_at(slot: &JournalSlot) -> u64 {
    slot.options.segment_bytes.saturating_sub(1).max(to_u64(HEADER_BYTES))
}

impl Group {
    /// Whether the entry is written already, on disk or in this group; takes note of it if not.
    fn has(&mut self, slot: &JournalSlot, entry: &Entry) -> bool {
        let (Some(device), Some(origin)) = (entry.device(), entry.origin()) else { return false };
        if let Some((_, last)) = self.last.as_mut().filter(|(of, _)| of == device) {
            let known = origin <= *last;
            *last = origin.max(*last);
            return known;
        }
        if let Some((of, last)) = self.last.take() {
            self.origins.insert(of, last);
        }
        let last = self.origins.get(device).copied().or_else(|| slot.positions.last_origin(device));
        let known = last.is_some_and(|last| origin <= last);
        self.last = Some((device.clone(), last.map_or(origin, |last| origin.max(last))));
        known
    }
}

impl JournalSlot {
    /// Waits until there is room to write: what waits in the queue waits a little longer, and nothing is lost. False once
    /// `stop` is set.
    fn wait_for_space(&self, stop: &AtomicBool) -> bool {
        while !stop.load(Ordering::Acquire) {
            // A disk that does not say how full it is gets the chance to fail.
            let free = self.disk.free_space(&self.dir).unwrap_or(u64::MAX);
            let is_full = free < self.options.min_free_bytes;
            let was_full = std::mem::replace(&mut self.stats.lock().disk_full, is_full);
            match (was_full, is_full) {
                (false, true) => tracing::error!(
                    event = "journal.disk_full",
                    free_bytes = free,
                    needed_bytes = self.options.min_free_bytes,
                    "nothing more is taken in until there is space again"
                ),
                (true, false) => {
                    tracing::info!(event = "journal.space_again", free_bytes = free, "going on");
                }
                (true, true) | (false, false) => {}
            }
            if !is_full {
                return true;
            }
            std::thread::park_timeout(SPACE_CHECK);
        }
        false
    }

    /// Shows a durable group to readers; the positions first, as the floor must never be above what they know.
    fn publish(&self, written: Vec<Written>) {
        let Some(last) = written.last().map(|written| written.lsn) else { return };
        self.positions.commit(written.iter().map(|written| (written.lsn, &written.entry)));
        let now = clock::monotonic();
        let mut catalog = self.catalog.write();
        written.into_iter().for_each(|written| catalog.add(written, now));
        drop(catalog);
        self.committed.store(last.0, Ordering::Release);
    }
}
