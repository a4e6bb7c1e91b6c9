//! Mosquitto as the outside broker: what it took from publishers arrives here, across a kill -9 of the node.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::mqtt::{Publisher, telemetry, topic};
use crate::support::node::{BOUND, Node, Site};
use crate::support::{external, now_ms, until};

/// A Mosquitto of its own; it ends with the test.
pub(crate) struct Mosquitto {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Mosquitto {
    pub(crate) async fn start(program: &Path, dir: &Path) -> Self {
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Self::start_at(program, dir, address).await
    }

    /// Starts it where it was before, with the sessions that it saved when it stopped.
    pub(crate) async fn start_at(program: &Path, dir: &Path, address: SocketAddr) -> Self {
        let config = dir.join("mosquitto.conf");
        let port = address.port();
        // As root it would become somebody who may not write there.
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nuser root\n\
             persistence true\npersistence_location {}/\n",
            dir.display()
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new(program)
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until("Mosquitto listens", BOUND, || async {
            tokio::net::TcpStream::connect(address).await.map(drop).map_err(|error| error.to_string())
        })
        .await;
        Self { process, address }
    }

    /// Stops it in order: it saves what it keeps only then. Killed, it would lose what it had acknowledged.
    pub(crate) fn stop(mut self) -> SocketAddr {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap();
        self.address
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

async fn heard(node: &Node, at_least: u64) {
    until("enough was heard", BOUND, || async {
        let answer = node.ask("{ device(id: \"far\") { readings } }", json!({})).await?;
        let readings = answer["data"]["device"]["readings"].as_u64().unwrap_or_default();
        if readings >= at_least { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_mosquitto_acknowledged_is_stored_once_across_a_kill_of_the_node() {
    let Some(program) = external("mosquitto") else { return };
    let site = Site::new();
    let mosquitto = Mosquitto::start(&program, site.dir.path()).await;
    let site = site.broker("house", mosquitto.address.port());
    let node = site.start().await;
    // Mosquitto keeps messages for this node once it has subscribed.
    until("the node hears Mosquitto", BOUND, || async {
        let metrics = node.get("/metrics").await.text().await.unwrap();
        if metrics.contains("actors_mqtt_outside_brokers_connected 1") { Ok(()) } else { Err(metrics) }
    })
    .await;

    let base = now_ms() - 100_000;
    let publishing = async {
        let mut publisher = Publisher::connect(mosquitto.address, "far").await.unwrap();
        for number in 0..3_000_u64 {
            let payload = telemetry("far", base + number as i64, &[("n", number as f64)]);
            publisher.publish(number, &topic("far"), &payload).await.unwrap();
            if number % 100 == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        publisher.settle().await.unwrap();
        publisher.acked.len() as u64
    };
    let crashing = async {
        heard(&node, 300).await;
        node.kill();
        site.start().await
    };
    let (acked, node) = tokio::join!(publishing, crashing);
    assert_eq!(acked, 3_000, "Mosquitto acknowledged everything");
    heard(&node, acked).await;
    let ledger = node.ledger_at_rest(Some("far")).await;
    assert_eq!((ledger.stored, ledger.rejected), (acked, 0), "{ledger:?}");
    let samples = node.samples("far", "n").await;
    let expected: Vec<_> = (0..acked).map(|number| (base + number as i64, number as f64)).collect();
    assert_eq!(samples, expected);
    println!("{} of {} came a second time and were recognised", ledger.duplicate, ledger.received);
    assert_eq!(node.stop().await, Some(0));
}
