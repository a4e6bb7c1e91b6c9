//! An export on its way: the bytes so far beside their place, and a note of how far they go.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use voltree_model::Timestamp;

use super::Selection;

/// How far an export has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Note {
    selection: Selection,
    /// The last day that is whole.
    through: Option<Timestamp>,
    /// How many bytes it is up to there.
    bytes: u64,
}

/// The file on its way.
#[derive(Debug)]
pub(super) struct Partial {
    place: PathBuf,
    file: File,
    note: Note,
}

pub(super) fn beside(place: &Path, ending: &str) -> PathBuf {
    let mut name = place.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    place.with_file_name(name)
}

impl Partial {
    /// Begins anew, whatever was begun before.
    pub(super) fn begin(place: &Path, selection: &Selection, header: &str) -> anyhow::Result<Self> {
        let path = beside(place, ".partial");
        let file = File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let note = Note { selection: selection.clone(), through: None, bytes: 0 };
        let mut begun = Self { place: place.to_owned(), file, note };
        begun.write(header.as_bytes())?;
        begun.save()?;
        Ok(begun)
    }

    /// Goes on where the last day ended that is whole.
    pub(super) fn resume(place: &Path, selection: &Selection) -> anyhow::Result<Self> {
        let (path, note) = (beside(place, ".partial"), beside(place, ".partial.json"));
        let text = fs::read(&note)
            .with_context(|| format!("there is nothing to resume: reading {}", note.display()))?;
        let note: Note =
            serde_json::from_slice(&text).with_context(|| format!("{} can't be read", note.display()))?;
        if note.selection != *selection {
            bail!(
                "{} was begun with other options, or the directory has other devices by now; export anew without --resume",
                place.display()
            );
        }
        let file = OpenOptions::new().append(true).open(&path);
        let file = file.with_context(|| format!("opening {}", path.display()))?;
        if file.metadata()?.len() < note.bytes {
            bail!("{} is shorter than it was; export anew without --resume", path.display());
        }
        file.set_len(note.bytes).with_context(|| format!("cutting {}", path.display()))?;
        Ok(Self { place: place.to_owned(), file, note })
    }

    /// The last day that is whole.
    pub(super) fn done_through(&self) -> Option<Timestamp> {
        self.note.through
    }

    /// Adds a whole day.
    pub(super) fn add(&mut self, bytes: &[u8], day: Timestamp) -> anyhow::Result<()> {
        self.write(bytes)?;
        self.note.through = Some(day);
        self.save()
    }

    /// Puts the file in its place.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        let path = beside(&self.place, ".partial");
        self.file.sync_all().with_context(|| format!("syncing {}", path.display()))?;
        fs::rename(&path, &self.place).with_context(|| format!("writing {}", self.place.display()))?;
        match fs::remove_file(beside(&self.place, ".partial.json")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).context("removing the note of how far the export was")
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.file.write_all(bytes).with_context(|| format!("writing {}", self.place.display()))?;
        self.note.bytes += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Notes how far it is, once that far is on disk.
    fn save(&self) -> anyhow::Result<()> {
        let (new, note) = (beside(&self.place, ".partial.new"), beside(&self.place, ".partial.json"));
        let saved = self.file.sync_data().and_then(|()| fs::write(&new, serde_json::to_vec(&self.note)?));
        let saved = saved.and_then(|()| fs::rename(&new, &note));
        saved.with_context(|| format!("noting in {} how far the export is", note.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::Format;

    fn selection(format: Format) -> Selection {
        Selection { format, devices: Vec::new(), series: Vec::new(), from: None, to: None }
    }

    fn day(number: i64) -> Timestamp {
        Timestamp::from_millis(number * 86_400_000)
    }

    #[test]
    fn what_was_stopped_within_a_day_goes_on_where_that_day_begins() {
        let temp = tempfile::tempdir().unwrap();
        let (place, selection) = (temp.path().join("all.csv"), selection(Format::CsvLong));
        let mut begun = Partial::begin(&place, &selection, "header\n").unwrap();
        begun.add(b"one\n", day(1)).unwrap();
        begun.write(b"half of tw").unwrap();
        drop(begun);
        assert!(!place.exists());
        let mut resumed = Partial::resume(&place, &selection).unwrap();
        assert_eq!(resumed.done_through(), Some(day(1)));
        resumed.add(b"two\n", day(2)).unwrap();
        resumed.finish().unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "header\none\ntwo\n");
        let left: Vec<_> =
            fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["all.csv"]);
    }

    #[test]
    fn nothing_is_resumed_with_other_options_or_where_nothing_was_begun() {
        let temp = tempfile::tempdir().unwrap();
        let place = temp.path().join("all.csv");
        let told = |format| format!("{:#}", Partial::resume(&place, &selection(format)).unwrap_err());
        assert!(told(Format::Line).contains("nothing to resume"), "{}", told(Format::Line));
        drop(Partial::begin(&place, &selection(Format::CsvLong), "header\n").unwrap());
        assert!(told(Format::Line).contains("other options"), "{}", told(Format::Line));
    }
}
