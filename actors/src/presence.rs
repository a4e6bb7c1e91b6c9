//! Presence: notes when devices come, go, are parked or switched off, and tells whoever watches that a device changed.
//!
//! Owns: its turn; the book belongs to the node. Receives: ticks. Lost on restart: nothing. A kill -9 of the node may
//! cost the changes of the last seconds; what was measured is in the journal and never depends on this. A state that
//! lasts less than a tick is not noted.
//! Supervised by: live.

mod history;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::broadcast;
use voltree_model::{DeviceId, Timestamp};

use self::history::StateHistory;
use crate::cursor::{self, CursorMsg};
use crate::fleet::StateChange;
use crate::registry::Registry;

/// How many changes a watcher may fall behind.
const BACKLOG: usize = 4_096;
/// How often a device that goes on talking is said to have changed.
const TOLD_EVERY: Duration = Duration::from_secs(1);
/// How often the history is saved at most.
const SAVED_EVERY: Duration = Duration::from_secs(2);

/// The node's half of presence, which outlives the actor.
#[derive(Debug)]
pub struct PresenceBook {
    file: PathBuf,
    registry: Arc<Registry>,
    known: Mutex<Known>,
    watchers: broadcast::Sender<DeviceId>,
}

#[derive(Debug, Default)]
struct Known {
    history: StateHistory,
    told: HashMap<DeviceId, Told>,
    unsaved_since: Option<Timestamp>,
    /// It could not be saved the last time.
    failing: bool,
}

/// What watchers were told of a device last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Told {
    at: Timestamp,
    arrival: Option<Timestamp>,
}

impl PresenceBook {
    /// Reads the saved history, or begins a new one.
    pub fn open(file: PathBuf, registry: Arc<Registry>) -> Result<Self, voltree_storage::Error> {
        let history = voltree_storage::load_snapshot(&file)?.unwrap_or_default();
        let known = Known { history, ..Known::default() };
        Ok(Self { file, registry, known: Mutex::new(known), watchers: broadcast::Sender::new(BACKLOG) })
    }

    /// The last changes of a device's state, newest first.
    pub fn history(&self, device: &DeviceId, limit: usize) -> Vec<StateChange> {
        self.known.lock().history.of(device, limit)
    }

    /// All changes of a device's state that are kept.
    pub(crate) fn states(&self, device: &DeviceId) -> Vec<StateChange> {
        self.known.lock().history.of(device, usize::MAX)
    }

    /// Devices as they change, from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<DeviceId> {
        self.watchers.subscribe()
    }

    /// Looks at every device; says which ones changed since the last look.
    fn look(&self, now: Timestamp) -> Vec<DeviceId> {
        let devices = self.registry.list();
        let mut known = self.known.lock();
        let changed = devices.iter().filter(|device| {
            let state = self.registry.state(device, now);
            let change = known.history.note(&device.id, state, now, || Registry::reason(device, state));
            if change {
                known.unsaved_since.get_or_insert(now);
            }
            known.is_news(&device.id, device.last_arrival(), change, now)
        });
        changed.map(|device| device.id.clone()).collect()
    }

    /// Saves the history if it changed a while ago, or changed at all where `at_once`. No restart helps where that fails, as
    /// on a full disk: it is told once, and tried again.
    async fn save(&self, now: Timestamp, at_once: bool) -> Result<(), ActorProcessingErr> {
        let history = {
            let mut known = self.known.lock();
            let due = known.unsaved_since.is_some_and(|since| at_once || now.since(since) >= SAVED_EVERY);
            if !due {
                return Ok(());
            }
            known.unsaved_since = None;
            known.history.clone()
        };
        let file = self.file.clone();
        let saved =
            tokio::task::spawn_blocking(move || voltree_storage::save_snapshot(&file, &history)).await?;
        let mut known = self.known.lock();
        let was_failing = std::mem::replace(&mut known.failing, saved.is_err());
        if let Err(error) = saved {
            known.unsaved_since.get_or_insert(now);
            if !was_failing {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(
                    event = "presence.failing",
                    error,
                    "when devices come and go is not stored for now"
                );
            }
        }
        Ok(())
    }
}

impl Known {
    /// Whether watchers are to be told: of a change of state at once, of news from the device once in a while.
    fn is_news(
        &mut self,
        device: &DeviceId,
        arrival: Option<Timestamp>,
        changed: bool,
        now: Timestamp,
    ) -> bool {
        let told = self.told.get(device);
        let heard = told.is_none_or(|told| told.arrival != arrival && now.since(told.at) >= TOLD_EVERY);
        if changed || heard {
            self.told.insert(device.clone(), Told { at: now, arrival });
        }
        changed || heard
    }
}

/// The states of every device as far as they were saved in a file, for inspection of a node from outside.
#[derive(Debug)]
pub struct SavedStates(StateHistory);

impl SavedStates {
    /// Reads the file; nothing was saved yet if there is none.
    pub fn read(file: &Path) -> Result<Self, voltree_storage::Error> {
        Ok(Self(voltree_storage::load_snapshot(file)?.unwrap_or_default()))
    }

    /// All changes of a device's state that were kept.
    pub fn of(&self, device: &DeviceId) -> Vec<StateChange> {
        self.0.of(device, usize::MAX)
    }
}

/// The actor.
#[derive(Debug)]
pub struct Presence;

impl Actor for Presence {
    type Msg = CursorMsg;
    type State = Arc<PresenceBook>;
    type Arguments = Arc<PresenceBook>;

    async fn pre_start(
        &self,
        myself: ActorRef<CursorMsg>,
        book: Arc<PresenceBook>,
    ) -> Result<Arc<PresenceBook>, ActorProcessingErr> {
        cursor::tick(&myself, || CursorMsg::Tick);
        Ok(book)
    }

    async fn handle(
        &self,
        _myself: ActorRef<CursorMsg>,
        message: CursorMsg,
        book: &mut Arc<PresenceBook>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CursorMsg::Committed | CursorMsg::Tick => {
                let now = crate::now();
                for device in book.look(now) {
                    // A change that nobody watches is no loss: it stands in the book.
                    book.watchers.send(device).ok();
                }
                book.save(now, false).await
            }
        }
    }

    async fn post_stop(
        &self,
        _myself: ActorRef<CursorMsg>,
        book: &mut Arc<PresenceBook>,
    ) -> Result<(), ActorProcessingErr> {
        book.save(crate::now(), true).await
    }
}

#[cfg(test)]
mod tests {
    use voltree_runtime::{Children, Directory};

    use super::*;
    use crate::test_journal::TestJournal;
    use crate::test_registry::registry;

    #[test]
    fn watchers_hear_of_a_change_at_once_and_of_a_talking_device_once_a_second() {
        let mut known = Known::default();
        let device = DeviceId::new("pack-1").unwrap();
        let at = |ms: i64| Timestamp::from_millis(1_000_000 + ms);
        let mut news = |arrival, changed, now| known.is_news(&device, Some(at(arrival)), changed, at(now));
        assert!(news(0, false, 0), "the first look");
        assert!(!news(200, false, 250), "told a moment ago");
        assert!(news(900, false, 1_000), "a second later");
        assert!(news(900, true, 1_100), "a change of state");
        assert!(!news(900, false, 9_000), "nothing new was heard");
    }

    #[tokio::test]
    async fn what_can_not_be_saved_now_is_saved_later_and_fails_nobody() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("not-there-yet/presence");
        let journal = TestJournal::default().open();
        let (directory, devices) = (Directory::default(), Children::default());
        let registry = registry(&journal, &directory, &devices, Arc::default(), temp.path());
        let device = DeviceId::new("sensor").unwrap();
        registry.adopt(&device, Timestamp::from_millis(1));
        let book = PresenceBook::open(file.clone(), Arc::new(registry)).unwrap();
        let at = |seconds: i64| Timestamp::from_millis(1_000 * seconds);
        book.look(at(0));
        for seconds in [2, 4, 6] {
            book.save(at(seconds), false).await.unwrap();
            assert!(book.known.lock().failing && !file.exists());
        }
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        book.save(at(8), false).await.unwrap();
        assert!(!book.known.lock().failing);
        assert_eq!(SavedStates::read(&file).unwrap().of(&device), book.states(&device));
        assert_eq!(book.states(&device).len(), 1);
    }
}
