//! Looking over a whole data directory: what it holds, where its bytes are, and whether every checksum in it is good.
//!
//! For a directory that no node has, as the buckets' engine lets only one process in. Nothing is repaired or set aside;
//! whatever is damaged is named, and looking goes on behind it.

use std::any::Any;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::Serialize;

use crate::bucket::parse_device;
use crate::checkpoint::Checkpoint;
use crate::error::FileContext;
use crate::rollup::block::Block;
use crate::{DataDir, Engine, Error, Frame, Kv, Level, Lsn, RealDisk, SledEngine, read_journal, snapshot};

/// What a data directory holds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Inspection {
    /// The journal.
    pub journal: JournalUse,
    /// The raw readings first, then the rollups from the finest on.
    pub levels: Vec<LevelUse>,
    /// Buckets that a node set aside because they could not be opened.
    pub quarantined: Vec<String>,
    /// Whatever is damaged.
    pub damages: Vec<Damage>,
}

/// The journal's part of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct JournalUse {
    /// How many segments there are.
    pub segments: u64,
    /// How many bytes they take, with the room that is set aside for more.
    pub bytes: u64,
    /// How many entries they hold.
    pub entries: u64,
    /// The number of the first of them, 0 without any.
    pub first: u64,
    /// The number of the last of them, 0 without any.
    pub last: u64,
}

/// One kind of buckets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LevelUse {
    /// Its directory: `raw`, `rollup-1m`, `rollup-1h`, `rollup-1d`.
    pub level: &'static str,
    /// Its buckets in the order of time.
    pub buckets: Vec<BucketUse>,
}

/// One bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BucketUse {
    /// The day that it begins with.
    pub bucket: String,
    /// How many bytes it takes on disk.
    pub disk_bytes: u64,
    /// How many of them are frames or blocks; the rest is its engine's.
    pub content_bytes: u64,
    /// How many frames or blocks it has.
    pub parts: u64,
    /// How many of those are of an older version than is written now.
    pub old_parts: u64,
    /// How many devices it has.
    pub devices: u64,
    /// How many rows its frames have; 0 for rollups.
    pub rows: u64,
    /// How many values those have.
    pub samples: u64,
}

/// Something that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// What it is: a file, a bucket, a frame of a device.
    pub what: String,
    /// What is wrong with it.
    pub why: String,
}

/// How closely to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Checksums, and what can be counted without unpacking values.
    Checksums,
    /// Every value is unpacked.
    Values,
}

impl LevelUse {
    /// All its buckets together.
    pub fn total(&self) -> BucketUse {
        let mut total = BucketUse { bucket: "all".to_owned(), ..BucketUse::default() };
        for bucket in &self.buckets {
            total.disk_bytes += bucket.disk_bytes;
            total.content_bytes += bucket.content_bytes;
            total.parts += bucket.parts;
            total.old_parts += bucket.old_parts;
            total.devices = total.devices.max(bucket.devices);
            total.rows += bucket.rows;
            total.samples += bucket.samples;
        }
        total
    }
}

/// Looks over a directory that this process holds. `progress` is told the bucket that is next, and ends it all by
/// breaking.
pub fn inspect(
    data: &DataDir,
    depth: Depth,
    progress: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Inspection, Error> {
    inspect_with(data, &SledEngine, depth, progress)
}

fn inspect_with(
    data: &DataDir,
    engine: &dyn Engine,
    depth: Depth,
    progress: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Inspection, Error> {
    let mut found = Inspection::default();
    found.journal(data)?;
    found.snapshots(data)?;
    for level in [None, Some(Level::Minutes), Some(Level::Hours), Some(Level::Days)] {
        let directory = level.map_or("raw", Level::directory);
        let root = data.buckets().join(directory);
        let mut of_level = LevelUse { level: directory, buckets: Vec::new() };
        for name in in_order(engine, &root)? {
            if progress(&format!("{directory}/{name}")).is_break() {
                return Err(Error::Cancelled);
            }
            of_level.buckets.push(found.bucket(engine, &root, &name, level, depth)?);
        }
        found.levels.push(of_level);
    }
    let quarantine = data.quarantine();
    found.quarantined = engine.list(&quarantine).file("list", &quarantine)?;
    Ok(found)
}

/// The buckets below a directory; what has an ending is on its way into one or out of it.
pub(crate) fn in_order(engine: &dyn Engine, root: &Path) -> Result<Vec<String>, Error> {
    let mut names = engine.list(root).file("list", root)?;
    names.retain(|name| !name.contains('.'));
    names.sort_unstable();
    Ok(names)
}

impl Inspection {
    /// Whether nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty()
    }

    fn damaged(&mut self, what: impl Into<String>, why: &dyn std::error::Error) {
        let why = match why.source() {
            Some(source) => format!("{why}: {source}"),
            None => why.to_string(),
        };
        self.damages.push(Damage { what: what.into(), why });
    }

    fn journal(&mut self, data: &DataDir) -> Result<(), Error> {
        let dir = data.journal();
        for entry in std::fs::read_dir(&dir).file("list", &dir)? {
            let metadata = entry.and_then(|entry| entry.metadata()).file("read", &dir)?;
            self.journal.segments += 1;
            self.journal.bytes += metadata.len();
        }
        let counted = &mut self.journal;
        let read = read_journal(&RealDisk, &dir, Lsn(0), |lsn, _| {
            counted.entries += 1;
            if counted.first == 0 {
                counted.first = lsn.0;
            }
            counted.last = lsn.0;
        });
        if let Err(error) = read {
            self.damaged("the journal", &error);
        }
        Ok(())
    }

    /// The checkpoints, of which one that is damaged would be passed over in silence as long as the other is whole.
    fn snapshots(&mut self, data: &DataDir) -> Result<(), Error> {
        for path in [data.checkpoint(), data.checkpoint().with_extension("old")] {
            match snapshot::load::<Checkpoint>(&RealDisk, &path) {
                Ok(_) => {}
                Err(error @ Error::File { .. }) => return Err(error),
                Err(error) => self.damaged(path.display().to_string(), &error),
            }
        }
        Ok(())
    }

    /// The engine may panic over what it finds; that is damage too.
    fn bucket(
        &mut self,
        engine: &dyn Engine,
        root: &Path,
        name: &str,
        level: Option<Level>,
        depth: Depth,
    ) -> Result<BucketUse, Error> {
        let path = root.join(name);
        let disk_bytes = engine.size(&path).file("measure", &path)?;
        let mut counted = BucketUse { bucket: name.to_owned(), disk_bytes, ..BucketUse::default() };
        let what = path.display().to_string();
        let read = catch_unwind(AssertUnwindSafe(|| {
            let kv = engine.open(&path)?;
            self.parts(kv.as_ref(), &what, level, depth, &mut counted)
        }));
        match read {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.damaged(what, &error),
            Err(panic) => {
                let why = format!("its engine panicked: {}", words(panic.as_ref()));
                self.damages.push(Damage { what, why });
            }
        }
        Ok(counted)
    }

    fn parts(
        &mut self,
        kv: &dyn Kv,
        bucket: &str,
        level: Option<Level>,
        depth: Depth,
        counted: &mut BucketUse,
    ) -> Result<(), crate::KvError> {
        let mut devices = BTreeSet::new();
        // No id begins with a byte this small or this large.
        for key in kv.keys(vec![1]..vec![0xff])? {
            let Some(bytes) = kv.get(&key)? else { continue };
            counted.parts += 1;
            counted.content_bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let device = parse_device(&key);
            let whose = device.as_ref().map_or("an unreadable key", |device| device.as_str());
            let read = match level {
                None => frame(&bytes, depth, counted),
                Some(_) => Block::open(&bytes).and_then(|block| match depth {
                    Depth::Checksums => Ok(()),
                    Depth::Values => block.all().map(drop),
                }),
            };
            if let Err(error) = read {
                let part = if level.is_none() { "frame" } else { "rollup" };
                self.damaged(format!("a {part} of {whose} in {bucket}"), &error);
            }
            devices.extend(device);
        }
        counted.devices = u64::try_from(devices.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

fn frame(bytes: &[u8], depth: Depth, counted: &mut BucketUse) -> Result<(), Error> {
    let frame = Frame::open(bytes)?;
    counted.rows += u64::try_from(frame.times().len()).unwrap_or(u64::MAX);
    counted.samples += frame.samples();
    counted.old_parts += u64::from(frame.is_old());
    if depth == Depth::Values {
        frame.rows()?;
    }
    Ok(())
}

pub(crate) fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it did not say why")
}
