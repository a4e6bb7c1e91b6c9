//! Why a session ended, and why a client was not let in: closed sets, because they label metrics and logs.

use std::fmt;

use rumqttc::ConnectReturnCode;

use crate::mqtt::codec::DecodeError;
use crate::mqtt::topic::TopicError;

/// Why a client is not let in, as far as CONNACK can say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The client id can't be used.
    ClientIdRejected,
    /// The node can't take clients now.
    Unavailable,
    /// User name or password is wrong.
    BadCredentials,
    /// Known, and not allowed to connect.
    NotAuthorized,
}

impl Refusal {
    /// The return code that CONNACK carries.
    pub fn code(self) -> ConnectReturnCode {
        match self {
            Self::ClientIdRejected => ConnectReturnCode::BadClientId,
            Self::Unavailable => ConnectReturnCode::ServiceUnavailable,
            Self::BadCredentials => ConnectReturnCode::BadUserNamePassword,
            Self::NotAuthorized => ConnectReturnCode::NotAuthorized,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::ClientIdRejected => "client_id_rejected",
            Self::Unavailable => "unavailable",
            Self::BadCredentials => "bad_credentials",
            Self::NotAuthorized => "not_authorized",
        }
    }
}

/// Reason codes of MQTT 5.0, as far as this server uses them.
pub mod code {
    /// It is done.
    pub const SUCCESS: u8 = 0x00;
    /// Taken in, and nobody subscribes to it.
    pub const NO_MATCHING_SUBSCRIBERS: u8 = 0x10;
    /// There was nothing to give up.
    pub const NO_SUBSCRIPTION_EXISTED: u8 = 0x11;
    /// No, and there is no code for why; all smaller ones are a yes.
    pub const UNSPECIFIED_ERROR: u8 = 0x80;
    /// No, for a reason of this server's own.
    pub const IMPLEMENTATION_SPECIFIC_ERROR: u8 = 0x83;
    /// The client may not.
    pub const NOT_AUTHORIZED: u8 = 0x87;
    /// No filter that can be.
    pub const TOPIC_FILTER_INVALID: u8 = 0x8F;
    /// A topic that means nothing here.
    pub const TOPIC_NAME_INVALID: u8 = 0x90;
    /// A limit is reached.
    pub const QUOTA_EXCEEDED: u8 = 0x97;
    /// The payload is not what its topic calls for.
    pub const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said goodbye.
    Disconnected,
    /// It said goodbye, and that its will is to be published all the same.
    DisconnectedWithWill,
    /// No CONNECT came in time.
    ConnectTimeout,
    /// The client was silent for one and a half times its keep-alive.
    KeepAliveTimeout,
    /// Something other than CONNECT came first.
    FirstPacketNotConnect,
    /// CONNECT came twice.
    SecondConnect,
    /// The client speaks another MQTT version.
    UnsupportedProtocol {
        /// The protocol level that it asked for.
        level: u8,
    },
    /// The client was not let in.
    Refused(Refusal),
    /// Bytes that are no packet.
    BadPacket(DecodeError),
    /// A publish or a last will to a topic that can't be published to.
    BadTopic(TopicError),
    /// A packet that only a server sends, or a PUBREL for a publish that was not answered.
    UnexpectedPacket,
    /// The socket failed or ended.
    ConnectionLost,
    /// Another connection came with the same client id.
    TakenOver,
    /// The client used a topic alias beyond those offered to it.
    TopicAlias,
    /// The client's backlog stood too long.
    Backlog,
    /// The node stops.
    ShuttingDown,
}

impl CloseReason {
    /// The reason code that DISCONNECT carries in 5.0; `None` where there is nobody to tell.
    pub(super) fn disconnect_code(&self) -> Option<u8> {
        match self {
            Self::Disconnected
            | Self::DisconnectedWithWill
            | Self::ConnectionLost
            | Self::ConnectTimeout
            | Self::FirstPacketNotConnect
            | Self::UnsupportedProtocol { .. }
            | Self::Refused(_) => None,
            Self::BadPacket(DecodeError::TooLarge { .. }) => Some(0x95),
            Self::BadPacket(_) => Some(0x81),
            Self::SecondConnect | Self::UnexpectedPacket => Some(0x82),
            Self::ShuttingDown => Some(0x8B),
            Self::KeepAliveTimeout => Some(0x8D),
            Self::TakenOver => Some(0x8E),
            Self::BadTopic(_) => Some(0x90),
            Self::TopicAlias => Some(0x94),
            Self::Backlog => Some(0x97),
        }
    }

    /// The stable label.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Disconnected => "disconnected",
            Self::DisconnectedWithWill => "disconnected_with_will",
            Self::ConnectTimeout => "connect_timeout",
            Self::KeepAliveTimeout => "keep_alive_timeout",
            Self::FirstPacketNotConnect => "first_packet_not_connect",
            Self::SecondConnect => "second_connect",
            Self::UnsupportedProtocol { .. } => "unsupported_protocol",
            Self::Refused(refusal) => refusal.as_str(),
            Self::BadPacket(_) => "bad_packet",
            Self::BadTopic(_) => "bad_topic",
            Self::UnexpectedPacket => "unexpected_packet",
            Self::ConnectionLost => "connection_lost",
            Self::TakenOver => "taken_over",
            Self::TopicAlias => "topic_alias",
            Self::Backlog => "backlog",
            Self::ShuttingDown => "shutting_down",
        }
    }
}

/// The label, and the detail where there is one.
impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        match self {
            Self::UnsupportedProtocol { level } => write!(f, ": level {level}"),
            Self::BadPacket(error) => write!(f, ": {error}"),
            Self::BadTopic(error) => write!(f, ": {error}"),
            Self::Disconnected
            | Self::DisconnectedWithWill
            | Self::ConnectTimeout
            | Self::KeepAliveTimeout
            | Self::FirstPacketNotConnect
            | Self::SecondConnect
            | Self::Refused(_)
            | Self::UnexpectedPacket
            | Self::ConnectionLost
            | Self::TakenOver
            | Self::TopicAlias
            | Self::Backlog
            | Self::ShuttingDown => Ok(()),
        }
    }
}
