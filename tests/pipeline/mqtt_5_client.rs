//! A client of MQTT 5.0, rumqttc's, as several tests use it.

use rumqttc::v5::mqttbytes::v5::{
    ConnAck, Filter, LastWillProperties, Packet, Publish, SubscribeProperties, SubscribeReasonCode,
};
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};

use crate::support::node::{BOUND, Node};

/// A client, and what the broker says to it.
pub(crate) struct Client {
    pub(crate) client: AsyncClient,
    pub(crate) events: EventLoop,
}

impl Client {
    /// Connects, and says how it was let in.
    pub(crate) async fn connect(
        node: &Node,
        id: &str,
        change: impl FnOnce(&mut MqttOptions),
    ) -> (Self, ConnAck) {
        let mut options = MqttOptions::new(id, node.mqtt.ip().to_string(), node.mqtt.port());
        change(&mut options);
        let (client, events) = AsyncClient::new(options, 100);
        let mut this = Self { client, events };
        let answer =
            this.hear(|packet| if let Packet::ConnAck(answer) = packet { Some(answer) } else { None }).await;
        (this, answer)
    }

    /// Waits for the first packet that `wanted` takes.
    pub(crate) async fn hear<T>(&mut self, mut wanted: impl FnMut(Packet) -> Option<T>) -> T {
        let hearing = async {
            loop {
                if let Event::Incoming(packet) = self.events.poll().await.unwrap()
                    && let Some(found) = wanted(packet)
                {
                    return found;
                }
            }
        };
        tokio::time::timeout(BOUND, hearing).await.expect("nothing came")
    }

    pub(crate) async fn hear_publish(&mut self) -> Publish {
        self.hear(|packet| if let Packet::Publish(publish) = packet { Some(publish) } else { None }).await
    }

    /// Subscribes, and answers the reason codes.
    pub(crate) async fn subscribe(&mut self, filter: Filter, id: Option<usize>) -> Vec<SubscribeReasonCode> {
        let properties = SubscribeProperties { id, user_properties: Vec::new() };
        self.client.subscribe_many_with_properties([filter], properties).await.unwrap();
        self.hear(|packet| if let Packet::SubAck(answer) = packet { Some(answer.return_codes) } else { None })
            .await
    }
}

/// What is said with a will that waits for so long.
pub(crate) fn will_properties(delay_s: u32) -> LastWillProperties {
    LastWillProperties {
        delay_interval: Some(delay_s),
        payload_format_indicator: None,
        message_expiry_interval: None,
        content_type: Some("text/plain".to_owned()),
        response_topic: None,
        correlation_data: None,
        user_properties: vec![("why".to_owned(), "lost".to_owned())],
    }
}
