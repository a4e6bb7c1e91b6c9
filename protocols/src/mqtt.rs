//! What MQTT bytes mean: packets, topics, payloads, and the state of one client's connection.
//!
//! Everything here is a value that is handed bytes and the time and says what should happen. It never opens a
//! socket, reads a clock, or decides who may do what: a listener drives it and brings identity and permission along.
//! Spoken are MQTT 3.1.1 and 5.0.

mod codec;
mod payload;
mod session;
mod subscriptions;
mod topic;

pub use rumqttc::{Connect, ConnectReturnCode, LastWill, Packet, PubRel, Publish, QoS};

pub use codec::{
    ConnectProperties, DecodeError, EncodeError, Extras, Farewell, LastWillProperties, MAX_PACKET_BYTES,
    MAX_PAYLOAD_BYTES, Offer, PacketCodec, PublishProperties, Received, SubscribeExtras, SubscribeOptions,
};
pub use payload::{
    DeviceStatus, LastTemplate, MAX_CLOCK_LEAD, MAX_METRICS, PayloadRejection, ReportedState, Templates,
    parse_status, parse_telemetry, telemetry_json,
};
pub use session::{
    Admission, CloseReason, ConnectRequest, Credentials, Effect, Limits, NODE_TOPIC, NotDelivered,
    OpenDelivery, Rate, Refusal, Session, Subscription, TOPIC_ALIAS_MAXIMUM, WillTerms, reason_code,
};
pub use subscriptions::{Granted, Recipient, Recipients, RetainHandling, Subscriber, Subscriptions};
pub use topic::{DeviceTopic, Filter, TopicError, publish_topic_valid};
