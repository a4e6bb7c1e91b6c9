//! Making buckets small again, and bringing old frames to the version that is written now.
//!
//! For an operator's tool on a directory that no node has. Every step leaves a store that opens: parts are replaced all
//! of an hour or none, a bucket's copy takes its place only when it is whole. So it may be cut short anywhere and done
//! again.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use serde::Serialize;
use voltree_model::{DeviceId, Timestamp};

use super::Store;
use super::parts::HourParts;
use super::rollups::Level;
use crate::bucket::{Bucket, Buckets, Hour, parse_device, parse_key};
use crate::{Error, Frame};

/// How many device-hours are finished between two words of progress.
const BUDGET: usize = 512;

/// What is done to buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrite {
    /// Parts of hours are merged, rollups that are due are written, and every bucket is copied without what was written
    /// over.
    Everything,
    /// Frames of earlier versions are written anew.
    OldFrames,
}

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// How many buckets were looked at.
    pub buckets: u64,
    /// How many device-hours had their parts merged.
    pub merged_hours: u64,
    /// How many frames of earlier versions were written anew.
    pub migrated_frames: u64,
    /// What all buckets took on disk before.
    pub bytes_before: u64,
    /// What they take now.
    pub bytes_after: u64,
}

impl Store {
    /// Rewrites buckets. `progress` is told which is next, and ends it after the one at hand by breaking.
    pub fn rewrite(
        &self,
        what: Rewrite,
        now: Timestamp,
        progress: &mut dyn FnMut(&str) -> ControlFlow<()>,
    ) -> Result<Compacted, Error> {
        let mut done = Compacted { bytes_before: self.disk_use()?.total(), ..Compacted::default() };
        while what == Rewrite::Everything && self.maintain(now, BUDGET)? {
            go_on(progress("rollups that are due"))?;
        }
        let _one_at_a_time = self.sealing.lock();
        self.check_space()?;
        self.rewrite_level(&self.raw, "raw", what, progress, &mut done)?;
        if what == Rewrite::Everything {
            for level in Level::ALL {
                let directory = level.directory();
                self.rewrite_level(self.rollups.level(level), directory, what, progress, &mut done)?;
            }
        }
        done.bytes_after = self.disk_use()?.total();
        Ok(done)
    }

    fn rewrite_level(
        &self,
        buckets: &Buckets,
        directory: &str,
        what: Rewrite,
        progress: &mut dyn FnMut(&str) -> ControlFlow<()>,
        done: &mut Compacted,
    ) -> Result<(), Error> {
        for day in buckets.all() {
            go_on(progress(&format!("{directory}/{}", day.name())))?;
            self.check_space()?;
            let mut changed = what == Rewrite::Everything;
            if directory == "raw" {
                let bucket = buckets.open(day)?;
                let migrated = migrate(&bucket)?;
                done.migrated_frames += migrated;
                changed |= migrated > 0;
                if what == Rewrite::Everything {
                    done.merged_hours += self.merge_bucket(&bucket)?;
                }
                bucket.sync()?;
            }
            // A bucket that somebody reads keeps what was written over until another time.
            if changed {
                buckets.keep_only(day, |_| true)?;
            }
            done.buckets += 1;
        }
        Ok(())
    }

    /// Makes as few parts as can be of each device-hour of a bucket.
    fn merge_bucket(&self, bucket: &Bucket) -> Result<u64, Error> {
        let mut hours: BTreeMap<(DeviceId, Hour), u32> = BTreeMap::new();
        for key in bucket.all_keys()? {
            if let (Some(device), Some((hour, _))) = (parse_device(&key), parse_key(&key)) {
                *hours.entry((device, hour)).or_default() += 1;
            }
        }
        let split: BTreeSet<_> =
            hours.into_iter().filter(|(_, parts)| *parts > 1).map(|(key, _)| key).collect();
        let mut merged = 0;
        for (device, hour) in split {
            let stored = bucket.parts(&device, hour, hour)?;
            let mut parts = HourParts::new(stored, |why| self.report(bucket, &device, hour, &why));
            parts.merge_all();
            let changes = parts.into_changes(&device, hour)?;
            if !changes.parts.is_empty() {
                bucket.write(changes.parts, changes.gone)?;
                merged += 1;
            }
        }
        Ok(merged)
    }
}

fn go_on(progress: ControlFlow<()>) -> Result<(), Error> {
    if progress.is_break() { Err(Error::Cancelled) } else { Ok(()) }
}

/// Writes frames of earlier versions anew; one that can't be read stays for whoever can repair it.
fn migrate(bucket: &Bucket) -> Result<u64, Error> {
    let mut migrated = 0;
    for key in bucket.all_keys()? {
        let Some(bytes) = bucket.get(&key)? else { continue };
        let Some(frame) = Frame::open(&bytes).ok().filter(Frame::is_old) else { continue };
        if let Ok(rows) = frame.rows() {
            bucket.write(vec![(key, Frame::encode(&rows)?)], Vec::new())?;
            migrated += 1;
        }
    }
    Ok(migrated)
}
