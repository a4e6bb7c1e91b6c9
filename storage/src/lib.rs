//! What Voltree remembers: a journal that is the source of truth, and time buckets behind it that are a view of it.
//!
//! Synchronous throughout, and unaware of actors. Whoever calls decides on which thread to block. Every step may be
//! cut short by a kill or a power cut and is then simply done again: entries by their origin, folds by their LSN,
//! seals by both.

mod archive;
mod backup;
mod bucket;
mod checkpoint;
mod clock;
mod data_dir;
mod disk;
mod entry;
mod error;
mod frame;
mod head;
mod inspect;
mod integral;
mod journal;
mod kv;
mod ledgers;
mod local_days;
mod positions;
mod record;
mod records;
mod recount;
mod retention;
mod rollup;
mod row;
mod series;
mod snapshot;
mod store;

pub use archive::{Archive, ArchivedDay, Rows};
pub use backup::{BackedUp, Restored, restore};
pub use bucket::BucketEvent;
pub use checkpoint::{DeviceCheckpoint, LatestValue, NodeCheckpoint};
pub use data_dir::DataDir;
pub use disk::{Disk, DiskFile, MemoryDisk, RealDisk};
pub use entry::{Entry, Lsn};
pub use error::Error;
pub use frame::{Frame, FrameSpan};
pub use head::{DeviceSummary, Head, SealJob, Sealed};
pub use inspect::{BucketUse, Damage, Depth, Inspection, JournalUse, LevelUse, inspect};
pub use integral::Integral;
pub use journal::{AppendError, Done, JournalOptions, JournalSlot, JournalStats, Numbered, read_journal};
#[cfg(any(test, feature = "redb"))]
pub use kv::RedbEngine;
pub use kv::{Engine, Kv, KvError, MemoryEngine, Pair, SledEngine};
pub use ledgers::{read_head, read_ledgers};
pub use local_days::local_day_edges;
pub use positions::Positions;
pub use record::RecordError;
pub use records::{Record, RecordChange, RecordKind, Records, decode_value, take_over};
pub use recount::{Recount, recount};
pub use retention::{AgeLimits, KeepDays, Retention};
pub use rollup::{Gap, Moment, Rollup};
pub use row::{Absorbed, Row, Sample};
pub use series::{SeriesPoint, merge_series};
pub use snapshot::{load_snapshot, save_snapshot};
pub use store::{
    Cancel, Compacted, DiskUse, Interval, Intervals, Level, NearlyFull, Rewrite, Store, aligned_edges,
};
