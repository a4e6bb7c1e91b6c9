//! The bytes of a segment: a header that names its first entry, then records, each sealed by a checksum.
//!
//! A record also says which entry was committed when it was written. That tells damage from a torn write: a bad record
//! is torn if nothing after it was written in the knowledge that it was committed.

use crate::Lsn;

const MAGIC: &[u8; 8] = b"VOLTJRNL";
const VERSION: u32 = 1;
/// Magic, version, first LSN, checksum.
pub(super) const HEADER_BYTES: usize = 24;
/// Length, checksum, LSN, committed LSN.
pub(super) const RECORD_HEADER_BYTES: usize = 24;
const SUFFIX: &str = ".journal";

/// One record, as found in a segment's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) lsn: Lsn,
    pub(super) committed: Lsn,
    pub(super) payload: &'a [u8],
    /// Where the next record begins.
    pub(super) end: usize,
}

/// The name of the segment that begins with an entry.
pub(super) fn file_name(first: Lsn) -> String {
    format!("{:020}{SUFFIX}", first.0)
}

/// The entry that a segment of this name begins with.
pub(super) fn first_lsn(name: &str) -> Option<Lsn> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 20).then(|| digits.parse().ok().map(Lsn)).flatten()
}

/// The header of the segment that begins with an entry.
pub(super) fn header(first: Lsn) -> Vec<u8> {
    let mut bytes = [MAGIC.as_slice(), &VERSION.to_le_bytes(), &first.0.to_le_bytes()].concat();
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// What is wrong with a segment's header, if anything is.
pub(super) fn check_header(bytes: &[u8], first: Lsn) -> Result<(), &'static str> {
    let header_bytes = bytes.get(..HEADER_BYTES).ok_or("the header is cut short")?;
    if header_bytes == header(first) {
        return Ok(());
    }
    if !header_bytes.starts_with(MAGIC) {
        return Err("this is no journal segment");
    }
    if header_bytes.get(8..12) != Some(&VERSION.to_le_bytes()) {
        return Err("its version is not known here");
    }
    Err("the header does not match the file's name")
}

/// Adds a record to a buffer; `payload` adds what is in it.
pub(super) fn push_record(
    buffer: &mut Vec<u8>,
    lsn: Lsn,
    committed: Lsn,
    payload: impl FnOnce(&mut Vec<u8>),
) {
    let begin = buffer.len();
    buffer.extend_from_slice(&[0; 8]);
    buffer.extend_from_slice(&lsn.0.to_le_bytes());
    buffer.extend_from_slice(&committed.0.to_le_bytes());
    payload(buffer);
    let (header, payload) = buffer[begin..].split_at_mut(RECORD_HEADER_BYTES);
    let len = u32::try_from(payload.len()).expect("an encoded entry is limited to a few MiB");
    header[..4].copy_from_slice(&len.to_le_bytes());
    header[4..8].copy_from_slice(&checksum(len, lsn.0, committed.0, payload).to_le_bytes());
}

/// The record at an offset, if the bytes there are one.
pub(super) fn record_at(bytes: &[u8], offset: usize) -> Option<Record<'_>> {
    let (header, rest) = bytes.get(offset..)?.split_at_checked(RECORD_HEADER_BYTES)?;
    let len = u32::from_le_bytes(header.get(..4)?.try_into().ok()?);
    let crc = u32::from_le_bytes(header.get(4..8)?.try_into().ok()?);
    let lsn = u64::from_le_bytes(header.get(8..16)?.try_into().ok()?);
    let committed = u64::from_le_bytes(header.get(16..24)?.try_into().ok()?);
    let payload = rest.get(..usize::try_from(len).ok()?)?;
    let end = offset + RECORD_HEADER_BYTES + payload.len();
    (crc == checksum(len, lsn, committed, payload)).then_some(Record {
        lsn: Lsn(lsn),
        committed: Lsn(committed),
        payload,
        end,
    })
}

/// How long the record is that begins with these bytes, whether it is good or not.
pub(super) fn record_len(header: &[u8]) -> Option<usize> {
    let len = u32::from_le_bytes(*header.first_chunk::<4>()?);
    usize::try_from(len).ok()?.checked_add(RECORD_HEADER_BYTES)
}

/// Whether anything after a bad record shows that the record was once committed, and so was not torn but damaged.
pub(super) fn was_committed(bytes: &[u8], bad_offset: usize, bad_lsn: Lsn) -> bool {
    (bad_offset + 1..bytes.len()).any(|offset| {
        plausible(bytes, offset, bad_lsn)
            && record_at(bytes, offset).is_some_and(|record| record.committed >= bad_lsn)
    })
}

/// Spares the checksum of most offsets that are no record.
fn plausible(bytes: &[u8], offset: usize, after: Lsn) -> bool {
    let Some(Ok(lsn)) = bytes.get(offset + 8..offset + 16).map(<[u8; 8]>::try_from) else { return false };
    let lsn = u64::from_le_bytes(lsn);
    let most = u64::try_from(bytes.len() / RECORD_HEADER_BYTES).unwrap_or(u64::MAX);
    lsn > after.0 && lsn - after.0 <= most
}

fn checksum(len: u32, lsn: u64, committed: u64, payload: &[u8]) -> u32 {
    let mut header = [0; 20];
    header[..4].copy_from_slice(&len.to_le_bytes());
    header[4..12].copy_from_slice(&lsn.to_le_bytes());
    header[12..].copy_from_slice(&committed.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_carries_its_first_entry() {
        assert_eq!(first_lsn(&file_name(Lsn(42))), Some(Lsn(42)));
        assert_eq!(first_lsn("42.journal"), None);
        assert_eq!(first_lsn("00000000000000000042.tmp"), None);
    }

    #[test]
    fn a_header_of_another_segment_is_refused() {
        assert_eq!(check_header(&header(Lsn(1)), Lsn(1)), Ok(()));
        assert!(check_header(&header(Lsn(1)), Lsn(2)).is_err());
        assert!(check_header(b"short", Lsn(1)).is_err());
    }

    #[test]
    fn a_bad_record_counts_as_damaged_only_if_a_later_group_knew_it() {
        let mut same_group = Vec::new();
        push_record(&mut same_group, Lsn(5), Lsn(4), |payload| payload.extend(b"five"));
        let second = same_group.len();
        push_record(&mut same_group, Lsn(6), Lsn(4), |payload| payload.extend(b"six"));
        assert!(!was_committed(&same_group, 0, Lsn(5)));
        let mut later_group = same_group.get(..second).unwrap().to_vec();
        push_record(&mut later_group, Lsn(6), Lsn(5), |payload| payload.extend(b"six"));
        assert!(was_committed(&later_group, 0, Lsn(5)));
    }

    proptest! {
        #[test]
        fn a_record_reads_back_and_random_bytes_are_none(
            payload in proptest::collection::vec(any::<u8>(), 0..64),
            noise in proptest::collection::vec(any::<u8>(), 0..64),
            lsn in 1..u64::MAX,
        ) {
            let mut bytes = noise.clone();
            push_record(&mut bytes, Lsn(lsn), Lsn(lsn - 1), |bytes| bytes.extend(&payload));
            let record = record_at(&bytes, noise.len()).unwrap();
            prop_assert_eq!((record.lsn, record.committed), (Lsn(lsn), Lsn(lsn - 1)));
            prop_assert_eq!((record.payload, record.end), (payload.as_slice(), bytes.len()));
            prop_assert_eq!(record_at(&noise, 0), None);
        }
    }
}
