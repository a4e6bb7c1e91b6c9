//! What a configured battery is asked in: one line a vendor, so that whoever polls needs to know none of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use voltree_model::Timestamp;

use super::daly_air::DalyAirPoll;
use super::daly_bluetooth::{
    RegisterConfig, RegisterOrder, RegisterOrderDialect, RegisterPoll, RegisterPollDialect,
};
use super::daly_can::DalyCanPoll;
use super::daly_uart::{CurrentSign, DalyConfig, DalyOrder, DalyOrderDialect, DalyPoll};
use super::foxbms::{
    DbcTable, EditedListener, EditedListening, FoxbmsConfig, FoxbmsListener, FoxbmsListening,
};
use super::green_bms::{self, GreenDialect, GreenPoll};
use super::jbd::{self, JbdConfig, JbdDialect, JbdOrder, JbdOrderDialect, JbdPoll, Switch};
use super::jk::{self, Jk02Poll, JkPoll};
use super::libre_solar::{
    self, ThingsetCanConfig, ThingsetDialect, ThingsetListener, ThingsetListening, ThingsetPoll,
};
use super::modbus::{MapConfig, MapDialect, MapPoll};
use super::order::{Order, OrderCycle};
use super::sunspec::{SunspecConfig, SunspecDialect, SunspecPoll};
use super::telecom::{Maker, TelecomConfig, TelecomDialect, TelecomPoll};
use crate::codec::PollCycle;

/// What carries the bytes of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// A stream of bytes, as a serial line has it.
    Bytes,
    /// Such a stream, of Modbus RTU frames only.
    Modbus,
    /// Frames of a CAN bus, as SLCAN text.
    Can,
}

/// A protocol and how to speak it to one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Driver {
    /// Daly's A5 protocol.
    Daly(DalyConfig),
    /// What Daly's Bluetooth modules speak, found out.
    DalyAir(CurrentSign),
    /// Daly's A5 protocol in CAN frames.
    DalyCan(DalyConfig),
    /// Daly's registers.
    DalyRegisters(RegisterConfig),
    /// What foxBMS 2 broadcasts on CAN.
    Foxbms(FoxbmsConfig),
    /// The lines of a Green BMS.
    Green,
    /// JBD's protocol.
    Jbd(JbdConfig),
    /// JK's wired protocol.
    Jk,
    /// JK's Bluetooth protocol.
    JkAir,
    /// ThingSet text of a Libre Solar board.
    LibreSolar,
    /// ThingSet text of a Libre Solar board over Bluetooth LE.
    LibreSolarAir,
    /// ThingSet reports of a Libre Solar board on CAN.
    LibreSolarCan(ThingsetCanConfig),
    /// Modbus registers by a table.
    Modbus(MapConfig),
    /// SunSpec models over Modbus.
    Sunspec(SunspecConfig),
    /// The ASCII protocol of Seplos and Pylontech.
    Telecom(TelecomConfig),
}

impl Driver {
    /// The contract's names of all device types.
    pub const KINDS: [&'static str; 10] = [
        "daly_bms",
        "foxbms",
        "green_bms",
        "jbd_bms",
        "jk_bms",
        "libre_solar",
        "modbus_bms",
        "pylontech_bms",
        "seplos_bms",
        "sunspec_bms",
    ];

    /// The contract's name of this device type.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Daly(_) | Self::DalyAir(_) | Self::DalyCan(_) | Self::DalyRegisters(_) => "daly_bms",
            Self::Foxbms(_) => "foxbms",
            Self::Green => "green_bms",
            Self::Jbd(_) => "jbd_bms",
            Self::Jk | Self::JkAir => "jk_bms",
            Self::LibreSolar | Self::LibreSolarAir | Self::LibreSolarCan(_) => "libre_solar",
            Self::Modbus(_) => "modbus_bms",
            Self::Sunspec(_) => "sunspec_bms",
            Self::Telecom(TelecomConfig { maker: Maker::Pylontech, .. }) => "pylontech_bms",
            Self::Telecom(TelecomConfig { maker: Maker::Seplos, .. }) => "seplos_bms",
        }
    }

    /// The speed that devices of this type come with.
    pub const fn default_baud(&self) -> u32 {
        match self {
            Self::Daly(_)
            | Self::DalyAir(_)
            | Self::DalyRegisters(_)
            | Self::Modbus(_)
            | Self::Sunspec(_) => 9600,
            // The speed of the adapter's own port; the bus has another.
            Self::DalyCan(_) | Self::Foxbms(_) | Self::LibreSolarCan(_) => 115_200,
            Self::LibreSolar | Self::LibreSolarAir => libre_solar::BAUD,
            Self::Green => green_bms::BAUD,
            Self::Jbd(_) => jbd::BAUD,
            Self::Jk | Self::JkAir => jk::BAUD,
            Self::Telecom(config) => config.maker.default_baud(),
        }
    }

    /// What a link must carry for it.
    pub const fn wire(&self) -> Wire {
        match self {
            Self::Daly(_)
            | Self::DalyAir(_)
            | Self::DalyRegisters(_)
            | Self::Green
            | Self::Jbd(_)
            | Self::Jk
            | Self::JkAir
            | Self::LibreSolar
            | Self::LibreSolarAir
            | Self::Telecom(_) => Wire::Bytes,
            Self::DalyCan(_) | Self::Foxbms(_) | Self::LibreSolarCan(_) => Wire::Can,
            Self::Modbus(_) | Self::Sunspec(_) => Wire::Modbus,
        }
    }

    /// What tells devices of one line apart; none for a protocol that has no addresses.
    pub fn line_address(&self) -> Option<u8> {
        match self {
            Self::Daly(config) | Self::DalyCan(config) => Some(config.board.number()),
            Self::LibreSolarCan(config) => config.node,
            Self::Modbus(config) => Some(config.unit),
            Self::Sunspec(config) => Some(config.unit),
            Self::Telecom(config) => Some(config.address),
            Self::DalyAir(_)
            | Self::DalyRegisters(_)
            | Self::Foxbms(_)
            | Self::Green
            | Self::Jbd(_)
            | Self::Jk
            | Self::JkAir
            | Self::LibreSolar
            | Self::LibreSolarAir => None,
        }
    }

    /// How long a device that was silent may take to say anything at all, on a line where others wait.
    pub const fn first_sign(&self) -> Duration {
        match self.wire() {
            Wire::Bytes | Wire::Modbus => Duration::from_millis(700),
            Wire::Can => Duration::from_millis(2600),
        }
    }

    /// The same maker's boards on a CAN bus, where it speaks otherwise there.
    #[must_use]
    pub fn on_bus(self) -> Self {
        match self {
            Self::Daly(config) => Self::DalyCan(config),
            Self::LibreSolar => Self::LibreSolarCan(ThingsetCanConfig::default()),
            other @ (Self::DalyAir(_)
            | Self::DalyCan(_)
            | Self::DalyRegisters(_)
            | Self::Foxbms(_)
            | Self::Green
            | Self::Jbd(_)
            | Self::Jk
            | Self::JkAir
            | Self::LibreSolarAir
            | Self::LibreSolarCan(_)
            | Self::Modbus(_)
            | Self::Sunspec(_)
            | Self::Telecom(_)) => other,
        }
    }

    /// The same maker's boards over Bluetooth LE; none where they have no radio that is known.
    pub fn on_air(self) -> Option<Self> {
        match self {
            Self::Daly(config) => Some(Self::DalyAir(config.current_sign)),
            Self::DalyRegisters(config) if config.dialect.is_none() => {
                Some(Self::DalyAir(config.current_sign))
            }
            Self::Jk => Some(Self::JkAir),
            Self::LibreSolar => Some(Self::LibreSolarAir),
            other @ (Self::DalyAir(_)
            | Self::DalyRegisters(_)
            | Self::Jbd(_)
            | Self::JkAir
            | Self::LibreSolarAir) => Some(other),
            Self::DalyCan(_)
            | Self::Foxbms(_)
            | Self::Green
            | Self::LibreSolarCan(_)
            | Self::Modbus(_)
            | Self::Sunspec(_)
            | Self::Telecom(_) => None,
        }
    }

    /// Addresses another device of a Modbus line; other protocols have no such number.
    pub const fn set_unit(&mut self, unit: u8) {
        match self {
            Self::Modbus(config) => config.unit = unit,
            Self::Sunspec(config) => config.unit = unit,
            Self::Daly(_)
            | Self::DalyAir(_)
            | Self::DalyCan(_)
            | Self::DalyRegisters(_)
            | Self::Foxbms(_)
            | Self::Green
            | Self::Jbd(_)
            | Self::Jk
            | Self::JkAir
            | Self::LibreSolar
            | Self::LibreSolarAir
            | Self::LibreSolarCan(_)
            | Self::Telecom(_) => {}
        }
    }

    /// What it sends that nobody else may read.
    pub fn secrets(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Jbd(JbdConfig { secret }) => secret.iter().map(|secret| secret.0.to_vec()).collect(),
            Self::Daly(_)
            | Self::DalyAir(_)
            | Self::DalyCan(_)
            | Self::DalyRegisters(_)
            | Self::Foxbms(_)
            | Self::Green
            | Self::Jk
            | Self::JkAir
            | Self::LibreSolar
            | Self::LibreSolarAir
            | Self::LibreSolarCan(_)
            | Self::Modbus(_)
            | Self::Sunspec(_)
            | Self::Telecom(_) => Vec::new(),
        }
    }

    /// Starts the conversation about an order, knowing what the polls so far have learned; none where the protocol has no
    /// such order, nobody knows it well enough, or the device's dialect is not known yet.
    pub fn order(&self, order: Order, learned: &Value, now: Timestamp) -> Option<Box<dyn OrderCycle + Send>> {
        match self {
            Self::Daly(config) => {
                Some(Box::new(DalyOrder::new(DalyOrderDialect::new(config.board, order, now))))
            }
            Self::DalyAir(sign) => {
                let mut poll = DalyAirPoll::new(*sign);
                poll.remember(learned).ok()?;
                poll.order(order, now)
            }
            Self::DalyRegisters(config) => {
                let mut poll = RegisterPoll::new(RegisterPollDialect::new(*config));
                poll.remember(learned).ok()?;
                let dialect = poll.dialect().found()?;
                Some(Box::new(RegisterOrder::new(RegisterOrderDialect::new(dialect, order))))
            }
            Self::Jbd(config) => {
                let (switch, closed) = match order {
                    Order::SwitchCharge(closed) => (Switch::Charge, closed),
                    Order::SwitchDischarge(closed) => (Switch::Discharge, closed),
                    Order::SetSoc(_) => return None,
                };
                Some(Box::new(JbdOrder::new(JbdOrderDialect::new(*config, switch, closed))))
            }
            Self::DalyCan(_)
            | Self::Foxbms(_)
            | Self::Green
            | Self::Jk
            | Self::JkAir
            | Self::LibreSolar
            | Self::LibreSolarAir
            | Self::LibreSolarCan(_)
            | Self::Modbus(_)
            | Self::Sunspec(_)
            | Self::Telecom(_) => None,
        }
    }

    /// Starts a conversation that knows nothing of its device yet.
    pub fn poll(&self) -> Box<dyn PollCycle + Send> {
        match self {
            Self::Daly(config) => Box::new(DalyPoll::new(*config)),
            Self::DalyAir(sign) => Box::new(DalyAirPoll::new(*sign)),
            Self::DalyCan(config) => Box::new(DalyCanPoll::new(*config)),
            Self::DalyRegisters(config) => Box::new(RegisterPoll::new(RegisterPollDialect::new(*config))),
            Self::Foxbms(FoxbmsConfig { dbc: Some(table), positive_is_discharge, .. }) => {
                let listener = EditedListener::new(DbcTable::clone(table), *positive_is_discharge);
                Box::new(EditedListening::new(listener))
            }
            Self::Foxbms(config) => Box::new(FoxbmsListening::new(FoxbmsListener::new(config.clone()))),
            Self::Green => Box::new(GreenPoll::new(GreenDialect::default())),
            Self::Jbd(config) => Box::new(JbdPoll::new(JbdDialect::new(*config))),
            Self::Jk => Box::new(JkPoll::new(jk::UartDialect::default())),
            Self::JkAir => Box::new(Jk02Poll::new(jk::Jk02Dialect::default())),
            Self::LibreSolar => Box::new(ThingsetPoll::new(ThingsetDialect::default())),
            Self::LibreSolarAir => Box::new(ThingsetPoll::new(ThingsetDialect::on_air())),
            Self::LibreSolarCan(config) => Box::new(ThingsetListening::new(ThingsetListener::new(*config))),
            Self::Modbus(config) => Box::new(MapPoll::new(MapDialect::new(config.clone()))),
            Self::Sunspec(config) => Box::new(SunspecPoll::new(SunspecDialect::new(*config))),
            Self::Telecom(config) => Box::new(TelecomPoll::new(TelecomDialect::new(*config))),
        }
    }
}
