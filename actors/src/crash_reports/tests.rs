use voltree_runtime::{Children, Directory};
use voltree_storage::{DataDir, JournalOptions, JournalSlot, RealDisk, Store};

use super::*;
use crate::test_registry::registry;

struct Node {
    temp: tempfile::TempDir,
    registry: Arc<Registry>,
    events: Events,
    _data: DataDir,
}

impl Node {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let data = DataDir::open(temp.path()).unwrap();
        let store = Store::open(&data, Arc::new(RealDisk)).unwrap();
        let (options, positions) = (JournalOptions::default(), store.positions());
        let journal = JournalSlot::open(Arc::new(RealDisk), &data.journal(), options, positions).unwrap();
        let directory = Directory::default();
        let devices = Children::default();
        let registry = Arc::new(registry(&journal, &directory, &devices, store.age_limits(), temp.path()));
        registry.adopt(&device("sensor"), Timestamp::from_millis(1));
        Self { temp, registry, events: directory.events().clone(), _data: data }
    }

    fn book(&self) -> CrashBook {
        let build = Build { version: "1".to_owned(), commit: None, target: "any".to_owned() };
        let (dir, registry) = (self.temp.path().join("crashes"), Arc::clone(&self.registry));
        CrashBook::open(Arc::new(RealDisk), dir, self.events.clone(), registry, build).unwrap()
    }

    fn files(&self) -> Vec<String> {
        RealDisk.list(&self.temp.path().join("crashes")).unwrap()
    }
}

fn device(id: &str) -> DeviceId {
    DeviceId::new(id).unwrap()
}

fn happens(book: &CrashBook, at_ms: i64, path: &str, kind: EventKind, reason: ExitReason) {
    let event = serde_json::json!({
        "at_ms": at_ms, "kind": kind, "path": path, "actor_kind": "mqtt_device", "incarnation": 1,
        "restarts": 0, "reason": reason, "delay": null
    });
    let mut failing = false;
    book.look_at(&[serde_json::from_value(event).unwrap()], &mut failing);
    assert!(!failing);
}

fn panic() -> ExitReason {
    ExitReason::Panic { message: "boom".to_owned(), location: None }
}

#[test]
fn crashes_of_devices_are_reported_and_nothing_else_is() {
    let node = Node::new();
    let book = node.book();
    let sensor = "node/devices/sensor";
    for (at_ms, path, kind, reason) in [
        (10, sensor, EventKind::Failed, panic()),
        (11, sensor, EventKind::Failed, ExitReason::Killed { by: "operator".to_owned() }),
        (12, sensor, EventKind::Restarted, panic()),
        (13, sensor, EventKind::Stopped, ExitReason::Stopped),
        (14, "node/mqtt/clients/sensor", EventKind::Failed, panic()),
        (15, "node/devices/stranger", EventKind::Failed, panic()),
        (16, sensor, EventKind::Failed, ExitReason::Frozen { limit_ms: 5 }),
    ] {
        happens(&book, at_ms, path, kind, reason);
    }
    let ids: Vec<_> = book.list().into_iter().map(|report| report.id).collect();
    assert_eq!(ids, ["sensor-16", "sensor-10"]);
    let report = FlightReport::parse(&book.read("sensor-10").unwrap().unwrap()).unwrap();
    assert_eq!((report.device, report.crash.unwrap().reason), (device("sensor"), panic()));
    assert_eq!(book.read("../sensor-10").unwrap(), None);
    assert!(book.report_now(&device("stranger")).is_none());
    let again = node.book();
    assert_eq!(again.list(), book.list());
    again.flush();
    assert_eq!(node.files(), ["sensor-10.json", "sensor-16.json"], "what was reported is not reported again");
}

#[test]
fn the_oldest_reports_make_room_and_what_can_not_be_read_is_passed_over() {
    let node = Node::new();
    let book = node.book();
    for at_ms in 100..130 {
        happens(&book, at_ms, "node/devices/sensor", EventKind::Failed, panic());
    }
    let mut expected: Vec<_> = (110..130).map(|at_ms| format!("sensor-{at_ms}.json")).collect();
    assert_eq!(node.files(), expected);
    std::fs::write(node.temp.path().join("crashes/sensor-110.json"), "{").unwrap();
    expected.remove(0);
    let listed: Vec<_> = node.book().list().into_iter().map(|report| format!("{}.json", report.id)).collect();
    assert_eq!(listed.into_iter().rev().collect::<Vec<_>>(), expected);
}
