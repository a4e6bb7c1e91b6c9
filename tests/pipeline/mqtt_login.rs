//! Who may come in to the MQTT listener and what they may do there: rumqttc's clients against a node with users.

use std::process::Command;

use rumqttc::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Packet, QoS,
    SubscribeReasonCode,
};
use serde_json::json;

use crate::support::mqtt::telemetry;
use crate::support::node::{BOUND, Node, Site, VOLTREE};
use crate::support::{now_ms, password_hash};

pub(crate) fn site_with_users() -> Site {
    let (pack, hub) = (password_hash("pack's"), password_hash("hub's"));
    Site::new().mqtt_sections(&format!(
        "[[mqtt.user]]\nname = \"pack\"\npassword_hash = {pack:?}\ndevice = \"pack-1\"\n\
         [[mqtt.user]]\nname = \"hub\"\npassword_hash = {hub:?}\npublish = [\"devices/+/telemetry\"]\n\
         subscribe = [\"devices/#\"]\n"
    ))
}

fn options(node: &Node, id: &str, login: Option<(&str, &str)>) -> MqttOptions {
    let mut options = MqttOptions::new(id, node.mqtt.ip().to_string(), node.mqtt.port());
    if let Some((name, password)) = login {
        options.set_credentials(name, password);
    }
    options
}

/// Waits for the first packet that `wanted` takes.
async fn hear<T>(events: &mut EventLoop, mut wanted: impl FnMut(Packet) -> Option<T>) -> T {
    let hearing = async {
        loop {
            if let Event::Incoming(packet) = events.poll().await.unwrap()
                && let Some(found) = wanted(packet)
            {
                return found;
            }
        }
    };
    tokio::time::timeout(BOUND, hearing).await.expect("nothing came")
}

/// What CONNACK says to one that is not let in.
async fn refusal(options: MqttOptions) -> ConnectReturnCode {
    let (_client, mut events) = AsyncClient::new(options, 10);
    match events.poll().await {
        Err(ConnectionError::ConnectionRefused(code)) => code,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

async fn publish(client: &AsyncClient, events: &mut EventLoop, topic: &str, payload: Vec<u8>) {
    client.publish(topic, QoS::AtLeastOnce, false, payload).await.unwrap();
    hear(events, |packet| matches!(packet, Packet::PubAck(_)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_proves_its_name_is_let_in_and_a_will_counts_as_a_publish() {
    let site = site_with_users();
    let node = site.start().await;
    assert_eq!(refusal(options(&node, "a", None)).await, ConnectReturnCode::NotAuthorized);
    for wrong in [("pack", "hub's"), ("nobody", "pack's"), ("pack", "")] {
        let code = refusal(options(&node, "a", Some(wrong))).await;
        assert_eq!(code, ConnectReturnCode::BadUserNamePassword, "{wrong:?}");
    }
    let mut with_will = options(&node, "a", Some(("pack", "pack's")));
    with_will.set_last_will(LastWill::new("devices/other/status", "offline", QoS::AtLeastOnce, false));
    assert_eq!(refusal(with_will).await, ConnectReturnCode::NotAuthorized);
    let metrics = node.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("actors_mqtt_clients_refused_total 5"), "{metrics}");
    let log = std::fs::read_to_string(&node.log).unwrap();
    assert!(!log.contains("pack's") && !log.contains("hub's"), "a password in the log");
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_speaks_for_itself_alone_and_what_it_may_not_say_is_counted() {
    let site = site_with_users();
    let node = site.start().await;
    let (client, mut events) = AsyncClient::new(options(&node, "same-id", Some(("pack", "pack's"))), 10);
    let at = now_ms();
    for device in ["pack-1", "pack-2"] {
        let topic = format!("devices/{device}/telemetry");
        publish(&client, &mut events, &topic, telemetry(device, at, &[("soc", 50.0)])).await;
    }
    publish(&client, &mut events, "devices/pack-1/commands", b"{}".to_vec()).await;
    let own = node.ledger_settled("pack-1", 1).await;
    assert_eq!((own.stored, own.rejected), (1, 0));
    let strangers = node.ledger_settled(None, 2).await;
    assert_eq!((strangers.received, strangers.rejected), (2, 2), "what it may not say belongs to no device");
    let devices = node.query("{ devices { id } }", json!({})).await;
    assert_eq!(devices["devices"], json!([{ "id": "pack-1" }]), "no device is made of a forbidden topic");

    for (filter, allowed) in [("devices/pack-1/config", true), ("devices/+/config", false), ("#", false)] {
        client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        let codes =
            hear(
                &mut events,
                |packet| if let Packet::SubAck(ack) = packet { Some(ack.return_codes) } else { None },
            );
        let granted = matches!(codes.await.as_slice(), [SubscribeReasonCode::Success(_)]);
        assert_eq!(granted, allowed, "{filter}");
    }

    // Another user's client of the same id is another session, and throws nobody out.
    let (hub, mut hub_events) = AsyncClient::new(options(&node, "same-id", Some(("hub", "hub's"))), 10);
    publish(&hub, &mut hub_events, "devices/pack-3/telemetry", telemetry("pack-3", at, &[("soc", 1.0)]))
        .await;
    publish(&client, &mut events, "devices/pack-1/telemetry", telemetry("pack-1", at + 1, &[("soc", 2.0)]))
        .await;
    assert_eq!(node.ledger_settled("pack-1", 2).await.stored, 2);
    assert_eq!(node.ledger_settled("pack-3", 1).await.stored, 1);
    assert_eq!(node.ledger_settled(None, 2).await.rejected, 2);
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_that_publish_log_in_with_a_password_from_a_file() {
    let site = site_with_users();
    let node = site.start().await;
    let file = site.dir.path().join("password");
    std::fs::write(&file, "hub's\n").unwrap();
    let (to, file) = (node.mqtt.to_string(), file.to_str().unwrap().to_owned());
    let simulate = |more: &'static [&'static str]| {
        let (to, file) = (to.clone(), file.clone());
        tokio::task::spawn_blocking(move || {
            let args = ["simulate", "mqtt", "--devices", "1", "--rate", "20", "--seconds", "1", "--to", &to];
            let login = ["--password-file", &file].into_iter().filter(|_| !more.is_empty());
            Command::new(VOLTREE).args(args).args(more).args(login).output().unwrap()
        })
    };
    let stranger = simulate(&[]).await.unwrap();
    let said = String::from_utf8(stranger.stderr).unwrap();
    assert!(!stranger.status.success() && said.contains("NotAuthorized"), "{said}");
    let user = simulate(&["--user", "hub"]).await.unwrap();
    assert!(user.status.success(), "{}", String::from_utf8(user.stderr).unwrap());
    assert_eq!(node.ledger_settled("load-00000", 20).await.stored, 20);
    assert_eq!(node.stop().await, Some(0));
}
