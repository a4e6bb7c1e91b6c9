//! When a device's readings are of, whatever they say: what a time line is made of.

use voltree_model::{DeviceId, Timestamp};

use super::Store;
use crate::bucket::{Hour, parse_key};
use crate::{Cancel, Error, Frame};

impl Store {
    /// Hands over when the stored readings of a device are of, day by day, in UTC milliseconds, ascending and each time
    /// once; `from` is inside, `to` is not. A damaged frame is reported and passed over.
    pub fn times(
        &self,
        device: &DeviceId,
        (from, to): (Timestamp, Timestamp),
        cancel: &Cancel,
        mut each: impl FnMut(&[i64]),
    ) -> Result<(), Error> {
        if from >= to {
            return Ok(());
        }
        let (first, last) = (Hour::of(from), Hour::of(Timestamp::from_millis(to.as_millis() - 1)));
        for day in self.raw.days(first, last) {
            let bucket = self.raw.open(day)?;
            let mut times = Vec::new();
            for (key, bytes) in bucket.parts(device, first, last)? {
                cancel.check()?;
                match Frame::open(&bytes) {
                    Ok(frame) => times.extend_from_slice(frame.times()),
                    Err(error) => {
                        let hour = parse_key(&key).map_or(first, |(hour, _)| hour);
                        self.report(&bucket, device, hour, &error);
                    }
                }
            }
            // Parts of one hour may overlap.
            times.sort_unstable();
            times.dedup();
            times.retain(|at| (from.as_millis()..to.as_millis()).contains(at));
            each(&times);
        }
        Ok(())
    }
}
