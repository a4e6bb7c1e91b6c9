//! What a configured battery is asked in: one line a vendor, so that whoever polls needs to know none of them.

use super::daly_uart::{DalyConfig, DalyPoll};
use super::jbd::{self, JbdConfig, JbdDialect, JbdPoll};
use super::jk::{self, JkPoll};
use crate::codec::PollCycle;

/// A protocol and how to speak it to one device.
#[derive(Debug, Clone, PartialEq)]
pub enum Driver {
    /// Daly's A5 protocol.
    Daly(DalyConfig),
    /// JBD's protocol.
    Jbd(JbdConfig),
    /// JK's wired protocol.
    Jk,
}

impl Driver {
    /// The contract's names of all device types.
    pub const KINDS: [&'static str; 3] = ["daly_bms", "jbd_bms", "jk_bms"];

    /// The contract's name of this device type.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Daly(_) => "daly_bms",
            Self::Jbd(_) => "jbd_bms",
            Self::Jk => "jk_bms",
        }
    }

    /// The speed that devices of this type come with.
    pub const fn default_baud(&self) -> u32 {
        match self {
            Self::Daly(_) => 9600,
            Self::Jbd(_) => jbd::BAUD,
            Self::Jk => jk::BAUD,
        }
    }

    /// Starts a conversation that knows nothing of its device yet.
    pub fn poll(&self) -> Box<dyn PollCycle + Send> {
        match self {
            Self::Daly(config) => Box::new(DalyPoll::new(*config)),
            Self::Jbd(config) => Box::new(JbdPoll::new(JbdDialect::new(*config))),
            Self::Jk => Box::new(JkPoll::new(jk::UartDialect::default())),
        }
    }
}
