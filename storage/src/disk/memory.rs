//! A disk in memory that forgets what was not synced, for the tests of whoever writes files.
//!
//! It is as unkind as a real one may be: a power cut keeps any subset of the unsynced 512-byte sectors, names are
//! lost unless their directory was synced, and after a failed sync the data stays readable but never reaches the disk.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile};

const SECTOR: usize = 512;

#[derive(Debug, Default)]
struct Inode {
    /// What a read sees.
    cached: Vec<u8>,
    /// What a power cut leaves.
    durable: Vec<u8>,
    /// What the next sync writes out.
    dirty: Vec<Range<usize>>,
}

#[derive(Debug, Default)]
struct Files {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    failing_syncs: u32,
    /// How many syncs of file data succeed before those fail.
    good_syncs: u32,
    free_bytes: Option<u64>,
    failing_writes: u32,
    syncs: u64,
}

/// The disk; clones share it.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Files>>);

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    inode: usize,
}

impl Files {
    fn inode(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn bytes(&self, path: &Path) -> io::Result<&[u8]> {
        let inode = self.inode(path)?;
        self.inodes
            .get(inode)
            .map(|inode| inode.cached.as_slice())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&mut self, inode: usize) -> io::Result<&mut Inode> {
        self.inodes.get_mut(inode).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Inode {
    fn write_out(&mut self, range: Range<usize>) {
        let end = range.end.min(self.cached.len());
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        let range = range.start.min(end)..end;
        if let (Some(to), Some(from)) = (self.durable.get_mut(range.clone()), self.cached.get(range)) {
            to.copy_from_slice(from);
        }
    }

    fn power_cut(&mut self, keep: &mut impl FnMut() -> bool) {
        for range in std::mem::take(&mut self.dirty) {
            let mut start = range.start;
            while start < range.end {
                let end = ((start / SECTOR + 1) * SECTOR).min(range.end);
                if keep() {
                    self.write_out(start..end);
                }
                start = end;
            }
        }
        self.cached = self.durable.clone();
    }
}

impl MemoryDisk {
    /// Lets the next `count` syncs of file data fail.
    pub fn fail_syncs(&self, count: u32) {
        let mut files = self.0.lock();
        (files.good_syncs, files.failing_syncs) = (0, count);
    }

    /// Lets one sync of file data fail after `count` that succeed.
    pub fn fail_sync_after(&self, count: u32) {
        let mut files = self.0.lock();
        (files.good_syncs, files.failing_syncs) = (count, 1);
    }

    /// Says how much may still be written; all that one wants, if `None`.
    pub fn set_free_space(&self, bytes: Option<u64>) {
        self.0.lock().free_bytes = bytes;
    }

    /// Lets the next `count` writes fail half-way.
    pub fn fail_writes(&self, count: u32) {
        self.0.lock().failing_writes = count;
    }

    /// How many syncs of file data succeeded.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// Cuts the power: what was not synced is kept or lost, sector by sector, as `keep` says.
    pub fn power_cut(&self, mut keep: impl FnMut() -> bool) {
        let mut files = self.0.lock();
        files.names = files.durable_names.clone();
        files.inodes.iter_mut().for_each(|inode| inode.power_cut(&mut keep));
    }

    /// Flips all bits of one stored byte.
    pub fn flip(&self, path: &Path, offset: usize) -> io::Result<()> {
        let mut files = self.0.lock();
        let inode = files.inode(path)?;
        let inode = files.file(inode)?;
        for bytes in [&mut inode.cached, &mut inode.durable] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte = !*byte;
            }
        }
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.disk.0.lock();
        let fails = files.failing_writes > 0;
        files.failing_writes = files.failing_writes.saturating_sub(1);
        let bytes = if fails { bytes.get(..bytes.len() / 2).unwrap_or_default() } else { bytes };
        let inode = files.file(self.inode)?;
        let start = inode.cached.len();
        inode.cached.extend_from_slice(bytes);
        inode.dirty.push(start..start + bytes.len());
        if fails { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn reserve(&mut self, _bytes: u64) -> io::Result<()> {
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut files = self.disk.0.lock();
        if files.good_syncs > 0 {
            files.good_syncs -= 1;
        } else if files.failing_syncs > 0 {
            files.failing_syncs -= 1;
            files.file(self.inode)?.dirty.clear();
            return Err(io::Error::other("injected"));
        }
        files.syncs += 1;
        let inode = files.file(self.inode)?;
        for range in std::mem::take(&mut inode.dirty) {
            inode.write_out(range);
        }
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let mut files = self.0.lock();
        if files.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = files.inodes.len();
        files.inodes.push(Inode::default());
        files.names.insert(path.to_owned(), inode);
        Ok(Box::new(MemoryFile { disk: self.clone(), inode }))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.0.lock().inode(path)?;
        Ok(Box::new(MemoryFile { disk: self.clone(), inode }))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.lock().bytes(path)?.to_vec())
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let files = self.0.lock();
        let bytes = files.bytes(path)?;
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        Ok(bytes.iter().skip(offset).take(len).copied().collect())
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut files = self.0.lock();
        let inode = files.inode(path)?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let inode = files.file(inode)?;
        inode.cached.truncate(len);
        inode.durable.truncate(len);
        inode.dirty.iter_mut().for_each(|range| range.end = range.end.min(len));
        inode.dirty.retain(|range| range.start < range.end);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.0.lock();
        let inode = files.inode(from)?;
        files.names.remove(from);
        files.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut files = self.0.lock();
        files.inode(path)?;
        files.names.remove(path);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.0.lock();
        let within = files.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(within.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut files = self.0.lock();
        files.durable_names.retain(|path, _| path.parent() != Some(dir));
        let here: Vec<_> = files.names.iter().filter(|(path, _)| path.parent() == Some(dir)).collect();
        let here: Vec<_> = here.into_iter().map(|(path, inode)| (path.clone(), *inode)).collect();
        files.durable_names.extend(here);
        Ok(())
    }

    fn free_space(&self, _dir: &Path) -> io::Result<u64> {
        Ok(self.0.lock().free_bytes.unwrap_or(u64::MAX))
    }
}
