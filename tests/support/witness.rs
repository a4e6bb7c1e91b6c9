//! A subscriber of any broker that counts how often it heard what, and comes back to its session after every loss.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rumqttc::{AsyncClient, Event, MqttOptions, Packet, Publish, QoS};

use super::node::BOUND;
use super::until;

/// The subscriber; it ends with the test.
pub(crate) struct Witness {
    heard: Arc<Mutex<Vec<Publish>>>,
    pub(crate) client: AsyncClient,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Witness {
    /// Subscribes at QoS 1, and returns when that is granted.
    pub(crate) async fn subscribe(address: SocketAddr, id: &str, filter: &str) -> Self {
        let mut options = MqttOptions::new(id, address.ip().to_string(), address.port());
        options.set_clean_session(false);
        let (client, mut events) = AsyncClient::new(options, 100);
        client.subscribe(filter, QoS::AtLeastOnce).await.unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let granted = Arc::new(tokio::sync::Notify::new());
        let (book, grant) = (Arc::clone(&heard), Arc::clone(&granted));
        let task = tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(Packet::Publish(publish))) => book.lock().push(publish),
                    Ok(Event::Incoming(Packet::SubAck(_))) => grant.notify_one(),
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        });
        tokio::time::timeout(BOUND, granted.notified()).await.expect("the subscription is granted");
        Self { heard, client, task }
    }

    /// What it heard, in order.
    pub(crate) fn heard(&self) -> Vec<Publish> {
        self.heard.lock().clone()
    }

    /// How often it heard each payload.
    pub(crate) fn payloads(&self) -> BTreeMap<String, u32> {
        let mut counted = BTreeMap::new();
        for publish in self.heard.lock().iter() {
            *counted.entry(String::from_utf8(publish.payload.to_vec()).unwrap()).or_default() += 1;
        }
        counted
    }

    /// Waits until it has heard this payload.
    pub(crate) async fn hears(&self, payload: &str) {
        until(&format!("{payload:?} is heard"), BOUND, || async {
            let payloads = self.payloads();
            if payloads.contains_key(payload) { Ok(()) } else { Err(format!("{} others", payloads.len())) }
        })
        .await;
    }
}
