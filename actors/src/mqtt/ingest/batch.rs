//! Publishes that a client sent in one go: telemetry of one device is admitted once, comes to its door together and wakes
//! its actor once. Whatever else is among them goes its own way, in its place in the order.

use std::sync::Arc;

use rumqttc::QoS;
use voltree_model::Timestamp;
use voltree_protocols::mqtt::DeviceTopic;
use voltree_runtime::Refused;

use super::{Broker, Commit, Incoming, Kept, Routing, all_of, bring, ingest, judge};
use crate::intake::Inbound;
use crate::registry::DeviceEntry;

/// What came for one device and is not at its door yet.
struct Batch {
    /// Its topic.
    topic: String,
    entry: Arc<DeviceEntry>,
    inbound: Vec<Inbound>,
    tickets: Vec<(u64, u8)>,
    /// What is still to be committed of them for others.
    kept: Vec<Kept>,
}

/// Takes publishes in, each with its ticket, in their order. Waits while an inbox is full, like [`ingest`].
pub(in crate::mqtt) async fn ingest_all(
    broker: &Arc<Broker>,
    offered: Vec<(u64, Incoming)>,
    now: Timestamp,
) -> Vec<Commit> {
    let mut commits = Vec::new();
    let mut gathered: Option<Batch> = None;
    for (ticket, incoming) in offered {
        if let Some(batch) = gathered.take_if(|batch| !batch.is_more(&incoming)) {
            batch.bring(broker, now, &mut commits).await;
        }
        if gathered.is_none() {
            gathered = Batch::beginning(broker, &incoming);
        }
        match &mut gathered {
            Some(batch) => batch.add(broker, ticket, incoming, now),
            None => {
                let qos = incoming.qos;
                // Boxed, because every client's turn keeps room for what it may wait for.
                let committed = Box::pin(ingest(broker, incoming, now)).await;
                if qos != QoS::AtMostOnce {
                    commits.push(Commit::One { ticket, committed });
                }
            }
        }
    }
    if let Some(batch) = gathered {
        batch.bring(broker, now, &mut commits).await;
    }
    commits
}

/// Whether a publish is nothing but what it says: what is retained has a commit of its own, and properties may say that it
/// came round.
fn is_plain(incoming: &Incoming) -> bool {
    let Incoming { qos, retain, said, refused, .. } = incoming;
    refused.is_none() && !retain && said.is_none() && *qos != QoS::AtMostOnce
}

impl Batch {
    /// A batch that may begin with this publish, if it is telemetry of a device that is heard.
    fn beginning(broker: &Broker, incoming: &Incoming) -> Option<Self> {
        let Ok(DeviceTopic::Telemetry(device)) = DeviceTopic::parse(&incoming.topic) else { return None };
        let entry = broker.registry.admitted(&device).filter(|_| is_plain(incoming))?;
        let topic = incoming.topic.clone();
        Some(Self { topic, entry, inbound: Vec::new(), tickets: Vec::new(), kept: Vec::new() })
    }

    fn is_more(&self, incoming: &Incoming) -> bool {
        self.topic == incoming.topic && is_plain(incoming)
    }

    fn add(&mut self, broker: &Arc<Broker>, ticket: u64, incoming: Incoming, now: Timestamp) {
        let Incoming { topic, payload, qos, relay, publisher, .. } = incoming;
        if relay {
            let routing = Routing { publisher: publisher.as_deref(), ..Routing::default() };
            self.kept.extend(broker.route(&topic, &payload, qos, routing).kept);
        }
        let entry = &self.entry;
        let parsed = broker.templates.read(&entry.template, &entry.id, &payload, now, || entry.own_time(now));
        entry.publishes.record(now, &payload, &parsed);
        let (reason, inbound) = judge(broker, entry, parsed, now);
        self.inbound.push(inbound);
        self.tickets.push((ticket, reason));
    }

    async fn bring(self, broker: &Arc<Broker>, now: Timestamp, commits: &mut Vec<Commit>) {
        let Self { entry, inbound, tickets, kept, .. } = self;
        match entry.intake.try_accept_all(inbound) {
            Ok(receipt) => {
                entry.arrived(now);
                commits.push(Commit::Batch { receipt, kept, tickets });
            }
            Err(Refused::Busy(inbound) | Refused::Closed(inbound)) => {
                // Answers leave in the order of their publishes: the first one waits for what is kept of all.
                let mut kept = kept.into_iter();
                for ((ticket, reason), inbound) in tickets.into_iter().zip(inbound) {
                    let bringing = bring(broker, &entry, inbound, reason, QoS::AtLeastOnce, now);
                    let committed = all_of(Box::pin(bringing).await, kept.by_ref().collect());
                    commits.push(Commit::One { ticket, committed });
                }
            }
        }
    }
}
