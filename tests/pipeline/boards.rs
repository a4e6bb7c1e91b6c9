//! Every type of battery on a serial line, from the configuration to the stored reading.

use serde_json::json;
use voltree_protocols::sim::{JbdSim, JkSim, PackConfig, SimPack};

use crate::support::node::{BOUND, Node, Site};
use crate::support::{serve, until};

fn pack(amps: f64) -> SimPack {
    let mut pack = SimPack::new(PackConfig { max_amps: 0.0, ..PackConfig::default() });
    pack.set_current(amps);
    pack
}

async fn current(node: &Node, device: &str, kind: &str, amps: f64) {
    until(&format!("{device} says {amps} A"), BOUND, || async {
        let query = "query($d: ID!) { device(id: $d) { type state latest { name value } } }";
        let answer = node.ask(query, json!({ "d": device })).await?;
        let view = &answer["data"]["device"];
        let metrics = view["latest"].as_array().cloned().unwrap_or_default();
        let read = metrics.iter().find(|m| m["name"] == "pack_current").and_then(|m| m["value"].as_f64());
        if view["type"] == kind && view["state"] == "ONLINE" && read == Some(amps) {
            Ok(())
        } else {
            Err(answer.to_string())
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batteries_of_every_type_are_read_by_one_node() {
    let jbd = serve(JbdSim::new(pack(12.5)).asleep());
    let jk = serve(JkSim::new(pack(-30.0)));
    let site = Site::new().battery("jbd", "jbd_bms", jbd.path(), "").battery("jk", "jk_bms", jk.path(), "");
    let node = site.start().await;
    current(&node, "jbd", "jbd_bms", 12.5).await;
    current(&node, "jk", "jk_bms", -30.0).await;
    assert_eq!(node.stop().await, Some(0));
}
