//! The file operations that the journal and the checkpoint need, as a trait, so that faults can be put around them.
//!
//! Implementations do exactly what is asked and report every error. None may retry a failed sync: after one the
//! kernel may have dropped the data, and a second sync would succeed without it.

mod memory;

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use rustix::fs::FallocateFlags;

pub use memory::MemoryDisk;

/// A file that is written at its end.
pub trait DiskFile: Send + Debug {
    /// Writes all bytes at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Sets room aside for so many bytes from the beginning, without making the file longer.
    fn reserve(&mut self, bytes: u64) -> io::Result<()>;
    /// Returns once everything written is on stable storage.
    fn sync_data(&mut self) -> io::Result<()>;
}

/// A file system.
pub trait Disk: Send + Sync + Debug {
    /// Creates a directory and those above it.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Creates an empty file; one that exists is an error.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Opens an existing file for writing at its end.
    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Reads a whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Reads `len` bytes from `offset`, fewer where the file ends.
    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>>;
    /// How long a file is.
    fn len(&self, path: &Path) -> io::Result<u64> {
        self.read(path).map(|bytes| u64::try_from(bytes.len()).unwrap_or(u64::MAX))
    }
    /// Cuts a file to `len` bytes and returns once that is on stable storage.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;
    /// Renames a file over another.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Returns once creations, renames and removals in the directory are on stable storage.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Bytes that may still be written there.
    fn free_space(&self, dir: &Path) -> io::Result<u64>;
}

/// The machine's own.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl DiskFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn reserve(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > 0 {
            rustix::fs::fallocate(&*self, FallocateFlags::KEEP_SIZE, 0, bytes)?;
        }
        Ok(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        Self::sync_data(self)
    }
}

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().append(true).create_new(true).open(path)?))
    }

    fn open_append(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(OpenOptions::new().append(true).open(path)?))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = Vec::new();
        file.take(u64::try_from(len).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        fs::metadata(path).map(|metadata| metadata.len())
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(len)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn free_space(&self, dir: &Path) -> io::Result<u64> {
        let space = rustix::fs::statvfs(dir)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behaves_like_a_disk(disk: &dyn Disk, root: &Path) {
        let (dir, path) = (root.join("a/b"), root.join("a/b/file"));
        disk.create_dir_all(&dir).unwrap();
        disk.create(&path).unwrap().append(b"hello").unwrap();
        assert!(disk.create(&path).is_err());
        let mut file = disk.open_append(&path).unwrap();
        file.reserve(1_000_000).unwrap();
        file.append(b" world").unwrap();
        file.sync_data().unwrap();
        assert_eq!(disk.read(&path).unwrap(), b"hello world");
        assert_eq!(disk.read_at(&path, 6, 100).unwrap(), b"world");
        disk.truncate(&path, 5).unwrap();
        disk.rename(&path, &dir.join("other")).unwrap();
        disk.sync_dir(&dir).unwrap();
        assert_eq!(disk.list(&dir).unwrap(), ["other"]);
        assert_eq!(disk.read(&dir.join("other")).unwrap(), b"hello");
        disk.remove(&dir.join("other")).unwrap();
        assert_eq!(disk.read(&path).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(disk.open_append(&path).is_err() && disk.list(&dir).unwrap().is_empty());
        assert!(disk.free_space(&dir).unwrap() > 0);
    }

    #[test]
    fn the_machine_and_the_memory_twin_behave_alike() {
        let temp = tempfile::tempdir().unwrap();
        behaves_like_a_disk(&RealDisk, temp.path());
        behaves_like_a_disk(&MemoryDisk::default(), Path::new("root"));
    }
}
