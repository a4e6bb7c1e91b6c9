//! Orders to a simulated Daly board on a real pty: what counts is what the board's state shows afterwards.
#![cfg(all(feature = "serial", feature = "sim"))]

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::timeout;
use voltree_model::{Percent, Timestamp};
use voltree_protocols::bms::Driver;
use voltree_protocols::bms::daly_uart::{Board, CurrentSign, DalyConfig};
use voltree_protocols::bms::order::{Order, OrderError};
use voltree_protocols::link::{AnyLink, LinkAddress, OrderFailure, run_order};
use voltree_protocols::sim::{
    DalySim, DeviceSide, Flaky, LinePace, PackConfig, Profile, PtySim, SimHandle, SimPack,
};

type Shared = Arc<Mutex<DalySim>>;

fn board() -> Shared {
    let pack = SimPack::new(PackConfig { profile: Profile::Rest, ..PackConfig::default() });
    Arc::new(Mutex::new(DalySim::new(pack, Board::FIRST, CurrentSign::Normal)))
}

fn serve(device: impl DeviceSide + 'static) -> SimHandle {
    PtySim::spawn(device, LinePace::default()).expect("a pty")
}

async fn give(sim: &SimHandle, order: Order) -> Result<(), OrderFailure> {
    let path = sim.path().to_str().expect("a path is text");
    let address = LinkAddress::parse(path, 9600).expect("it is a port");
    let mut link = AnyLink::open(&address).await.expect("the port is there");
    let driver = Driver::Daly(DalyConfig::default());
    let mut cycle = driver
        .order(order, &serde_json::Value::Null, Timestamp::from_millis(1_774_000_000_000))
        .expect("Daly takes orders");
    timeout(Duration::from_secs(30), run_order(&mut link, &mut *cycle)).await.expect("an order ends")
}

#[tokio::test]
async fn switches_and_the_state_of_charge_are_set_and_seen_to_be_set() {
    let board = board();
    let sim = serve(Arc::clone(&board));
    let closed = || board.lock().pack.switches_closed();
    give(&sim, Order::SwitchCharge(false)).await.expect("the board obeys");
    assert_eq!(closed(), (false, true));
    give(&sim, Order::SwitchDischarge(false)).await.expect("the board obeys");
    give(&sim, Order::SwitchCharge(true)).await.expect("the board obeys");
    assert_eq!(closed(), (true, false));
    give(&sim, Order::SetSoc(Percent(80.5))).await.expect("the board obeys");
    assert!((board.lock().pack.board_soc_percent() - 80.5).abs() < 0.2);
}

#[tokio::test]
async fn a_switch_that_a_protection_holds_open_is_told_as_not_taken() {
    let board = board();
    {
        let mut board = board.lock();
        board.pack.set_temperature(1, 70.0);
        board.pack.advance_to(Duration::from_secs(6));
        assert_eq!(board.pack.switches_closed(), (false, false), "the protection has tripped");
    }
    let sim = serve(Arc::clone(&board));
    let given = give(&sim, Order::SwitchCharge(true)).await;
    assert!(matches!(given, Err(OrderFailure::Device(OrderError::NotTaken(_)))), "{given:?}");
}

#[tokio::test]
async fn an_order_to_a_board_that_falls_silent_is_sent_once_and_its_outcome_unknown() {
    let board = board();
    let sim = serve(Flaky::new(Arc::clone(&board), "drop=1".parse().expect("a rate"), 1));
    let given = give(&sim, Order::SwitchCharge(false)).await;
    assert!(matches!(given, Err(OrderFailure::Device(OrderError::Unknown))), "{given:?}");
    assert_eq!(board.lock().pack.switches_closed(), (false, true), "it had heard it all the same");
    // The order and the questions for the state after it.
    assert_eq!(sim.stats().requests(), 5);
}

#[tokio::test]
async fn a_lost_echo_does_not_matter_if_the_state_can_be_read() {
    let board = board();
    let sim = serve(Flaky::new(Arc::clone(&board), "drop=0.4".parse().expect("a rate"), 3));
    for closed in [false, true, false, true] {
        give(&sim, Order::SwitchCharge(closed)).await.expect("one of four questions is answered");
        assert_eq!(board.lock().pack.switches_closed(), (closed, true));
    }
}
