//! Putting readings that the journal still has into a bucket that had to be replaced by an empty one.
//!
//! They were counted when they were sealed first, so nothing is counted here; and as a row knows which readings it has,
//! it does no harm to put one in that is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use voltree_model::{DeviceId, Timestamp};

use super::Store;
use super::parts::HourParts;
use crate::bucket::{Day, Hour};
use crate::head::OpenReading;
use crate::{Entry, Error, Lsn, Numbered};

impl Store {
    /// The days whose buckets were replaced by empty ones and that nobody has tried to rebuild since.
    pub fn damaged_days(&self) -> Vec<Timestamp> {
        self.raw.replaced().iter().map(|day| day.first_hour().start()).collect()
    }

    /// Where the damaged buckets are that were set aside and that nobody has moved away since.
    pub fn quarantined(&self) -> Result<Vec<PathBuf>, Error> {
        self.raw.set_aside_paths()
    }

    /// Puts entries that were sealed before into the bucket of a day; those of other days are passed over.
    ///
    /// To be called with all that the journal has, in pieces; answers how many readings of the day there were.
    pub fn rebuild(&self, day: Timestamp, entries: &[Numbered], now: Timestamp) -> Result<usize, Error> {
        let _one_at_a_time = self.sealing.lock();
        self.check_space()?;
        let day = Day::of(day);
        let current = Arc::clone(&self.saved.read().current);
        let mut hours: BTreeMap<(Hour, &DeviceId), Vec<OpenReading>> = BTreeMap::new();
        for (lsn, entry) in entries {
            let Some((device, reading)) = reading_of(*lsn, entry) else { continue };
            let sealed = current.covered(Some(device)).unwrap_or_default() >= *lsn;
            if sealed && Day::of(reading.at) == day {
                hours.entry((Hour::of(reading.at), device)).or_default().push(reading);
            }
        }
        let readings = hours.values().map(Vec::len).sum();
        let touched: BTreeSet<_> = hours.keys().map(|(hour, device)| (*hour, (*device).clone())).collect();
        let bucket = self.raw.open(day)?;
        for ((hour, device), readings) in hours {
            let stored = bucket.parts(device, hour, hour)?;
            let mut parts = HourParts::new(stored, |why| self.report(&bucket, device, hour, &why));
            parts.absorb_all(&readings.iter().collect::<Vec<_>>());
            parts.merge_tail();
            let changes = parts.into_changes(device, hour)?;
            bucket.write(changes.parts, changes.gone)?;
        }
        bucket.sync()?;
        self.finish_rebuilt(touched, now)?;
        Ok(readings)
    }

    /// Says that all the journal had of a day has been put in.
    pub fn rebuilt(&self, day: Timestamp) -> Result<(), Error> {
        self.raw.forget_replaced(Day::of(day))
    }
}

fn reading_of(lsn: Lsn, entry: &Entry) -> Option<(&DeviceId, OpenReading)> {
    let Entry::Reading { origin, reading } = entry else { return None };
    Some((&reading.device, OpenReading::new(lsn, *origin, reading, None)))
}
