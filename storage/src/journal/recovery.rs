//! Opening a journal after whatever ended it: every record is checked, a torn end is cut off, damage is refused.
//!
//! The last segment is written anew before it is trusted. If the former process died after a failed sync, records may
//! still be readable that are on no disk; copying them makes them durable, as nothing else would.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use super::catalog::{Catalog, Segment};
use super::peek::{Peeked, peek};
use super::reading::{Parsed, ReadNames};
use super::segment::{self, HEADER_BYTES};
use voltree_model::{DeviceId, SeriesSet};

use crate::error::FileContext;
use crate::record::{self, MAX_RECORD_BYTES, RecordError};
use crate::{Disk, Entry, Error, Lsn, Positions};

/// The extension of a segment's copy while it is being made.
const COPY: &str = "copy";

/// How much is read of a record for its names; mostly that is all of it.
const NAMES_BYTES: usize = 4_096;

/// A record of a segment on disk, its checksum good.
struct Scanned<'a> {
    lsn: Lsn,
    payload: &'a [u8],
    offset: u64,
    end: u64,
}

/// How a segment's bytes ended.
struct Scan {
    /// How much of it is good.
    good: usize,
    /// The entry that would come next.
    next: Lsn,
}

/// Reads all segments into the catalog and the positions; says how many torn bytes were cut off the end.
pub(super) fn recover(
    disk: &dyn Disk,
    dir: &Path,
    catalog: &mut Catalog,
    positions: &Positions,
) -> Result<u64, Error> {
    let segments = segments(disk, dir)?;
    remove_leftovers(disk, dir)?;
    let mut torn = 0;
    for (index, first) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        check_continuity(dir, catalog, *first, index == 0)?;
        torn = recover_segment(disk, dir, *first, last, catalog, positions)?;
    }
    Ok(torn)
}

/// Hands every entry after `from` to `each`, without changing anything; a torn end is passed over.
pub(super) fn scan_all(
    disk: &dyn Disk,
    dir: &Path,
    from: Lsn,
    mut each: impl FnMut(Lsn, Entry),
) -> Result<(), Error> {
    let segments = segments(disk, dir)?;
    for (index, first) in segments.iter().enumerate() {
        let next = segments.get(index + 1);
        if next.is_some_and(|next| next.previous() <= from) {
            continue;
        }
        let path = dir.join(segment::file_name(*first));
        let bytes = match disk.read(&path) {
            Ok(bytes) => bytes,
            // A running node may prune while we look.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::File { doing: "read", path, source }),
        };
        if next.is_none() && never_begun(&bytes, *first) {
            continue;
        }
        let mut names = ReadNames::new();
        let whole = Bytes { disk, path: &path, offset: 0, bytes: &bytes };
        let scan = scan(&path, &bytes, *first, next.is_none(), |scanned| {
            if scanned.lsn > from {
                each(scanned.lsn, whole.decode(scanned.offset, scanned.payload, &mut names)?);
            }
            Ok(())
        })?;
        if let Some(next) = next
            && scan.next != *next
        {
            let path = dir.join(segment::file_name(*next));
            return Err(Error::MissingSegment { path, expected: scan.next, found: *next });
        }
    }
    Ok(())
}

/// Decodes a piece of a segment that is known to be good; of entries whose owner is not wanted nothing but their number.
pub(super) fn decode_piece(
    piece: Bytes<'_>,
    wanted: impl Fn(Option<&DeviceId>) -> bool,
    mut each: impl FnMut(Lsn, Option<Entry>) -> ControlFlow<()>,
) -> Result<(), Error> {
    let Bytes { path, offset, bytes, .. } = piece;
    let mut names = ReadNames::new();
    let mut at = 0;
    while at < bytes.len() {
        let here = offset + to_u64(at);
        let record = segment::record_at(bytes, at).ok_or_else(|| no_longer_matches(path, here))?;
        let peeked = peek(record.payload).map_err(|source| undecodable(path, here, source))?;
        let entry = wanted(peeked.device.as_ref())
            .then(|| piece.decode(here, record.payload, &mut names))
            .transpose()?;
        if each(record.lsn, entry).is_break() {
            break;
        }
        at = record.end;
    }
    Ok(())
}

/// Some bytes of a segment, and where the others are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) path: &'a Path,
    pub(super) offset: u64,
    pub(super) bytes: &'a [u8],
}

impl Bytes<'_> {
    /// Decodes the entry of a record; its names may stand further up in the segment.
    fn decode(&self, offset: u64, payload: &[u8], names: &mut ReadNames) -> Result<Entry, Error> {
        let bad = |source| undecodable(self.path, offset, source);
        let Some(parsed) = Parsed::of(payload).map_err(bad)? else {
            return record::decode(payload).map_err(bad);
        };
        let Some(place) = parsed.names_at() else {
            let series = parsed.names().map_err(bad)?;
            let entry = parsed.entry(&series).map_err(bad)?;
            if let Ok(place) = u32::try_from(offset) {
                names.insert(place, series);
            }
            return Ok(entry);
        };
        let series = match names.get(&place) {
            Some(series) => series.clone(),
            None => {
                let series = self.names_at(u64::from(place))?;
                names.insert(place, series.clone());
                series
            }
        };
        parsed.entry(&series).map_err(bad)
    }

    /// The names in the record at an offset of the segment.
    fn names_at(&self, offset: u64) -> Result<SeriesSet, Error> {
        let inside = offset.checked_sub(self.offset).and_then(|at| usize::try_from(at).ok());
        let inside = inside.and_then(|at| segment::record_at(self.bytes, at));
        let read;
        let record = match inside {
            Some(record) => Some(record),
            None => {
                read = self.read_record(offset)?;
                segment::record_at(&read, 0)
            }
        };
        let record = record.ok_or_else(|| no_longer_matches(self.path, offset))?;
        let bad = |source| undecodable(self.path, offset, source);
        let parsed = Parsed::of(record.payload).and_then(|parsed| parsed.ok_or(RecordError::Malformed));
        parsed.and_then(|parsed| parsed.names()).map_err(bad)
    }

    fn read_record(&self, offset: u64) -> Result<Vec<u8>, Error> {
        let read = |len| self.disk.read_at(self.path, offset, len).file("read", self.path);
        let bytes = read(NAMES_BYTES)?;
        match segment::record_len(&bytes).filter(|len| *len > bytes.len() && *len <= MAX_RECORD_BYTES) {
            Some(len) => read(len),
            None => Ok(bytes),
        }
    }
}

fn no_longer_matches(path: &Path, offset: u64) -> Error {
    let why = "a record that was committed no longer matches its checksum";
    Error::CorruptJournal { path: path.to_owned(), offset, why }
}

/// Creates a segment, durably, before anything is written to it.
///
/// Room for all of it is set aside at once, if the file system can do that: then no group waits for it to find some.
pub(super) fn create_segment(disk: &dyn Disk, dir: &Path, first: Lsn, bytes: u64) -> Result<Segment, Error> {
    let path = dir.join(segment::file_name(first));
    write_whole(disk, &path, &segment::header(first), bytes)?;
    disk.sync_dir(dir).file("sync", dir)?;
    Ok(Segment::new(first, path, to_u64(HEADER_BYTES)))
}

fn segments(disk: &dyn Disk, dir: &Path) -> Result<Vec<Lsn>, Error> {
    let names = disk.list(dir).file("list", dir)?;
    Ok(names.iter().filter_map(|name| segment::first_lsn(name)).collect())
}

/// Removes copies whose making was cut short.
fn remove_leftovers(disk: &dyn Disk, dir: &Path) -> Result<(), Error> {
    for name in disk.list(dir).file("list", dir)? {
        if Path::new(&name).extension().is_some_and(|extension| extension == COPY) {
            let path = dir.join(name);
            disk.remove(&path).file("remove", &path)?;
        }
    }
    Ok(())
}

fn check_continuity(dir: &Path, catalog: &mut Catalog, found: Lsn, oldest: bool) -> Result<(), Error> {
    if oldest {
        catalog.begin_at(found);
    }
    let expected = catalog.committed().next();
    if found == expected {
        return Ok(());
    }
    Err(Error::MissingSegment { path: dir.join(segment::file_name(found)), expected, found })
}

fn recover_segment(
    disk: &dyn Disk,
    dir: &Path,
    first: Lsn,
    last: bool,
    catalog: &mut Catalog,
    positions: &Positions,
) -> Result<u64, Error> {
    let path = dir.join(segment::file_name(first));
    let bytes = disk.read(&path).file("read", &path)?;
    if last && never_begun(&bytes, first) {
        disk.remove(&path).file("remove", &path)?;
        catalog.add_segment(create_segment(disk, dir, first, 0)?);
        return Ok(to_u64(bytes.len()));
    }
    catalog.add_segment(Segment::new(first, path.clone(), to_u64(HEADER_BYTES)));
    let scan = scan(&path, &bytes, first, last, |Scanned { lsn, payload, offset, end }| {
        let Peeked { device, origin, change } =
            peek(payload).map_err(|source| undecodable(&path, offset, source))?;
        positions.note(lsn, device.as_ref(), origin, change.as_ref());
        catalog.add_unread(lsn, offset, end);
        Ok(())
    })?;
    if last {
        rewrite(disk, dir, &path, bytes.get(..scan.good).unwrap_or_default())?;
    }
    Ok(to_u64(bytes.len() - scan.good))
}

/// Whether a power cut fell into the creation of the segment: no record was ever written to it.
fn never_begun(bytes: &[u8], first: Lsn) -> bool {
    bytes.len() <= HEADER_BYTES && segment::check_header(bytes, first).is_err()
}

fn scan(
    path: &Path,
    bytes: &[u8],
    first: Lsn,
    last: bool,
    mut each: impl FnMut(Scanned<'_>) -> Result<(), Error>,
) -> Result<Scan, Error> {
    let corrupt =
        |offset: usize, why| Error::CorruptJournal { path: path.to_owned(), offset: to_u64(offset), why };
    segment::check_header(bytes, first).map_err(|why| corrupt(0, why))?;
    let mut scan = Scan { good: HEADER_BYTES, next: first };
    while scan.good < bytes.len() {
        let record = segment::record_at(bytes, scan.good).filter(|record| record.lsn == scan.next);
        let Some(record) = record else {
            if !last {
                return Err(corrupt(scan.good, "the record does not match its checksum"));
            }
            if segment::was_committed(bytes, scan.good, scan.next) {
                return Err(corrupt(
                    scan.good,
                    "the record does not match its checksum, and later ones built on it",
                ));
            }
            break;
        };
        let (offset, end) = (to_u64(scan.good), to_u64(record.end));
        each(Scanned { lsn: record.lsn, payload: record.payload, offset, end })?;
        scan = Scan { good: record.end, next: record.lsn.next() };
    }
    Ok(scan)
}

fn undecodable(path: &Path, offset: u64, source: RecordError) -> Error {
    Error::UndecodableEntry { path: path.to_owned(), offset, source }
}

fn rewrite(disk: &dyn Disk, dir: &Path, path: &Path, good: &[u8]) -> Result<(), Error> {
    let copy = path.with_extension(COPY);
    write_whole(disk, &copy, good, 0)?;
    disk.rename(&copy, path).file("replace", path)?;
    disk.sync_dir(dir).file("sync", dir)
}

fn write_whole(disk: &dyn Disk, path: &Path, bytes: &[u8], reserve: u64) -> Result<(), Error> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).file("remove", path),
        Ok(()) | Err(_) => {}
    }
    let mut file = disk.create(path).file("create", path)?;
    if let Err(error) = file.reserve(reserve) {
        tracing::debug!(%error, "no room could be set aside for a segment; it will be found as it is written");
    }
    file.append(bytes).file("write", path)?;
    file.sync_data().file("sync", path)
}

pub(super) fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
