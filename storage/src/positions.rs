//! Where every device stands in the journal: its last origin, and which of the journal's entries are its own.
//!
//! Two questions are answered from it. Was this entry written already? And from where must the journal be read (and
//! kept) so that nothing is missing that no checkpoint covers? The journal writes it at each commit; the store asks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use voltree_model::{DeviceId, Origin};

use crate::{Entry, Error, Lsn, RecordChange, Records};

/// The entries of one owner that the journal has seen.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: Lsn,
    last: Lsn,
}

#[derive(Debug, Default)]
struct Table {
    origins: BTreeMap<DeviceId, Origin>,
    devices: BTreeMap<DeviceId, Span>,
    node: Option<Span>,
    committed: Lsn,
    /// The last entry that the checkpoint covers; `None` if there is no checkpoint.
    covered: Option<Lsn>,
}

/// Where every device stands; shared by the store and the journal.
#[derive(Debug, Default)]
pub struct Positions {
    table: RwLock<Table>,
    records: Arc<Records>,
}

impl Positions {
    /// Begins anew with what a checkpoint knows and up to where it covers the journal, and the records as of their
    /// snapshot.
    pub(crate) fn new(
        origins: BTreeMap<DeviceId, Origin>,
        covered: Option<Lsn>,
        records: Arc<Records>,
    ) -> Self {
        Self { table: RwLock::new(Table { origins, covered, ..Table::default() }), records }
    }

    /// The records as of the last committed entry.
    pub(crate) fn records(&self) -> &Arc<Records> {
        &self.records
    }

    /// The last committed origin of a device.
    pub fn last_origin(&self, device: &DeviceId) -> Option<Origin> {
        self.table.read().origins.get(device).copied()
    }

    /// The last committed origin of every device that ever had one.
    pub fn last_origins(&self) -> BTreeMap<DeviceId, Origin> {
        self.table.read().origins.clone()
    }

    /// The last committed entry.
    pub fn committed(&self) -> Lsn {
        self.table.read().committed
    }

    /// Checks that a journal goes with the checkpoint: it must begin where that ends or before, and end there or after.
    pub(crate) fn check_journal(&self, dir: &Path, first: Lsn, committed: Lsn) -> Result<(), Error> {
        match self.table.read().covered {
            None if first > Lsn(1) => Err(Error::CheckpointMissing { dir: dir.to_owned(), first }),
            Some(covered) if covered > committed => {
                Err(Error::JournalBehind { dir: dir.to_owned(), journal: committed, checkpoint: covered })
            }
            None | Some(_) if self.records.covered() > committed => {
                let checkpoint = self.records.covered();
                Err(Error::JournalBehind { dir: dir.to_owned(), journal: committed, checkpoint })
            }
            None | Some(_) => Ok(()),
        }
    }

    /// Takes note of committed entries, in order.
    pub(crate) fn commit<'a>(&self, entries: impl IntoIterator<Item = (Lsn, &'a Entry)>) {
        let mut table = self.table.write();
        // Entries of one device mostly follow each other: it is looked up once for all of them.
        let mut run: Option<Run<'a>> = None;
        for (lsn, entry) in entries {
            // Before the entry counts as committed, as a snapshot of the records says that it has all that is.
            if let Entry::Record { change, .. } = entry {
                self.records.apply(lsn, change);
            }
            run = match run {
                Some(run) if run.device == entry.device() => Some(run.with(lsn, entry.origin())),
                other => {
                    other.into_iter().for_each(|run| table.note_run(&run));
                    let (device, origin) = (entry.device(), entry.origin());
                    Some(Run { first: lsn, last: lsn, device, origin })
                }
            };
        }
        run.into_iter().for_each(|run| table.note_run(&run));
    }

    /// Takes note of one committed entry, in order, and of the record that it changed.
    pub(crate) fn note(
        &self,
        lsn: Lsn,
        device: Option<&DeviceId>,
        origin: Option<Origin>,
        change: Option<&RecordChange>,
    ) {
        if let Some(change) = change {
            self.records.apply(lsn, change);
        }
        self.table.write().note_run(&Run { first: lsn, last: lsn, device, origin });
    }

    /// The entry up to which nothing is left to do, given up to where each owner is covered.
    ///
    /// `covered` answers `None` for a device that nothing is known of; the node itself is asked for as `None`.
    pub(crate) fn floor(&self, covered: impl Fn(Option<&DeviceId>) -> Option<Lsn>) -> Lsn {
        let table = self.table.read();
        let devices = table.devices.iter().map(|(device, span)| (Some(device), span));
        let node = table.node.iter().map(|span| (None, span));
        let open = devices.chain(node).filter_map(|(owner, span)| {
            let covered = covered(owner).unwrap_or_default();
            (covered < span.last).then(|| covered.max(span.first.previous()))
        });
        open.min().unwrap_or(table.committed)
    }
}

/// Entries of one owner that follow each other, with their highest origin.
#[derive(Debug)]
struct Run<'a> {
    first: Lsn,
    last: Lsn,
    device: Option<&'a DeviceId>,
    origin: Option<Origin>,
}

impl Run<'_> {
    fn with(self, last: Lsn, origin: Option<Origin>) -> Self {
        Self { last, origin: self.origin.max(origin), ..self }
    }
}

impl Table {
    fn note_run(&mut self, run: &Run<'_>) {
        let Run { first, last, device, origin } = *run;
        self.committed = last;
        let Some(device) = device else {
            self.node.get_or_insert(Span { first, last }).last = last;
            return;
        };
        match self.devices.get_mut(device) {
            Some(span) => span.last = last,
            None => {
                self.devices.insert(device.clone(), Span { first, last });
            }
        }
        let Some(origin) = origin else { return };
        match self.origins.get_mut(device) {
            Some(known) => *known = origin.max(*known),
            None => {
                self.origins.insert(device.clone(), origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use voltree_model::{RejectReason, Timestamp};

    fn rejected(device: Option<&str>, sequence: u64) -> Entry {
        Entry::Rejected {
            device: device.map(|id| DeviceId::new(id).unwrap()),
            origin: device.map(|_| Origin { epoch: 0, sequence }),
            at: Timestamp::from_millis(0),
            reason: RejectReason::Busy,
            detail: String::new(),
        }
    }

    #[test]
    fn the_floor_stands_before_the_first_entry_that_nobody_covers() {
        let positions = Positions::default();
        let entries =
            [rejected(Some("a"), 1), rejected(Some("b"), 1), rejected(None, 0), rejected(Some("a"), 2)];
        positions.commit((1..).map(Lsn).zip(&entries));
        assert_eq!(positions.floor(|_| None), Lsn(0));
        assert_eq!(positions.floor(|_| Some(Lsn(4))), Lsn(4));
        let only_a = |owner: Option<&DeviceId>| (owner.map(DeviceId::as_str) == Some("a")).then_some(Lsn(4));
        assert_eq!(positions.floor(only_a), Lsn(1), "b's only entry is 2");
        let but_node = |owner: Option<&DeviceId>| owner.map(|_| Lsn(4));
        assert_eq!(positions.floor(but_node), Lsn(2), "the node's only entry is 3");
    }

    #[test]
    fn an_idle_device_that_is_covered_holds_nothing_back() {
        let positions = Positions::default();
        let entries = [rejected(Some("idle"), 1), rejected(Some("busy"), 1), rejected(Some("busy"), 2)];
        positions.commit((1..).map(Lsn).zip(&entries));
        let covered = |owner: Option<&DeviceId>| match owner.map(DeviceId::as_str) {
            Some("idle") => Some(Lsn(1)),
            _ => Some(Lsn(3)),
        };
        assert_eq!(positions.floor(covered), Lsn(3));
    }
}
