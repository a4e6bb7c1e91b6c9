use std::path::Path;

use voltree_storage::{JournalOptions, MemoryDisk, Positions};

use super::*;

fn journal(disk: &MemoryDisk) -> Arc<JournalSlot> {
    let options = JournalOptions::default();
    let positions = Arc::new(Positions::default());
    JournalSlot::open(Arc::new(disk.clone()), Path::new("journal"), options, positions).unwrap()
}

fn writing(journal: &JournalSlot, act: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| journal.run(&stop));
        act();
        stop.store(true, Ordering::Release);
        journal.wake();
        writer.join().unwrap().unwrap();
    });
}

fn outbox(journal: &Arc<JournalSlot>, most_waiting: usize) -> Outbox {
    Outbox::open("house", Bridge { most_waiting, ..Bridge::default() }, Arc::clone(journal)).unwrap()
}

fn message(payload: &str, qos: QoS) -> Outgoing {
    let payload = Bytes::copy_from_slice(payload.as_bytes());
    Outgoing { topic: "devices/a/telemetry".into(), payload, qos, retain: true, said: None }
}

fn offer(outbox: &Outbox, payload: &str, qos: QoS) -> Option<bool> {
    outbox.offer(message(payload, qos), crate::now()).map(futures::executor::block_on)
}

fn payloads(outbox: &Outbox) -> Vec<String> {
    let (mut found, mut last) = (Vec::new(), 0);
    while let Some((number, message)) = outbox.after(last) {
        found.push(String::from_utf8(message.payload.to_vec()).unwrap());
        last = number;
    }
    found
}

#[test]
fn what_was_kept_is_there_after_a_power_cut_and_what_was_acknowledged_is_not() {
    let disk = MemoryDisk::default();
    let slot = journal(&disk);
    writing(&slot, || {
        let outbox = outbox(&slot, 10);
        for payload in ["1", "2", "3"] {
            assert_eq!(offer(&outbox, payload, QoS::AtLeastOnce), Some(true));
        }
        let (second, _) = outbox.after(1).unwrap();
        outbox.done(second, crate::now());
        assert_eq!(payloads(&outbox), ["1", "3"]);
        // Waits for the removal, which nobody else waits for.
        futures::executor::block_on(intake::submit(&slot, Vec::new())).unwrap().unwrap();
    });
    drop(slot);
    disk.power_cut(|| false);
    let slot = journal(&disk);
    let again = outbox(&slot, 10);
    assert_eq!(payloads(&again), ["1", "3"]);
    assert_eq!(again.after(0).unwrap().1, message("1", QoS::AtLeastOnce));
    writing(&slot, || assert_eq!(offer(&again, "4", QoS::ExactlyOnce), Some(true)));
    assert_eq!(payloads(&again), ["1", "3", "4"], "numbers go on");
    let another = Outbox::open("hous", Bridge::default(), Arc::clone(&slot)).unwrap();
    assert_eq!(payloads(&another), [""; 0], "each broker has its own");
}

#[test]
fn the_oldest_goes_when_there_is_no_room_on_disk_too() {
    let disk = MemoryDisk::default();
    let slot = journal(&disk);
    writing(&slot, || {
        let outbox = outbox(&slot, 3);
        for payload in ["1", "2", "3", "4", "5"] {
            assert_eq!(offer(&outbox, payload, QoS::AtLeastOnce), Some(true));
        }
        assert_eq!(payloads(&outbox), ["3", "4", "5"]);
        outbox.done(1, crate::now());
        assert_eq!(payloads(&outbox), ["3", "4", "5"], "an acknowledgement of one that went changes nothing");
        let large = "x".repeat(MOST_BYTES - 30);
        assert_eq!(offer(&outbox, &large, QoS::AtMostOnce), None, "the broker is not there");
        outbox.set_connected(true);
        assert_eq!(offer(&outbox, &large, QoS::AtMostOnce), Some(true));
        assert_eq!(payloads(&outbox).len(), 1);
    });
    drop(slot);
    disk.power_cut(|| false);
    assert_eq!(payloads(&outbox(&journal(&disk), 3)), [""; 0], "QoS 0 is not kept");
}

#[test]
fn what_the_journal_did_not_take_is_not_promised() {
    let disk = MemoryDisk::default();
    let slot = journal(&disk);
    let outbox = outbox(&slot, 10);
    // The first sync is that of the segment which is begun.
    disk.fail_sync_after(1);
    let kept = outbox.offer(message("1", QoS::AtLeastOnce), crate::now()).unwrap();
    assert!(slot.run(&AtomicBool::new(false)).is_err());
    assert!(!futures::executor::block_on(kept));
}
