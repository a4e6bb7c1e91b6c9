//! Orders from the API to a board and back: done means seen to be done, and nothing is ever ordered twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use voltree_protocols::bms::daly_bluetooth::RegisterDialect;
use voltree_protocols::bms::daly_uart::CurrentSign;
use voltree_protocols::sim::{
    DalyRegistersSim, DalySim, DeviceSide, HasPack, JbdSim, PackConfig, Reply, SimPack,
};

use crate::live::{begin, hear};
use crate::support::node::{BOUND, Node, Site};
use crate::support::{daly, serve, until};

const SET_DISCHARGE: u8 = 0xD9;

async fn send(node: &Node, device: &str, input: &str) -> Result<Value, String> {
    let query = format!(
        "mutation {{ sendCommand(input: {{ deviceId: \"{device}\", {input} }}) {{ id status error executedAt }} }}"
    );
    let answer = node.ask(&query, json!({})).await?;
    match answer["errors"][0]["extensions"]["code"].as_str() {
        Some(code) => Err(code.to_owned()),
        None => Ok(answer["data"]["sendCommand"].clone()),
    }
}

/// Waits until the readings show the discharge switch like that.
async fn discharge_shows(node: &Node, device: &str, on: f64) {
    until(&format!("the readings of {device} show {on}"), BOUND, || async {
        let samples = node.samples(device, "discharge_enabled").await;
        match samples.last() {
            Some((_, last)) if (*last - on).abs() < 0.1 => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// A board that counts orders to its discharge switch, and can be made silent from the next one on.
struct Witnessed {
    board: DalySim,
    ordered: Arc<AtomicU64>,
    hush_after_order: Arc<AtomicBool>,
    silent: bool,
}

impl Witnessed {
    /// One that falls silent with the first order; with its count of orders and what lets it speak.
    fn hushed() -> (Self, Arc<AtomicU64>, Arc<AtomicBool>) {
        let (ordered, hush) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(true)));
        let hush_after_order = Arc::clone(&hush);
        let witnessed =
            Self { board: daly(1), ordered: Arc::clone(&ordered), hush_after_order, silent: false };
        (witnessed, ordered, hush)
    }
}

impl DeviceSide for Witnessed {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        let replies = self.board.handle_input(bytes, now);
        if bytes.get(2) == Some(&SET_DISCHARGE) {
            self.ordered.fetch_add(1, Ordering::AcqRel);
            self.silent |= self.hush_after_order.load(Ordering::Acquire);
        }
        self.silent &= self.hush_after_order.load(Ordering::Acquire);
        if self.silent { vec![Reply::default(); replies.len()] } else { replies }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_is_opened_read_back_and_seen_in_the_readings() {
    let pack = || SimPack::new(PackConfig::default());
    let d2 = DalyRegistersSim::new(pack(), RegisterDialect::D2, CurrentSign::Normal);
    let p81 = DalyRegistersSim::new(pack(), RegisterDialect::P81, CurrentSign::Normal);
    let (a5, d2, p81, jbd) = (serve(daly(1)), serve(d2), serve(p81), serve(JbdSim::new(pack()).asleep()));
    let write = "allow_write = true";
    let registers = "allow_write = true\nprotocol = \"registers\"";
    let site = Site::new()
        .battery("a5", "daly_bms", a5.path(), write)
        .battery("d2", "daly_bms", d2.path(), registers)
        .battery("p81", "daly_bms", p81.path(), registers)
        .battery("jbd", "jbd_bms", jbd.path(), write);
    let node = site.start().await;
    for device in ["a5", "d2", "p81", "jbd"] {
        node.device_is(device, "ONLINE").await;
        for (on, shown) in [(false, 0.0), (true, 1.0)] {
            let order = format!("action: \"set_discharge\", params: {{ on: {on} }}");
            let command = send(&node, device, &order).await.unwrap();
            assert_eq!(
                (&command["status"], &command["error"]),
                (&json!("EXECUTED"), &Value::Null),
                "{device}"
            );
            assert!(command["executedAt"].is_string());
            discharge_shows(&node, device, shown).await;
        }
    }
    for device in ["a5", "d2", "p81"] {
        let command = send(&node, device, "action: \"set_soc\", params: { percent: 42.5 }").await.unwrap();
        assert_eq!(command["status"], "EXECUTED", "{device}: {command}");
    }
    let unknown = send(&node, "jbd", "action: \"set_soc\", params: { percent: 42.5 }").await.unwrap();
    assert_eq!(unknown["status"], "FAILED", "{unknown}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_board_does_not_do_or_nobody_allowed_is_not_done() {
    let held = Arc::new(Mutex::new(daly(1)));
    let board = serve(Arc::clone(&held));
    let read_only = serve(daly(2));
    let site = Site::new().battery("held", "daly_bms", board.path(), "allow_write = true").battery(
        "read-only",
        "daly_bms",
        read_only.path(),
        "",
    );
    let node = site.start().await;
    node.device_is("held", "ONLINE").await;
    node.device_is("read-only", "ONLINE").await;
    let open = "action: \"set_discharge\", params: { on: false }";
    assert_eq!(send(&node, "read-only", open).await, Err("NOT_ALLOWED".to_owned()));
    assert_eq!(send(&node, "nobody", open).await, Err("NOT_FOUND".to_owned()));
    let late = format!("{open}, expiresAt: \"2020-01-01T00:00:00Z\"");
    assert_eq!(send(&node, "held", &late).await.unwrap()["status"], "EXPIRED");
    // A protection opens the switch: the board takes the order and stays as it is.
    held.lock().pack_mut().set_temperature(1, 75.0);
    discharge_shows(&node, "held", 0.0).await;
    let close = "action: \"set_discharge\", params: { on: true }";
    let command = send(&node, "held", close).await.unwrap();
    assert_eq!(command["status"], "FAILED", "{command}");
    assert!(command["error"].as_str().unwrap().contains("did not change"), "{command}");
    assert_eq!(node.stop().await, Some(0));
}

async fn orders_have_left(ordered: &AtomicU64, wanted: u64) {
    until("the order has left", BOUND, || async {
        let count = ordered.load(Ordering::Acquire);
        if count == wanted { Ok(()) } else { Err(count.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_answer_is_lost_is_unknown_and_never_repeated() {
    let (witnessed, ordered, hush) = Witnessed::hushed();
    let board = serve(witnessed);
    let site = Site::new().battery("pack", "daly_bms", board.path(), "allow_write = true");
    let node = site.start().await;
    node.device_is("pack", "ONLINE").await;
    let open = "action: \"set_discharge\", params: { on: false }, idempotencyKey: \"night\"";
    let lost = send(&node, "pack", open).await.unwrap();
    assert_eq!((&lost["status"], ordered.load(Ordering::Acquire)), (&json!("UNKNOWN"), 1), "{lost}");
    assert!(lost["error"].as_str().unwrap().contains("does not say what came of it"), "{lost}");
    // The same command again is answered from the books.
    let again = send(&node, "pack", open).await.unwrap();
    assert_eq!((&again, ordered.load(Ordering::Acquire)), (&lost, 1));

    hush.store(false, Ordering::Release);
    discharge_shows(&node, "pack", 0.0).await;
    hush.store(true, Ordering::Release);
    // The actor is killed while it waits for the answer.
    let close = "action: \"set_discharge\", params: { on: true }";
    let (killed, ()) = tokio::join!(send(&node, "pack", close), async {
        orders_have_left(&ordered, 2).await;
        node.kill_actor("node/devices/pack").await.unwrap();
    });
    let killed = killed.unwrap();
    assert_eq!(killed["status"], "UNKNOWN", "{killed}");
    hush.store(false, Ordering::Release);
    discharge_shows(&node, "pack", 1.0).await;
    assert_eq!(ordered.load(Ordering::Acquire), 2, "the next incarnation does not repeat it");

    // What is known of it is known after a restart, too.
    assert_eq!(node.stop().await, Some(0));
    let node = site.start().await;
    node.device_is("pack", "ONLINE").await;
    assert_eq!(send(&node, "pack", open).await.unwrap(), lost);
    let other = "action: \"set_discharge\", params: { on: true }, idempotencyKey: \"night\"";
    assert_eq!(send(&node, "pack", other).await, Err("BAD_USER_INPUT".to_owned()));
    assert_eq!(ordered.load(Ordering::Acquire), 2);
    assert_eq!(node.stop().await, Some(0));
}

/// The node is killed while the board has the order and its answer is on its way.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_was_under_way_when_the_node_was_killed_is_unknown_and_never_repeated() {
    let (witnessed, ordered, hush) = Witnessed::hushed();
    let board = serve(witnessed);
    let site = Site::new().battery("pack", "daly_bms", board.path(), "allow_write = true");
    let node = site.start().await;
    node.device_is("pack", "ONLINE").await;
    let open = "action: \"set_discharge\", params: { on: false }, idempotencyKey: \"night\"";
    let url = format!("{}/graphql", node.http);
    let order = format!("mutation {{ sendCommand(input: {{ deviceId: \"pack\", {open} }}) {{ id }} }}");
    let asking = tokio::spawn(reqwest::Client::new().post(url).json(&json!({ "query": order })).send());
    orders_have_left(&ordered, 1).await;
    node.kill();
    asking.await.unwrap().ok();
    hush.store(false, Ordering::Release);

    let node = site.start().await;
    node.device_is("pack", "ONLINE").await;
    let known = node.query("{ commands(deviceId: \"pack\") { id status error } }", json!({})).await;
    let known = &known["commands"][0];
    assert_eq!(known["status"], "UNKNOWN", "{known}");
    assert!(known["error"].as_str().unwrap().contains("does not say what came of it"), "{known}");
    let query = format!("subscription {{ commandStatusChanged(commandId: {}) {{ status }} }}", known["id"]);
    let mut watcher = begin(&node, &query).await;
    let heard = hear(&mut watcher).await;
    assert_eq!(heard["payload"]["data"]["commandStatusChanged"]["status"], "UNKNOWN", "{heard}");
    // The same command again is answered from the books.
    let again = send(&node, "pack", open).await.unwrap();
    assert_eq!((&again["status"], &again["id"]), (&known["status"], &known["id"]));
    discharge_shows(&node, "pack", 0.0).await;
    assert_eq!(ordered.load(Ordering::Acquire), 1);
    assert_eq!(node.stop().await, Some(0));
}
