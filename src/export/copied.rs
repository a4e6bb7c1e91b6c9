//! A running node's data directory, copied as it is at one moment, to export from: the node backs itself up and goes on.
//!
//! The copy stands beside the file that is exported, or else where the system keeps such things, takes as much room as the
//! directory, and is gone when the export ends.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use voltree_storage::{DataDir, Error};

use super::ExportOptions;
use crate::backup::{self, Asked};
use crate::storage::Progress;

/// A data directory that is this process's own for as long as it exports.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) data: DataDir,
    _copy: Option<Place>,
}

/// A directory that goes away again.
#[derive(Debug)]
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        // What can't be removed is in nobody's way, and its name says whose it was.
        fs::remove_dir_all(&self.0).ok();
    }
}

/// The directory itself if no node has it; else a copy that its node makes.
pub(super) fn hold(options: &ExportOptions, progress: &mut Progress) -> anyhow::Result<Held> {
    match crate::storage::open(&options.data)? {
        Ok(data) => Ok(Held { data, _copy: None }),
        Err(Error::Locked { .. }) => copy(options, progress),
        Err(error) => Err(error.into()),
    }
}

fn copy(options: &ExportOptions, progress: &mut Progress) -> anyhow::Result<Held> {
    let place = Place::beside(options.out.as_deref())?;
    let (backup, data) = (place.0.join("backup"), place.0.join("data"));
    let stopped = "stopped while the node was being copied; nothing was exported";
    backup::of_running_node(&options.data, &backup, &options.node, progress).map_err(
        |error| match error {
            Asked::Stopped => anyhow::anyhow!(stopped),
            Asked::Failed(error) => error.context(format!(
                "a node runs on {}, and is copied to {} before it is exported",
                options.data.display(),
                place.0.display()
            )),
        },
    )?;
    let step = &mut |at: &str| progress.step(|| format!("copying {at}"));
    match voltree_storage::restore(&backup, &data, step) {
        Ok(_) => {}
        Err(Error::Cancelled) => bail!(stopped),
        Err(error) => return Err(error).context("copying what the node backed up"),
    }
    fs::remove_dir_all(&backup).with_context(|| format!("removing {}", backup.display()))?;
    Ok(Held { data: DataDir::open(&data)?, _copy: Some(place) })
}

impl Place {
    fn beside(out: Option<&Path>) -> anyhow::Result<Self> {
        let parent = out.and_then(Path::parent).filter(|parent| !parent.as_os_str().is_empty());
        let parent = match (parent, out) {
            (Some(parent), _) => parent.to_owned(),
            (None, Some(_)) => PathBuf::from("."),
            (None, None) => std::env::temp_dir(),
        };
        let path = parent.join(format!(".voltree-export-{:08x}", fastrand::u32(..)));
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }
}
