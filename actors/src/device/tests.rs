#![expect(clippy::disallowed_methods, reason = "a test's tree runs beside the test, in real time")]

use std::path::Path;
use std::time::Instant;

use ractor::{Actor, ActorProcessingErr};
use tokio::sync::oneshot;
use voltree_model::{DeviceId, RejectReason, Timestamp};
use voltree_runtime::{
    ActorPath, ActorStatus, ActorView, Birth, ChildSpec, Children, Directory, RestartPolicy, WatchOptions,
    run_tree,
};
use voltree_storage::{JournalOptions, Lsn, MemoryDisk, Positions};

use super::*;
use crate::intake::Inbound;
use crate::mqtt_device;
use crate::registry::DeviceSpec;
use crate::test_journal::{BOUND, writing};
use crate::test_registry::registry;

/// How long actors may be at one thing here.
const STALL: Duration = Duration::from_secs(1);
/// How many are brought to the device: more than go to the journal at once.
const BROUGHT: usize = 600;

/// Waits for ever in its first turn, and so in every life.
struct Hanging;

impl Actor for Hanging {
    type Msg = ();
    type State = ();
    type Arguments = Birth;

    async fn pre_start(&self, myself: ActorRef<()>, _: Birth) -> Result<(), ActorProcessingErr> {
        Ok(myself.send_message(())?)
    }

    async fn handle(&self, _: ActorRef<()>, (): (), _: &mut ()) -> Result<(), ActorProcessingErr> {
        std::future::pending().await
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < BOUND, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn incarnation(directory: &Directory, path: &ActorPath) -> u64 {
    directory.list().into_iter().find(|actor| actor.path == *path).map_or(0, |actor| actor.incarnation)
}

/// Whether it can be killed: an actor that is only being born can't.
fn runs(directory: &Directory, path: &ActorPath) -> bool {
    let is_running = |actor: ActorView| actor.path == *path && actor.status == ActorStatus::Running;
    directory.list().into_iter().any(is_running)
}

/// Numbers of what the journal has of the device.
fn written(journal: &JournalSlot) -> Vec<u64> {
    let entries = journal.read(Lsn(0), 2 * BROUGHT).unwrap();
    entries.iter().filter_map(|(_, entry)| entry.origin()).map(|origin| origin.sequence).collect()
}

#[test]
fn a_disk_that_stays_full_holds_up_one_batch_of_a_device_and_nobodys_turn() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let disk = MemoryDisk::default();
    let directory =
        Directory::watched(WatchOptions { tick: Duration::from_millis(50), ..WatchOptions::default() });
    let devices = Children::default();
    let (options, positions) = (JournalOptions::default(), Arc::new(Positions::default()));
    let journal =
        JournalSlot::open(Arc::new(disk.clone()), Path::new("journal"), options, positions).unwrap();
    let letters = tempfile::tempdir().unwrap();
    let registry = registry(&journal, &directory, &devices, Arc::default(), letters.path());
    let root = ActorPath::root("node");
    let sensor = root.child("devices").child("sensor");
    let hanging = root.child("hanging");
    disk.set_free_space(Some(0));

    writing(&journal, || {
        runtime.block_on(async {
            let (stop, stopped) = oneshot::channel::<()>();
            let children = Children::new([
                ChildSpec::supervisor("devices", RestartPolicy::DEVICE, devices),
                ChildSpec::worker("hanging", "hanging", RestartPolicy::DEVICE, |birth| (Hanging, birth))
                    .with_stall_limit(STALL),
            ]);
            let tree = tokio::spawn(run_tree(root.clone(), directory.clone(), children, async {
                stopped.await.ok();
            }));
            let spec = DeviceSpec {
                id: DeviceId::new("sensor").unwrap(),
                name: "Sensor".to_owned(),
                kind: mqtt_device::KIND,
                site: None,
                labels: [].into(),
                offline_after: BOUND,
                wanted: true,
            };
            let at = Timestamp::from_millis(1);
            let child = |entry| mqtt_device::child(entry, Arc::clone(&journal)).with_stall_limit(STALL);
            let entry = registry.register(spec, at, child);
            for _ in 0..BROUGHT {
                let detail = String::new();
                let inbound = Inbound::Rejected { at, reason: RejectReason::Busy, detail };
                entry.intake.accept_unreceipted(inbound).await.unwrap();
                entry.arrived(at);
            }
            until("a batch is with the journal", || journal.stats().queued > 0).await;
            let batch = journal.stats().queued;
            assert!(batch < BROUGHT, "{batch}");

            let others = incarnation(&directory, &hanging);
            until("who hangs is found out", || incarnation(&directory, &hanging) >= others + 2).await;
            assert_eq!(incarnation(&directory, &sensor), 1, "it was free all the time");
            for life in 2..5 {
                directory.kill(sensor.as_str(), "test").unwrap();
                let lives = || incarnation(&directory, &sensor) == life && runs(&directory, &sensor);
                until("it is born again", lives).await;
                entry.arrived(at);
            }
            assert_eq!(journal.stats().queued, batch, "nobody offers again what is there already");
            assert_eq!(entry.intake.depth(), BROUGHT);

            disk.set_free_space(None);
            until("everything is settled", || entry.intake.depth() == 0).await;
            stop.send(()).unwrap();
            tree.await.unwrap().unwrap();
        });
    });
    assert_eq!(written(&journal), (1..=BROUGHT as u64).collect::<Vec<_>>());
}
