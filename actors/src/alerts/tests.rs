#![expect(clippy::disallowed_methods, reason = "a test's tree runs beside the test, in real time")]

use std::sync::atomic::AtomicBool;

use tokio::sync::oneshot;
use voltree_model::DeviceId;
use voltree_runtime::{Birth, ChildSpec, Children, Directory, RestartPolicy, WatchOptions, run_tree};
use voltree_storage::{DataDir, JournalOptions, KeepDays, RealDisk, Retention};

use super::*;
use crate::fleet::AlertStatus;
use crate::test_registry::registry;

const BOUND: Duration = Duration::from_secs(30);

/// A node's half of alerting on a directory of its own.
struct Site {
    book: Arc<AlertBook>,
    store: Arc<Store>,
    _data: (DataDir, tempfile::TempDir),
}

impl Site {
    fn new(directory: &Directory) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let data = DataDir::open(dir.path()).unwrap();
        let disk = Arc::new(RealDisk);
        let store = Store::open(&data, disk.clone()).unwrap();
        let journal =
            JournalSlot::open(disk, &data.journal(), JournalOptions::default(), store.positions()).unwrap();
        let root = ActorPath::root("node");
        let devices = Children::default();
        let registry = registry(&journal, directory, &devices, store.age_limits(), dir.path());
        let (registry, limits) = (Arc::new(registry), AlertLimits::default());
        let storage = root.child("storage");
        let book =
            AlertBook::open(journal, &data.path("alerts"), limits, registry, Arc::clone(&store), storage);
        Self { book: Arc::new(book.unwrap()), store, _data: (data, dir) }
    }

    /// Looks again and again, as the actor does, until this many alerts are active.
    async fn until_active(&self, wanted: usize) -> Vec<AlertView> {
        let begun = std::time::Instant::now();
        loop {
            self.book.tell(&self.book.notice(crate::now()).await.unwrap());
            let active = self.book.active();
            if active.len() == wanted {
                return active;
            }
            assert!(begun.elapsed() < BOUND, "{active:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Holds its thread until it is told to let go.
struct Spinner(Arc<AtomicBool>);

impl Actor for Spinner {
    type Msg = ();
    type State = ();
    type Arguments = Birth;

    async fn pre_start(&self, _: ActorRef<()>, _: Birth) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(&self, _: ActorRef<()>, (): (), _: &mut ()) -> Result<(), ActorProcessingErr> {
        while !self.0.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stuck_thread_is_an_alert_until_it_lets_go() {
    let tick = Duration::from_millis(20);
    let directory = Directory::watched(WatchOptions { tick, ..WatchOptions::default() });
    let let_go = Arc::new(AtomicBool::new(false));
    let child = {
        let let_go = Arc::clone(&let_go);
        let birth = move |birth| (Spinner(Arc::clone(&let_go)), birth);
        ChildSpec::worker("spinner", "spinner", RestartPolicy::DEVICE, birth)
            .with_stall_limit(Duration::from_millis(200))
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let root = ActorPath::root("node");
    let tree = run_tree(root.clone(), directory.clone(), Children::new([child]), async {
        stopped.await.ok();
    });
    let tree = tokio::spawn(tree);
    let site = Site::new(&directory);
    let mut watcher = site.book.subscribe();
    assert!(site.until_active(0).await.is_empty());

    let begun = std::time::Instant::now();
    while directory.handle::<()>(&root.child("spinner")).send(()).is_err() {
        assert!(begun.elapsed() < BOUND, "it did not start");
        tokio::time::sleep(tick).await;
    }
    let alert = site.until_active(1).await.remove(0);
    assert_eq!(alert.title, "Thread stuck");
    assert_eq!((alert.device.as_str(), alert.severity.as_str()), ("node.spinner", "critical"));
    assert!(alert.message.starts_with("incarnation 1 of node/spinner "), "{}", alert.message);
    assert_eq!(watcher.try_recv().unwrap().id, alert.id, "whoever watches is told");
    assert!(watcher.try_recv().is_err(), "once");

    let_go.store(true, Ordering::Relaxed);
    site.until_active(0).await;
    let history = site.book.history(alert.triggered_at, crate::now().plus(Duration::from_secs(1)));
    assert_eq!(history.iter().map(|alert| alert.status).collect::<Vec<_>>(), [AlertStatus::Resolved]);
    stop.send(()).unwrap();
    tree.await.unwrap().unwrap();
}

#[tokio::test]
async fn storage_that_is_nearly_full_is_an_alert_until_there_is_space() {
    let site = Site::new(&Directory::default());
    let limit = |max_bytes| Retention { default: KeepDays::FOREVER, max_bytes, ..Retention::default() };
    let later = |looks: u64| crate::now().plus(LOOK_AT_STORAGE.saturating_mul(u32::try_from(looks).unwrap()));
    // Whatever the buckets take, it is no less than nothing.
    for (looks, max_bytes, expected) in
        [(0, None, 0), (1, Some(0), 1), (2, Some(0), 1), (3, Some(1 << 40), 0)]
    {
        site.store.set_retention(limit(max_bytes));
        site.book.tell(&site.book.notice(later(looks)).await.unwrap());
        let active = site.book.active();
        assert_eq!(active.len(), expected, "{active:?}");
        let storage = DeviceId::new("node.storage").unwrap();
        assert!(active.iter().all(|alert| alert.device == storage && alert.title == "Storage nearly full"));
    }
}

#[tokio::test]
async fn a_damaged_bucket_is_an_alert_until_somebody_has_taken_it_away() {
    let site = Site::new(&Directory::default());
    let later = |looks: u32| crate::now().plus(LOOK_AT_STORAGE.saturating_mul(looks));
    let aside = site._data.1.path().join("quarantine/2026-11-20-1.rebuilt");
    std::fs::create_dir_all(site._data.1.path().join("quarantine/rollup-1m")).unwrap();
    for (looks, is_there) in [(0, false), (1, true), (2, true), (3, false)] {
        if is_there {
            std::fs::create_dir_all(&aside).unwrap();
        } else if aside.exists() {
            std::fs::remove_dir(&aside).unwrap();
        }
        site.book.tell(&site.book.notice(later(looks)).await.unwrap());
        let active = site.book.active();
        assert_eq!(active.len(), usize::from(is_there), "{active:?}");
        assert!(active.iter().all(|alert| {
            alert.title == "History damaged" && alert.message.contains("quarantine/2026-11-20-1.rebuilt")
        }));
    }
}
