//! Messages that another broker can't stand: it hangs up on them, and the rest must flow on all the same. The other broker
//! is a script on a real socket.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use voltree_protocols::mqtt::{Packet, PacketCodec};

use crate::support::mqtt::Publisher;
use crate::support::node::{BOUND, Node, Site};
use crate::support::until;

const WAITING: &str = "actors_mqtt_forward_waiting_messages";
const CONNECTED: &str = "actors_mqtt_outside_brokers_connected";

/// What the broker does with a message that it has seen so many times, this one included.
type Temper = fn(&str, u32) -> Mood;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mood {
    Acknowledges,
    HangsUp,
}

/// A broker that takes publishes and hangs up on some of them.
struct FarBroker {
    address: SocketAddr,
    seen: Arc<Mutex<BTreeMap<String, u32>>>,
    acknowledged: Arc<Mutex<Vec<String>>>,
    temper: Arc<Mutex<Temper>>,
}

impl FarBroker {
    async fn new(temper: Temper) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let far = Self {
            address,
            seen: Arc::default(),
            acknowledged: Arc::default(),
            temper: Arc::new(Mutex::new(temper)),
        };
        let (seen, acknowledged, temper) =
            (Arc::clone(&far.seen), Arc::clone(&far.acknowledged), Arc::clone(&far.temper));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, acknowledged, temper) =
                    (Arc::clone(&seen), Arc::clone(&acknowledged), Arc::clone(&temper));
                tokio::spawn(async move { serve(stream, &seen, &acknowledged, &temper).await });
            }
        });
        far
    }

    fn seen(&self, payload: &str) -> u32 {
        self.seen.lock().get(payload).copied().unwrap_or_default()
    }

    async fn has(&self, payloads: &[&str]) {
        until(&format!("{payloads:?} arrived"), BOUND, || async {
            let there = self.acknowledged.lock().clone();
            let all = payloads.iter().all(|payload| there.iter().any(|other| other == payload));
            if all { Ok(()) } else { Err(format!("{there:?}")) }
        })
        .await;
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: &Mutex<BTreeMap<String, u32>>,
    acknowledged: &Mutex<Vec<String>>,
    temper: &Mutex<Temper>,
) {
    let (mut codec, mut incoming) = (PacketCodec::default(), BytesMut::new());
    loop {
        while let Some(packet) = codec.decode(&mut incoming).unwrap() {
            let answer: Vec<u8> = match packet {
                Packet::Connect(_) => vec![0x20, 2, 1, 0],
                Packet::PingReq => vec![0xD0, 0],
                // It grants nothing that it does not know.
                Packet::Subscribe(asked) => {
                    let [high, low] = asked.pkid.to_be_bytes();
                    vec![0x90, 3, high, low, 0x80]
                }
                Packet::Publish(publish) => {
                    let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                    let times = {
                        let mut seen = seen.lock();
                        let times = seen.entry(payload.clone()).or_default();
                        *times += 1;
                        *times
                    };
                    let temper = *temper.lock();
                    if temper(&payload, times) == Mood::HangsUp {
                        return;
                    }
                    acknowledged.lock().push(payload);
                    let [high, low] = publish.pkid.to_be_bytes();
                    vec![0x40, 2, high, low]
                }
                _ => return,
            };
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
        if !matches!(stream.read_buf(&mut incoming).await, Ok(1..)) {
            return;
        }
    }
}

fn bridge(far: &FarBroker) -> Site {
    let keys = "protocol = \"3.1.1\"\ntopics = []\nforward = [\"devices/+/commands\"]\n";
    Site::new().bridge("far", far.address.port(), keys)
}

async fn publish(node: &Node, id: &str, payloads: &[&str]) {
    let mut publisher = Publisher::connect(node.mqtt, id).await.unwrap();
    for (number, payload) in payloads.iter().enumerate() {
        publisher.publish(number as u64, "devices/pack/commands", payload.as_bytes()).await.unwrap();
    }
    publisher.settle().await.unwrap();
}

async fn set_aside(node: &Node) -> Vec<Value> {
    let query = "{ setAsideMessages { id broker topic payload hangUps reason } }";
    node.query(query, json!({})).await["setAsideMessages"].as_array().unwrap().clone()
}

fn hates_poison(payload: &str, _times: u32) -> Mood {
    if payload.starts_with("poison") { Mood::HangsUp } else { Mood::Acknowledges }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_a_broker_hangs_up_on_goes_aside_and_the_rest_flows_on() {
    let far = FarBroker::new(hates_poison).await;
    let site = bridge(&far);
    let node = site.start().await;
    node.metric_is(CONNECTED, 1.0).await;
    publish(&node, "a", &["one", "two", "poison 1", "three", "poison 2", "four"]).await;
    far.has(&["one", "two", "three", "four"]).await;
    node.metric_is(WAITING, 0.0).await;
    node.metric_is("actors_mqtt_forward_dropped_total{reason=\"set_aside\"}", 2.0).await;
    let aside = set_aside(&node).await;
    let payloads: Vec<_> = aside.iter().map(|message| message["payload"].as_str().unwrap()).collect();
    assert_eq!(payloads, ["poison 2", "poison 1"], "the newest first");
    for message in &aside {
        let told = (&message["broker"], &message["topic"], &message["hangUps"]);
        assert_eq!(told, (&json!("far"), &json!("devices/pack/commands"), &json!(3)));
        assert!(message["reason"].as_str().unwrap().contains("the connection failed"), "{message}");
    }
    // Once among others at most, and three times alone.
    assert!((3..=4).contains(&far.seen("poison 1")), "{}", far.seen("poison 1"));
    let lines = node.log_lines();
    let told: Vec<_> = lines.iter().filter(|line| line["event"] == "mqtt.forward.set_aside").collect();
    assert!(told.len() == 2 && told[0]["topic"] == "devices/pack/commands", "{told:?}");

    node.kill();
    let node = site.start().await;
    assert_eq!(set_aside(&node).await, aside, "they are there after a kill -9, too");
    node.metric_is(CONNECTED, 1.0).await;
    publish(&node, "b", &["five"]).await;
    far.has(&["five"]).await;
    *far.temper.lock() = |_, _| Mood::Acknowledges;
    let again =
        format!("mutation {{ forwardAgain(id: {}, reason: \"mended\") {{ payload }} }}", aside[1]["id"]);
    assert_eq!(node.query(&again, json!({})).await["forwardAgain"]["payload"], "poison 1");
    far.has(&["poison 1"]).await;
    node.metric_is(WAITING, 0.0).await;
    assert_eq!(set_aside(&node).await, aside[..1]);
    let answer = node.ask(&again, json!({})).await.unwrap();
    assert_eq!(answer["errors"][0]["extensions"]["code"], "NOT_FOUND");
    assert_eq!(node.stop().await, Some(0));
}

/// A broker that restarts now and then, or a line that breaks, is no reason to set anything aside.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_hangs_up_twice_on_everything_gets_everything() {
    let far = FarBroker::new(|_, times| if times < 3 { Mood::HangsUp } else { Mood::Acknowledges }).await;
    let site = bridge(&far);
    let node = site.start().await;
    node.metric_is(CONNECTED, 1.0).await;
    let all = ["one", "two", "three"];
    publish(&node, "a", &all).await;
    far.has(&all).await;
    node.metric_is(WAITING, 0.0).await;
    assert_eq!(set_aside(&node).await, [] as [Value; 0]);
    assert_eq!(node.metric("actors_mqtt_forward_dropped_total{reason=\"set_aside\"}").await, 0.0);
    assert_eq!(node.stop().await, Some(0));
}
