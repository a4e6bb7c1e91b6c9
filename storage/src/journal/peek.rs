//! Whose an entry is and which number it has, without decoding the rest: that is all a start needs of an old entry.
//!
//! It knows how an entry begins on disk, which the test at its foot compares with what entries are.

use voltree_model::{DeviceId, Origin};

use super::reading::Parsed;
use crate::record::{self, RecordError};
use crate::{Entry, RecordChange};

/// What is known of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Peeked {
    pub(super) device: Option<DeviceId>,
    pub(super) origin: Option<Origin>,
    /// The record that it changes.
    pub(super) change: Option<RecordChange>,
}

/// Reads the beginning of an encoded entry.
pub(super) fn peek(payload: &[u8]) -> Result<Peeked, RecordError> {
    if let Some(reading) = Parsed::of(payload)? {
        let (origin, device) = reading.owner()?;
        return Ok(Peeked { device: Some(device), origin: Some(origin), change: None });
    }
    match record::decode_begin::<u32>(payload)? {
        0 => {
            let (_, origin, device) = record::decode_begin::<(u32, Origin, DeviceId)>(payload)?;
            Ok(Peeked { device: Some(device), origin: Some(origin), change: None })
        }
        1 => {
            type Begin = (u32, Option<DeviceId>, Option<Origin>);
            let (_, device, origin) = record::decode_begin::<Begin>(payload)?;
            Ok(Peeked { device, origin, change: None })
        }
        // The others are rare.
        _ => {
            let entry: Entry = record::decode(payload)?;
            let (device, origin) = (entry.device().cloned(), entry.origin());
            let change = if let Entry::Record { change, .. } = entry { Some(change) } else { None };
            Ok(Peeked { device, origin, change })
        }
    }
}

#[cfg(test)]
mod tests {
    use voltree_model::{Metric, MetricName, Reading, RejectReason, Timestamp};

    use super::*;
    use crate::{Record, RecordKind};

    #[derive(serde::Serialize, serde::Deserialize)]
    struct Note(u32);

    impl Record for Note {
        const KIND: RecordKind = RecordKind::Event;
        const VERSION: u8 = 1;
    }

    #[test]
    fn the_beginning_says_the_same_as_the_whole() {
        let device = DeviceId::new("pack-01").unwrap();
        let origin = Origin { epoch: 3, sequence: 70_000 };
        let at = Timestamp::from_millis(-5);
        let metric = Metric { name: MetricName::new("v").unwrap(), value: 1.5, unit: None };
        let metrics = vec![metric].into();
        let (attributes, left_out) = (Vec::new(), Vec::new());
        let reading = Reading { device: device.clone(), at, metrics, attributes, left_out };
        let rejected = |device: Option<DeviceId>| Entry::Rejected {
            origin: device.as_ref().map(|_| origin),
            device,
            at,
            reason: RejectReason::Busy,
            detail: "full".to_owned(),
        };
        let dead =
            Entry::DeadLettered { device: device.clone(), origin, at, cause: "it panicked".to_owned() };
        let record = RecordChange::entry::<Note>("key", Some(&Note(7)), at).unwrap();
        for entry in [
            Entry::Reading { origin, reading: reading.into() },
            rejected(Some(device)),
            rejected(None),
            dead,
            record,
        ] {
            let peeked = peek(&record::encode(&entry).unwrap()).unwrap();
            assert_eq!((peeked.device.as_ref(), peeked.origin), (entry.device(), entry.origin()));
            assert_eq!(peeked.change.is_some(), matches!(entry, Entry::Record { .. }));
        }
    }
}
