//! Small states that are saved whole: written beside, synced, and renamed over the last one.
//!
//! After a power cut there is either the old state or the new, never a mixture. A checksum tells damage from age.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::FileContext;
use crate::record::{self, MAX_SNAPSHOT_BYTES};
use crate::{Disk, Error, RealDisk};

const MAGIC: &[u8; 8] = b"VOLTSNAP";
const HEADER: usize = MAGIC.len() + size_of::<u32>();

/// Saves a state on the machine's disk, replacing the last one.
pub fn save_snapshot<T: Serialize>(path: &Path, state: &T) -> Result<(), Error> {
    write_beside(&RealDisk, path, state)?;
    put_in_place(&RealDisk, path)
}

/// Loads a state from the machine's disk; `None` if none was ever saved.
pub fn load_snapshot<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    load(&RealDisk, path)
}

/// Writes the state to a new file beside `path` and syncs it.
pub(crate) fn write_beside<T: Serialize>(disk: &dyn Disk, path: &Path, state: &T) -> Result<(), Error> {
    let payload = record::encode_within::<T, MAX_SNAPSHOT_BYTES>(state)
        .map_err(|source| Error::Encode { what: "a snapshot", source })?;
    let beside = beside(path);
    match disk.remove(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).file("remove", &beside),
        Ok(()) | Err(_) => {}
    }
    let mut file = disk.create(&beside).file("create", &beside)?;
    let crc = crc32fast::hash(&payload).to_le_bytes();
    file.append(&[MAGIC.as_slice(), &crc, &payload].concat()).file("write", &beside)?;
    file.sync_data().file("sync", &beside)
}

/// Renames what [`write_beside`] wrote over `path`.
pub(crate) fn put_in_place(disk: &dyn Disk, path: &Path) -> Result<(), Error> {
    disk.rename(&beside(path), path).file("replace", path)?;
    let dir = path.parent().unwrap_or(Path::new("."));
    disk.sync_dir(dir).file("sync", dir)
}

/// Saves the state as the current one; the current one becomes the older.
pub(crate) fn replace<T: Serialize>(
    disk: &dyn Disk,
    path: &Path,
    older: &Path,
    state: &T,
) -> Result<(), Error> {
    write_beside(disk, path, state)?;
    if exists(disk, path) {
        disk.rename(path, older).file("rename", path)?;
    }
    put_in_place(disk, path)
}

/// Loads a state; `None` if there is none.
pub(crate) fn load<T: DeserializeOwned>(disk: &dyn Disk, path: &Path) -> Result<Option<T>, Error> {
    let bytes = match disk.read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::File { doing: "read", path: path.to_owned(), source }),
    };
    let corrupt = |why| Error::CorruptSnapshot { path: path.to_owned(), why };
    let (header, payload) = bytes.split_at_checked(HEADER).ok_or_else(|| corrupt("it is too short"))?;
    let (magic, crc) = header.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(corrupt("it does not begin like a snapshot"));
    }
    if crc != crc32fast::hash(payload).to_le_bytes() {
        return Err(corrupt("its checksum does not match"));
    }
    record::decode_within::<T, MAX_SNAPSHOT_BYTES>(payload)
        .map(Some)
        .map_err(|source| Error::DecodeSnapshot { path: path.to_owned(), source })
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Whether there is anything at the path, for who wants to keep it.
fn exists(disk: &dyn Disk, path: &Path) -> bool {
    disk.read_at(path, 0, 0).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryDisk;

    #[test]
    fn a_state_is_loaded_as_it_was_saved_last() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("state");
        assert_eq!(load_snapshot::<u64>(&path).unwrap(), None);
        save_snapshot(&path, &1_u64).unwrap();
        save_snapshot(&path, &2_u64).unwrap();
        assert_eq!(load_snapshot::<u64>(&path).unwrap(), Some(2));
    }

    #[test]
    fn a_damaged_state_is_refused_with_its_path() {
        let disk = MemoryDisk::default();
        let path = Path::new("dir/state");
        write_beside(&disk, path, &"text".to_owned()).unwrap();
        put_in_place(&disk, path).unwrap();
        disk.flip(path, HEADER + 3).unwrap();
        assert!(load::<String>(&disk, path).unwrap_err().to_string().contains("dir/state"));
    }

    #[test]
    fn a_power_cut_leaves_the_old_state_or_the_new() {
        let disk = MemoryDisk::default();
        let path = Path::new("dir/state");
        write_beside(&disk, path, &1_u64).unwrap();
        put_in_place(&disk, path).unwrap();
        write_beside(&disk, path, &2_u64).unwrap();
        disk.power_cut(|| false);
        assert_eq!(load::<u64>(&disk, path).unwrap(), Some(1));
        write_beside(&disk, path, &3_u64).unwrap();
        put_in_place(&disk, path).unwrap();
        disk.power_cut(|| false);
        assert_eq!(load::<u64>(&disk, path).unwrap(), Some(3));
    }
}
