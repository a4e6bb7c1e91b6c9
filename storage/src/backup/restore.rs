//! A backup as a data directory again: checked whole before anything is written, made beside its place, and moved there
//! when it is whole.

use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::content;
use super::manifest::{Manifest, copy, sync_dir};
use crate::error::FileContext;
use crate::{Engine as _, Error, SledEngine};

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// When the backup was begun, in UTC milliseconds.
    pub begun_ms: i64,
    /// How many buckets there are.
    pub buckets: u64,
    /// How many bytes the backup has.
    pub bytes: u64,
}

/// Makes a data directory of a backup; `to` must not be there, or be empty. One that was cut short begins anew.
pub fn restore(
    from: &Path,
    to: &Path,
    progress: &mut dyn FnMut(&str) -> ControlFlow<()>,
) -> Result<Restored, Error> {
    let Some(manifest) = Manifest::load(from)? else {
        let source = io::Error::new(io::ErrorKind::NotFound, "there is no whole backup");
        return Err(Error::File { doing: "restore", path: from.to_owned(), source });
    };
    if fs::read_dir(to).is_ok_and(|mut entries| entries.next().is_some()) {
        let source = io::Error::new(io::ErrorKind::AlreadyExists, "it must be empty, or not be there");
        return Err(Error::File { doing: "restore into", path: to.to_owned(), source });
    }
    let mut next = |what: &Path| match progress(&what.display().to_string()) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::Cancelled),
    };
    for file in manifest.files() {
        next(&file.path)?;
        file.check(from)?;
    }
    let beside = beside(to);
    match fs::remove_dir_all(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error).file("remove", &beside),
        Ok(()) | Err(_) => {}
    }
    fs::create_dir_all(beside.join("journal")).file("create", &beside)?;
    for file in &manifest.state {
        next(&file.path)?;
        let place = file.path.strip_prefix("files").unwrap_or(&file.path).to_owned();
        copy(&from.join(&file.path), &beside, place)?;
    }
    for bucket in &manifest.buckets {
        next(&bucket.file.path)?;
        let dir = beside.join("buckets").join(&bucket.level);
        fs::create_dir_all(&dir).file("create", &dir)?;
        let path = dir.join(&bucket.name);
        let kv = SledEngine.open(&path).map_err(|source| Error::OpenBucket { path, source })?;
        content::read_into(&from.join(&bucket.file.path), kv.as_ref())?;
    }
    sync_dir(&beside)?;
    // An empty directory may stand in its place.
    fs::rename(&beside, to).file("write", to)?;
    to.parent().filter(|dir| !dir.as_os_str().is_empty()).map_or(Ok(()), sync_dir)?;
    let buckets = u64::try_from(manifest.buckets.len()).unwrap_or(u64::MAX);
    Ok(Restored {
        begun_ms: manifest.begun_ms,
        buckets,
        bytes: manifest.files().map(|file| file.bytes).sum(),
    })
}

fn beside(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".restoring");
    to.with_file_name(name)
}
