//! What a client is sent: answers, and messages as far as its window and the outgoing buffer have room.

use std::time::Duration;

use bytes::BytesMut;
use rumqttc::Packet;
use tokio::io::AsyncWriteExt;
use voltree_protocols::mqtt::{EncodeError, NotDelivered, Offer, PublishProperties, TOPIC_ALIAS_MAXIMUM};

use super::Connection;
use crate::metrics;
use crate::mqtt::broker::{Delivery, only_marks};

/// How long a client may take to read what it is sent.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// How much is written at once before the client is heard again.
const WRITE_BUFFER: usize = 256 * 1024;
/// How many publishes a client of 5.0 is told that it may have unanswered; reading stops there for everyone.
const RECEIVE_MAXIMUM: u16 = 1024;

impl Connection {
    /// Hands over what waits, as far as the client's window and the outgoing buffer have room.
    pub(in crate::mqtt::client) fn deliver_waiting(&mut self) {
        while self.outgoing.len() < WRITE_BUFFER {
            let Some(delivery) = self.waiting.front() else { return };
            let Delivery { topic, payload, qos, retain, ids, said, record } = delivery;
            let recorded = record.is_some();
            let now = crate::now();
            if said.as_ref().is_some_and(|said| said.has_expired(now)) {
                tracing::debug!(%topic, "a message expired before its subscriber could take it");
                self.pass_over(recorded);
                continue;
            }
            let properties = said.as_ref().map_or_else(|| only_marks(ids), |said| said.at(now, ids));
            match self.session.deliver(topic, payload.clone(), *qos, *retain, properties.as_ref()) {
                Ok(packet) => self.send_said(packet, properties),
                Err(NotDelivered::WindowFull) => return,
                Err(
                    error @ (NotDelivered::NotConnected | NotDelivered::TooLarge | NotDelivered::BadTopic(_)),
                ) => {
                    metrics::mqtt_undelivered();
                    tracing::debug!(%topic, %error, "not delivered");
                    self.pass_over(recorded);
                    continue;
                }
            }
            self.waiting.pop_front();
        }
        self.more_to_write = true;
    }

    /// Drops the first message that waits.
    fn pass_over(&mut self, recorded: bool) {
        self.waiting.pop_front();
        if recorded {
            self.finished();
        }
    }

    /// The client has finished with a message, or can't be sent it: what its session kept of it goes.
    pub(super) fn finished(&mut self) {
        if let Some(member) = self.member.as_mut().filter(|member| member.recorded > 0) {
            member.recorded -= 1;
            member.broker.finished(&member.client_id, member.session);
        }
    }

    pub(super) fn send_said(&mut self, packet: Packet, properties: Option<PublishProperties>) {
        if let Packet::Publish(publish) = packet {
            report(self.codec.encode_publish(publish, properties, &mut self.outgoing));
        } else {
            self.send(packet);
        }
    }

    pub(super) fn send(&mut self, packet: Packet) {
        report(if let Packet::ConnAck(ack) = packet {
            let offer = Offer {
                assigned_client_id: self.session.assigned_client_id().map(str::to_owned),
                receive_maximum: RECEIVE_MAXIMUM,
                topic_alias_maximum: TOPIC_ALIAS_MAXIMUM,
            };
            self.codec.encode_connack(ack, offer, &mut self.outgoing)
        } else {
            self.codec.encode(packet, &mut self.outgoing)
        });
    }

    pub(in crate::mqtt::client) async fn write(&mut self) -> bool {
        if self.outgoing.is_empty() {
            return true;
        }
        let writing = async {
            self.stream.write_all_buf(&mut self.outgoing).await?;
            // TLS may still hold a part of it back.
            self.stream.flush().await
        };
        let written = tokio::time::timeout(WRITE_PATIENCE, writing).await;
        self.outgoing = BytesMut::new();
        matches!(written, Ok(Ok(())))
    }
}

pub(super) fn report(written: Result<(), EncodeError>) {
    if let Err(error) = written {
        tracing::warn!(%error, "a packet of ours could not be written");
    }
}
