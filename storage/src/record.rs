//! Small records as bytes: a version, then the value. The only file that knows bincode.
//!
//! Never meant for sample columns, which have their own codec. Decoding has a size limit, because a damaged length
//! must not become an allocation.

use bincode::config::{self, Configuration};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The format that is written today.
const VERSION: u8 = 1;
/// The longest entry or frame directory.
pub(crate) const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;
/// The longest snapshot of a whole node.
pub(crate) const MAX_SNAPSHOT_BYTES: usize = 1024 * 1024 * 1024;

/// A record that can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Written by a version of the program that this one does not know.
    #[error("record version {found} is not known here, only {VERSION}; it was written by a newer voltree")]
    UnknownVersion {
        /// The version it carries.
        found: u8,
    },
    /// Nothing there.
    #[error("the record is empty")]
    Empty,
    /// More bytes than a record may have.
    #[error("the record has {bytes} bytes, more than {limit}")]
    TooLarge {
        /// How many it has.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
    /// Bytes after the value.
    #[error("{bytes} bytes follow the record's end")]
    TrailingBytes {
        /// How many.
        bytes: usize,
    },
    /// Not put together as its version is.
    #[error("the record is not put together as its version is")]
    Malformed,
    /// The value can't be encoded.
    #[error("the value can't be encoded")]
    Encode(#[source] Box<bincode::error::EncodeError>),
    /// The bytes are not such a value.
    #[error("the bytes are not such a value")]
    Decode(#[source] Box<bincode::error::DecodeError>),
}

fn format() -> Configuration {
    config::standard()
}

/// Encodes a record of at most [`MAX_RECORD_BYTES`].
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, RecordError> {
    encode_within::<T, MAX_RECORD_BYTES>(value)
}

/// Encodes a record of at most `LIMIT` bytes.
pub(crate) fn encode_within<T: Serialize, const LIMIT: usize>(value: &T) -> Result<Vec<u8>, RecordError> {
    let mut bytes = Vec::with_capacity(64);
    push_within::<T, LIMIT>(value, &mut bytes)?;
    Ok(bytes)
}

/// Adds a record of at most [`MAX_RECORD_BYTES`] to what is there. What was added before an error is of no use.
pub(crate) fn push<T: Serialize>(value: &T, bytes: &mut Vec<u8>) -> Result<(), RecordError> {
    push_within::<T, MAX_RECORD_BYTES>(value, bytes)
}

fn push_within<T: Serialize, const LIMIT: usize>(value: &T, bytes: &mut Vec<u8>) -> Result<(), RecordError> {
    let begin = bytes.len();
    bytes.push(VERSION);
    bincode::serde::encode_into_std_write(value, bytes, format())
        .map_err(|error| RecordError::Encode(Box::new(error)))?;
    let len = bytes.len() - begin;
    if len > LIMIT {
        return Err(RecordError::TooLarge { bytes: len, limit: LIMIT });
    }
    Ok(())
}

/// Decodes a record of at most [`MAX_RECORD_BYTES`].
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    decode_within::<T, MAX_RECORD_BYTES>(bytes)
}

/// Decodes what a record begins with, whatever follows.
pub(crate) fn decode_begin<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, RecordError> {
    let payload = payload(bytes)?;
    let (value, _) = bincode::serde::decode_from_slice(payload, format().with_limit::<MAX_RECORD_BYTES>())
        .map_err(|error| RecordError::Decode(Box::new(error)))?;
    Ok(value)
}

fn payload(bytes: &[u8]) -> Result<&[u8], RecordError> {
    let (version, payload) = bytes.split_first().ok_or(RecordError::Empty)?;
    if *version != VERSION {
        return Err(RecordError::UnknownVersion { found: *version });
    }
    Ok(payload)
}

/// Decodes a record of at most `LIMIT` bytes, all of them.
pub(crate) fn decode_within<T: DeserializeOwned, const LIMIT: usize>(bytes: &[u8]) -> Result<T, RecordError> {
    if bytes.len() > LIMIT {
        return Err(RecordError::TooLarge { bytes: bytes.len(), limit: LIMIT });
    }
    let payload = payload(bytes)?;
    let (value, read) = bincode::serde::decode_from_slice(payload, format().with_limit::<LIMIT>())
        .map_err(|error| RecordError::Decode(Box::new(error)))?;
    match payload.len() - read {
        0 => Ok(value),
        bytes => Err(RecordError::TrailingBytes { bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_reads_back() {
        let value = (7_u64, "°C".to_owned(), vec![-1_i64, 1]);
        let back: (u64, String, Vec<i64>) = decode(&encode(&value).unwrap()).unwrap();
        assert_eq!(back, value);
    }

    #[test]
    fn a_record_of_another_version_is_refused_by_name() {
        let mut bytes = encode(&1_u64).unwrap();
        bytes[0] = 9;
        assert!(decode::<u64>(&bytes).unwrap_err().to_string().contains("version 9"));
    }

    #[test]
    fn bytes_after_the_value_are_refused() {
        let mut bytes = encode(&1_u64).unwrap();
        bytes.push(0);
        assert!(matches!(decode::<u64>(&bytes), Err(RecordError::TrailingBytes { bytes: 1 })));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [&[VERSION], bytes.as_slice()].concat();
            if let Ok(value) = decode::<Vec<(String, u64)>>(&bytes) {
                prop_assert_eq!(decode::<Vec<(String, u64)>>(&encode(&value).unwrap()).unwrap(), value);
            }
        }
    }
}
