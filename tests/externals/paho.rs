//! Paho's Python client, of both levels, against a node with users.

use serde_json::json;

use crate::dalybms::{python_with, run_script};
use crate::support::node::Site;
use crate::support::password_hash;

async fn speaks(level: &str, device: &str, wrong_password: &str) {
    let Some(python) = python_with("paho.mqtt.client", "paho-mqtt") else { return };
    let hash = password_hash("paho's own");
    let site = Site::new().mqtt_sections(&format!(
        "[[mqtt.user]]\nname = \"paho\"\npassword_hash = {hash:?}\npublish = [\"devices/#\"]\nsubscribe = [\"devices/#\"]\n"
    ));
    let node = site.start().await;
    let (host, port) = (node.mqtt.ip().to_string(), node.mqtt.port().to_string());
    let args = [host, port, "paho".to_owned(), "paho's own".to_owned(), level.to_owned()];
    let saw = tokio::task::spawn_blocking(move || {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        run_script(&python, "speak_with_paho.py", &args)
    });
    let saw = saw.await.unwrap();
    let message = |subject: &str, payload: &str, retain: bool| json!({ "topic": format!("devices/{device}/{subject}"), "payload": payload, "qos": 1, "retain": retain });
    let expected = json!({
        "wrong password": wrong_password,
        "granted": [2],
        "heard": [[0, 0], [1, 1], [2, 2]],
        "retained": message("config", "{}", true),
        "will": message("status", "offline", false),
        "session at first": false,
        "session later": true,
        "waited": message("commands", "go", false),
    });
    assert_eq!(saw, expected);
    let ledger = node.ledger_settled(device, 3).await;
    assert_eq!((ledger.received, ledger.rejected), (3, 0), "each level of QoS once: {ledger:?}");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_speaks_3_1_1_with_a_node() {
    speaks("3.1.1", "paho-3", "Bad user name or password").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paho_speaks_5_0_with_a_node() {
    speaks("5.0", "paho-5", "Bad user name or password").await;
}
