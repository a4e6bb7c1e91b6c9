//! What the engines on disk have in common: every map is a directory.
//!
//! A directory is moved and removed durably, and never while somebody has its map open: that is for the caller to see to.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::{KvError, failed};

/// The names below a directory, in order; none if it is not there.
pub(super) fn list(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    match fs::read_dir(dir) {
        Ok(entries) => {
            for entry in entries {
                names.extend(entry?.file_name().into_string().ok());
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    names.sort();
    Ok(names)
}

/// Makes a map beside its place and moves it there once it is durable, so that it is never found half-made. `make` closes
/// what it made before it returns.
pub(super) fn create(dir: &Path, make: impl FnOnce(&Path) -> Result<(), KvError>) -> Result<(), KvError> {
    let beside = dir.with_extension("new");
    match fs::remove_dir_all(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(&beside).map_err(failed)?;
    make(&beside)?;
    sync_dir(&beside).map_err(failed)?;
    fs::rename(&beside, dir).map_err(failed)?;
    dir.parent().map_or(Ok(()), sync_dir).map_err(failed)
}

/// Removes a map.
pub(super) fn remove(dir: &Path) -> io::Result<()> {
    fs::remove_dir_all(dir)?;
    dir.parent().map_or(Ok(()), sync_dir)
}

/// How many bytes a map takes.
pub(super) fn size(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0_u64;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        // Large pages of sled are files of their own, one level down.
        if metadata.is_dir() {
            bytes = bytes.saturating_add(size(&entry.path())?);
        }
        // Blocks that a file really takes, as sled leaves holes.
        bytes = bytes.saturating_add(metadata.blocks().saturating_mul(512));
    }
    Ok(bytes)
}

/// Moves a map.
pub(super) fn set_aside(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    [from, to].into_iter().filter_map(Path::parent).try_for_each(sync_dir)
}

/// Makes the names in a directory durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
