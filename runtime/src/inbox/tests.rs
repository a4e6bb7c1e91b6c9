use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;

fn telemetry<T>(capacity: usize) -> Inbox<T> {
    Inbox::new(Lane::telemetry(capacity), 0)
}

fn numbers<T: Clone>(inbox: &Inbox<T>) -> Vec<u64> {
    inbox.front(usize::MAX).iter().map(|item| item.number).collect()
}

/// A handler that panics over the item, as an actor's does.
fn panic_over<T>(inbox: &Inbox<T>, number: u64) {
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _handling = inbox.handle(number);
        panic!("can't stand it");
    }));
    assert!(caught.is_err());
}

#[test]
fn items_stay_with_their_numbers_until_they_are_settled() {
    let inbox = Inbox::new(Lane::telemetry(3), 10);
    let mut receipt = inbox.try_accept("a").unwrap();
    assert!(inbox.try_accept("b").is_ok());
    let first: Vec<_> = inbox.front(9).into_iter().map(|item| (item.number, item.content)).collect();
    assert_eq!(first, [(11, "a"), (12, "b")]);
    assert_eq!(inbox.front(9).len(), 2, "taking copies removes nothing");
    assert!(receipt.try_recv().is_err());
    inbox.settle(11);
    assert_eq!(receipt.try_recv(), Ok(Outcome::Done));
    assert_eq!(numbers(&inbox), [12]);
}

#[tokio::test(start_paused = true)]
async fn a_full_inbox_makes_telemetry_wait() {
    let inbox = Arc::new(telemetry(1));
    inbox.accept(1).await.unwrap();
    let waiting = tokio::time::timeout(Duration::from_secs(5), inbox.accept(2));
    assert!(waiting.await.is_err(), "there was no space");
    assert_eq!(inbox.age(), Some(Duration::from_secs(5)));
    inbox.settle(1);
    inbox.accept(3).await.unwrap();
    assert_eq!((inbox.depth(), inbox.age()), (1, Some(Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn a_full_inbox_answers_commands_busy() {
    let inbox = Inbox::new(Lane::commands(1), 0);
    inbox.accept("open").await.unwrap();
    assert_eq!(inbox.accept("close").await.unwrap_err(), Refused::Busy("close"));
    inbox.settle(1);
    assert!(inbox.accept("close").await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_closed_door_refuses_even_those_who_wait_and_keeps_what_was_accepted() {
    let open = Arc::new(AtomicBool::new(true));
    let door = Arc::clone(&open);
    let inbox = telemetry(1).with_door(move || door.load(Ordering::Relaxed));
    let mut receipt = inbox.accept(1).await.unwrap();
    let waiting = inbox.accept(2);
    tokio::pin!(waiting);
    assert!(tokio::time::timeout(Duration::from_millis(10), waiting.as_mut()).await.is_err());
    open.store(false, Ordering::Relaxed);
    assert_eq!(waiting.await.unwrap_err(), Refused::Closed(2));
    assert_eq!(inbox.accept(3).await.unwrap_err(), Refused::Closed(3));
    assert_eq!(numbers(&inbox), [1]);
    open.store(true, Ordering::Relaxed);
    inbox.settle(1);
    assert_eq!(receipt.try_recv(), Ok(Outcome::Done));
    assert!(inbox.accept(4).await.is_ok());
}

#[test]
fn several_come_in_together_or_not_at_all_and_the_receipt_tells_of_the_last() {
    let inbox = telemetry(3);
    let mut receipt = inbox.try_accept_all(vec!["a", "b"]).unwrap();
    assert_eq!(inbox.try_accept_all(vec!["c", "d"]).unwrap_err(), Refused::Busy(vec!["c", "d"]));
    assert!(inbox.try_accept("c").is_ok(), "those that came back took no space");
    inbox.settle(1);
    assert!(receipt.try_recv().is_err());
    inbox.settle(2);
    assert_eq!(receipt.try_recv(), Ok(Outcome::Done));
    assert!(inbox.try_accept_all(vec!["d", "e"]).is_ok());
    assert_eq!(numbers(&inbox), [3, 4, 5]);
    let closed = telemetry(3).with_door(|| false);
    assert_eq!(closed.try_accept_all(vec!["a"]).unwrap_err(), Refused::Closed(vec!["a"]));
}

#[test]
fn three_panics_or_errors_make_an_item_dead_and_kills_never_do() {
    crate::log_panics();
    let inbox = telemetry(2);
    let mut receipt = inbox.try_accept("poison").unwrap();
    let mut healthy = inbox.try_accept("reading").unwrap();
    for _ in 0..10 {
        // A kill drops the handler at an await: it says nothing of the item.
        drop(inbox.handle(1));
    }
    assert_eq!(inbox.front(1)[0].failures, 0);
    panic_over(&inbox, 1);
    inbox.handle(1).failed("no such series");
    assert!(!inbox.front(1)[0].is_dead());
    panic_over(&inbox, 1);
    let item = &inbox.front(1)[0];
    assert!(item.is_dead());
    let cause = item.cause.as_deref().unwrap();
    assert!(cause.starts_with("panicked: can't stand it (at runtime/src/inbox/tests.rs:"), "{cause}");
    inbox.handle(2).done();
    inbox.settle(2);
    assert_eq!((receipt.try_recv(), healthy.try_recv()), (Ok(Outcome::DeadLettered), Ok(Outcome::Done)));
}

#[test]
fn an_order_is_never_run_again_and_its_sender_hears_that_the_outcome_is_unknown() {
    let ends: [fn(&Inbox<&str>); 3] = [
        |inbox| drop(inbox.handle(1)),
        |inbox| panic_over(inbox, 1),
        |inbox| inbox.handle(1).failed("the relay did not answer"),
    ];
    for how in ends {
        let inbox = Inbox::new(Lane::commands(2), 0);
        let mut receipt = inbox.try_accept("open").unwrap();
        let mut behind = inbox.try_accept("close").unwrap();
        how(&inbox);
        assert_eq!(receipt.try_recv(), Ok(Outcome::Unknown));
        assert_eq!(numbers(&inbox), [2]);
        inbox.handle(2).done();
        inbox.settle(2);
        assert_eq!(behind.try_recv(), Ok(Outcome::Done));
        assert!(inbox.try_accept("1").is_ok() && inbox.try_accept("2").is_ok(), "the space came back");
    }
}

proptest! {
    #[test]
    fn numbers_rise_without_gaps_and_nothing_is_lost(settles in prop::collection::vec(0_usize..5, 1..60)) {
        let inbox = telemetry(16);
        let (mut accepted, mut settled) = (0_u64, 0_u64);
        for settle in settles {
            while inbox.try_accept(accepted + 1).is_ok() {
                accepted += 1;
            }
            for item in inbox.front(settle) {
                prop_assert_eq!(item.number, item.content);
                prop_assert_eq!(item.number, settled + 1);
                settled = item.number;
                inbox.settle(item.number);
            }
            prop_assert_eq!(inbox.depth() as u64, accepted - settled);
        }
    }
}
