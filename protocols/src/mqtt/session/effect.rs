//! What goes into a session and what comes out of it: limits, a client's request, the terms of its admission, effects.
//!
//! An effect is an order to the caller, never a question that blocks: whatever needs an answer names how to give it.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{LastWill, Packet, Publish, QoS};

use super::outgoing::OpenDelivery;
use super::pace::Rate;
use super::reason::CloseReason;
use super::subscribing::Subscription;
use crate::mqtt::codec::{LastWillProperties, PublishProperties};
use crate::mqtt::topic::Filter;

/// What one connection may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long a connection may stand open without its CONNECT.
    pub connect_timeout: Duration,
    /// Reading stops while this many publishes of QoS 1 and 2 wait for their commit.
    pub max_unacked: usize,
    /// Deliveries of QoS 1 and 2 under way to the client.
    pub max_in_flight: u16,
    /// Filters that one session may have.
    pub max_subscriptions: usize,
    /// How fast the client may publish; `None` without a limit.
    pub rate: Option<Rate>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            max_unacked: 1024,
            max_in_flight: 100,
            max_subscriptions: 1_000,
            rate: Some(Rate::default()),
        }
    }
}

/// What a CONNECT asked for, once it is known to be well-formed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectRequest {
    /// The client's id, or the spare one for a client that left it empty.
    pub client_id: String,
    /// Whether the client wants to begin from nothing.
    pub clean_session: bool,
    /// How long the session is to outlive the connection; `None` for as long as the broker can.
    pub session_expiry: Option<Duration>,
    /// How often the client will be heard; `None` when it promises nothing.
    pub keep_alive: Option<Duration>,
    /// User name and password; an empty one can't be told from one not given.
    pub credentials: Option<Credentials>,
    /// What to publish when the client goes without a word.
    pub will: Option<LastWill>,
}

/// When a will is due, and what is said of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WillTerms {
    /// How long after the client went.
    pub delay: Duration,
    /// What its subscribers are told.
    pub properties: Option<Box<PublishProperties>>,
}

impl WillTerms {
    /// A will never waits for longer than its session lasts.
    pub(super) fn new(said: LastWillProperties, session_expiry: Option<Duration>) -> Self {
        let delay = Duration::from_secs(u64::from(said.delay_interval.unwrap_or(0)));
        let properties = PublishProperties {
            payload_format_indicator: said.payload_format_indicator,
            message_expiry_interval: said.message_expiry_interval,
            response_topic: said.response_topic,
            correlation_data: said.correlation_data,
            user_properties: said.user_properties,
            content_type: said.content_type,
            ..PublishProperties::default()
        };
        let delay = session_expiry.map_or(delay, |expiry| delay.min(expiry));
        let says_anything = properties != PublishProperties::default();
        Self { delay, properties: says_anything.then(|| Box::new(properties)) }
    }
}

/// What a client says to prove who it is. Its debug form hides the password, so an effect may be logged whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password, as sent.
    pub password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).field("password", &"***").finish()
    }
}

/// The terms on which a client comes in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Admission {
    /// Whether the broker still knew this client's session.
    pub session_present: bool,
    /// The filters that its subscriptions must lie within; `None` allows everything.
    pub may_subscribe: Option<Vec<Filter>>,
    /// Deliveries that an earlier connection of this session left open, in their order.
    pub open: Vec<OpenDelivery>,
    /// Packet ids of QoS 2 that an earlier connection of this session was told PUBREC for, and did not release.
    pub unreleased: BTreeSet<u16>,
    /// The filters that the session has.
    pub subscribed: BTreeSet<Filter>,
}

/// What the caller is to do, in the order given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Judge the client, then answer with `accept` or `refuse`.
    Admit(ConnectRequest),
    /// Write the packet.
    Send(Packet),
    /// Write an acknowledgement with reason codes of 5.0.
    Answer {
        /// What is acknowledged.
        packet: Packet,
        /// One code, or one for each filter.
        reasons: Vec<u8>,
    },
    /// Write a publish with its properties.
    Repeat {
        /// A delivery that an earlier connection left open.
        publish: Publish,
        /// What its publisher said in properties of 5.0.
        properties: Box<PublishProperties>,
    },
    /// Take a publish in, and say `on_committed` with its ticket once it is stored, or rejected and counted.
    Ingest {
        /// Names this publish towards the session; counts up within the connection.
        ticket: u64,
        /// Where it was published: a valid topic, though perhaps none of ours.
        topic: String,
        /// What was published.
        payload: Bytes,
        /// Only QoS 1 and 2 are answered.
        qos: QoS,
        /// The client says that it may have sent this before.
        dup: bool,
        /// The client asks to keep it for later subscribers.
        retain: bool,
        /// The client's packet id; 0 with QoS 0.
        pkid: u16,
        /// What it said in properties of 5.0, for those who subscribe.
        properties: Option<Box<PublishProperties>>,
        /// It came too fast to be taken in; it has no acknowledgement that could be late instead.
        over_rate: bool,
    },
    /// Write a DISCONNECT with this reason code of 5.0.
    Disconnect(u8),
    /// These filters are now the client's, each on its terms; a known filter is replaced.
    Subscribed {
        /// What was granted.
        filters: Vec<Subscription>,
    },
    /// These filters no longer are.
    Unsubscribed {
        /// What was given up, whether the client had it or not.
        filters: Vec<Filter>,
    },
    /// A delivery that an earlier connection left open is dropped: the client takes no packet of its size any more.
    TooLarge {
        /// The packet id that it had.
        pkid: u16,
    },
    /// A delivery is finished, so there is room for another.
    Delivered {
        /// The packet id that the delivery had.
        pkid: u16,
    },
    /// Write what is left to write, then close the connection. Always the last effect of a session.
    Close(CloseReason),
}
