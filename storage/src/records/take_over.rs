//! What an earlier version kept in files of its own becomes records, once, before anything runs.
//!
//! The files go only when the records are durable, and their going is durable before anything changes a record. So there
//! is either a file, and all of it is taken over (again, if the power failed in between), or there is none.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::FileContext;
use crate::{Disk, Entry, Error, JournalSlot};

/// How long the disk may take: a large file is still one group, and a full disk is to be told.
const WITHIN: Duration = Duration::from_secs(60);

/// Commits the entries that the files hold and removes those; blocks, while the journal has no writer.
pub fn take_over(
    disk: &dyn Disk,
    journal: &JournalSlot,
    files: &[PathBuf],
    entries: Vec<Entry>,
) -> Result<(), Error> {
    let records = entries.len();
    journal.commit_alone(entries, WITHIN)?;
    for file in files {
        match disk.remove(file) {
            Ok(()) => {
                let dir = file.parent().unwrap_or(Path::new("."));
                disk.sync_dir(dir).file("sync", dir)?;
                tracing::info!(
                    event = "records.taken_over",
                    file = %file.display(),
                    records,
                    "what an earlier version kept in a file is in the journal now"
                );
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(Error::File { doing: "remove", path: file.clone(), source }),
        }
    }
    Ok(())
}
