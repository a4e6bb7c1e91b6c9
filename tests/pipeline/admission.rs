//! Who may become a device by publishing: the unknown wait, are listed, are adopted or sent away, and that outlives the node.

use serde_json::json;

use crate::support::mqtt::Publisher;
use crate::support::node::{BOUND, Node, Site};
use crate::support::until;

async fn turned_away(node: &Node, wanted: u64) {
    until(&format!("{wanted} messages of no device are turned away"), BOUND, || async {
        let own = node.ledger(None).await;
        if own.rejected == wanted { Ok(()) } else { Err(format!("{own:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_unknown_waits_until_an_operator_decides_and_the_decision_outlives_the_node() {
    let site = Site::new().quarantine().mqtt_sections("[devices]\nadopt = [\"pack-*\"]\ndeny = [\"bad*\"]\n");
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "shed").await.unwrap();
    publisher.tell(1, "shed").await;
    publisher.tell(2, "shed").await;
    publisher.tell(3, "bad-one").await;
    publisher.tell(4, "pack-1").await;
    assert_eq!(node.ledger_settled("pack-1", 1).await.stored, 1, "a rule adopts it");
    turned_away(&node, 3).await;
    let waiting = node.query("{ deviceCandidates { id messages ignored } devices { id } }", json!({})).await;
    assert_eq!(waiting["deviceCandidates"], json!([{ "id": "shed", "messages": 2, "ignored": false }]));
    assert_eq!(waiting["devices"], json!([{ "id": "pack-1" }]));
    let metrics = node.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("actors_readings_rejected_total{reason=\"not_adopted\"} 3"), "{metrics}");

    let (code, said) = node.device_command(&["list"]);
    assert!(
        code == Some(0) && said.contains("waiting") && said.contains("2 message(s) turned away"),
        "{said}"
    );
    let (code, said) = node.device_command(&["adopt", "shed"]);
    assert_eq!((code, said.as_str()), (Some(0), "shed (shed) is a device now\n"));
    publisher.tell(5, "shed").await;
    assert_eq!(node.ledger_settled("shed", 1).await.stored, 1);
    let (code, said) = node.device_command(&["ignore", "pack-1"]);
    assert_eq!(code, Some(0), "{said}");
    publisher.tell(6, "pack-1").await;
    turned_away(&node, 4).await;

    node.kill();
    let node = site.start().await;
    let mut publisher = Publisher::connect(node.mqtt, "shed").await.unwrap();
    publisher.tell(7, "shed").await;
    publisher.tell(8, "pack-1").await;
    turned_away(&node, 5).await;
    assert_eq!(node.ledger_settled("shed", 2).await.stored, 2);
    assert_eq!(
        node.ledger(Some("pack-1")).await.received,
        1,
        "what it sent before stays, and nothing comes to it"
    );
    let (_, said) = node.device_command(&["list"]);
    assert!(said.lines().any(|line| line.starts_with("pack-1") && line.contains("ignored")), "{said}");
    assert_eq!(node.stop().await, Some(0));
}
