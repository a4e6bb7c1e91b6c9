//! A real Home Assistant with a node as its broker. It takes minutes to install, so this runs where `VOLTREE_HASS_PYTHON` names a
//! Python that has it (`pip install homeassistant==2025.1.4 paho-mqtt==1.6.1`, Python 3.13), and nowhere else.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::json;

use crate::support::node::{Node, Site};
use crate::support::password_hash;

/// It waits for quiet before it says that it is there.
const BOUND: Duration = Duration::from_secs(120);

struct HomeAssistant(Child);

impl HomeAssistant {
    fn start(python: &Path, dir: &Path, node: &Node) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/externals/run_home_assistant.py");
        let port = node.mqtt.port().to_string();
        let mut command = Command::new(python);
        command.arg(script).arg(dir).args([&port, "house", "its own"]);
        Self(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for HomeAssistant {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// A house with a thermometer and a lamp.
struct House {
    client: AsyncClient,
    events: EventLoop,
}

impl House {
    async fn connect(node: &Node) -> Self {
        let mut options = MqttOptions::new("house", node.mqtt.ip().to_string(), node.mqtt.port());
        options.set_credentials("house", "its own");
        let (client, events) = AsyncClient::new(options, 100);
        client.subscribe("#", QoS::AtLeastOnce).await.unwrap();
        Self { client, events }
    }

    async fn say(&self, topic: &str, retain: bool, payload: &str) {
        self.client.publish(topic, QoS::AtLeastOnce, retain, payload).await.unwrap();
    }

    async fn hear(&mut self, topic: &str, payload: &str) {
        let hearing = async {
            loop {
                if let Event::Incoming(Packet::Publish(publish)) = self.events.poll().await.unwrap()
                    && (&*publish.topic, &*publish.payload) == (topic, payload.as_bytes())
                {
                    return;
                }
            }
        };
        tokio::time::timeout(BOUND, hearing).await.unwrap_or_else(|_| panic!("no {payload} on {topic}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn home_assistant_sees_and_switches_what_announces_itself_on_a_node() {
    let Some(python) = std::env::var_os("VOLTREE_HASS_PYTHON") else {
        println!("skipped: VOLTREE_HASS_PYTHON names no Python with Home Assistant");
        return;
    };
    let hash = password_hash("its own");
    let site = Site::new().mqtt_sections(&format!(
        "discovery_prefix = \"homeassistant\"\n[[mqtt.user]]\nname = \"house\"\npassword_hash = {hash:?}\n\
         publish = [\"homeassistant/#\", \"hass/#\", \"house/#\", \"lamp/#\"]\nsubscribe = [\"#\"]\n"
    ));
    let node = site.start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut house = House::connect(&node).await;
    let _home_assistant = HomeAssistant::start(Path::new(&python), dir.path(), &node);
    house.hear("homeassistant/status", "online").await;
    let thermometer = json!({
        "name": "Temp", "unique_id": "house_t", "state_topic": "house/temp", "unit_of_measurement": "°C",
        "device_class": "temperature", "device": { "identifiers": ["house"], "name": "House" },
    });
    house.say("homeassistant/sensor/house/temp/config", true, &thermometer.to_string()).await;
    let lamp = json!({
        "name": "Lamp", "unique_id": "lamp", "command_topic": "lamp/set", "state_topic": "lamp/state",
    });
    house.say("homeassistant/light/lamp/config", true, &lamp.to_string()).await;
    // From here on it listens to them.
    house.hear("hass/sensor/house_temp/state", "unknown").await;
    house.hear("hass/light/lamp/state", "unknown").await;
    house.say("lamp/state", true, "OFF").await;
    house.hear("hass/light/lamp/state", "off").await;
    house.say("house/temp", true, "21.5").await;
    house.hear("hass/sensor/house_temp/state", "21.5").await;
    house.say("house/temp", true, "22.5").await;
    house.hear("lamp/set", "ON").await;
    house.say("lamp/state", true, "ON").await;
    house.hear("hass/light/lamp/state", "on").await;
    // What Home Assistant was told is a device of ours, too.
    let devices = node.query("{ devices { id name } }", json!({})).await;
    assert!(devices.to_string().contains("House"), "{devices}");
}
