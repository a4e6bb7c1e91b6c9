//! Where a device is reached, as an operator writes it: a path of a serial port, or a URL that names the wire.
//!
//! `/dev/ttyUSB0`, `serial:///dev/ttyUSB0?baud=9600`, `tcp://gateway:4196`, `modbus-tcp://host:502?unit=1`. Reading an
//! address opens nothing. What it can't understand is refused by name, never guessed.

use std::fmt;
use std::path::{Path, PathBuf};

use super::gatt::{BleAddress, Gatt};
use crate::bms::{Driver, Wire};
use crate::can::slcan::speed;

/// A device's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkAddress {
    /// A serial port of this machine.
    Serial {
        /// Its path.
        path: PathBuf,
        /// Bits per second.
        baud: u32,
    },
    /// A serial line behind a gateway that passes on its bytes.
    Tcp {
        /// Name or address, and port.
        host: Host,
    },
    /// A Modbus device, or a gateway to several.
    ModbusTcp {
        /// Name or address, and port.
        host: Host,
        /// Which of them; the driver's own number counts where this is none.
        unit: Option<u8>,
    },
    /// A CAN adapter on a serial port of this machine that speaks SLCAN.
    Slcan {
        /// The port's path.
        path: PathBuf,
        /// The port's own speed, which USB adapters ignore.
        baud: u32,
        /// The bus' speed in bits per second.
        bitrate: u32,
    },
    /// A CAN bus of another machine, through its socketcand.
    Socketcand {
        /// Name or address, and port.
        host: Host,
        /// The bus' name there.
        bus: String,
    },
    /// A CAN interface of this machine.
    Can {
        /// Its name.
        interface: String,
    },
    /// A battery on the air.
    Ble {
        /// Its address.
        address: BleAddress,
        /// Which of this machine's adapters; BlueZ's first where this is none.
        adapter: Option<String>,
        /// Where its bytes may go in and out.
        places: &'static [Gatt],
    },
}

/// A name or address on the network, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// The name or address, an IPv6 address without brackets.
    pub name: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, port } = self;
        if name.contains(':') { write!(f, "[{name}]:{port}") } else { write!(f, "{name}:{port}") }
    }
}

/// Speeds that serial ports come in.
pub const BAUDS: [u32; 5] = [9600, 19_200, 38_400, 57_600, 115_200];

/// An address that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAddress {
    /// There is no link of this name.
    #[error("{scheme:?} is no kind of link; there are {}", SCHEMES.join(", "))]
    Scheme {
        /// What stands before `://`.
        scheme: String,
    },
    /// A part is missing or none.
    #[error("{text:?} lacks {wants}, as in {example}")]
    Lacks {
        /// The address.
        text: String,
        /// What it lacks.
        wants: &'static str,
        /// How it would be right.
        example: &'static str,
    },
    /// A value is not of its kind.
    #[error("{key} = {value:?} must be {wants}")]
    Value {
        /// Its name.
        key: &'static str,
        /// What was said.
        value: String,
        /// What it must be.
        wants: &'static str,
    },
    /// A parameter that this kind of link does not have.
    #[error("{scheme} links have no {key:?}")]
    Key {
        /// The kind.
        scheme: String,
        /// The parameter.
        key: String,
    },
}

const SCHEMES: &[&str] = &["serial", "tcp", "modbus-tcp", "slcan", "socketcand", "can", "ble"];

impl LinkAddress {
    /// Reads an address; what is no URL is the path of a serial port. `usual_baud` is the speed where none is said.
    pub fn parse(text: &str, usual_baud: u32) -> Result<Self, BadAddress> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Serial { path: text.into(), baud: usual_baud });
        };
        let mut parts = Parts::new(scheme, text, rest);
        let address = match scheme {
            "serial" => Self::Serial {
                path: parts.path("serial:///dev/ttyUSB0?baud=9600")?,
                baud: parts.baud()?.unwrap_or(usual_baud),
            },
            "tcp" => Self::Tcp { host: parts.host(None, "tcp://192.168.1.20:4196")? },
            "modbus-tcp" => Self::ModbusTcp {
                host: parts.host(Some(502), "modbus-tcp://192.168.1.20:502")?,
                unit: parts.number("unit", 1..=247, "a number from 1 to 247")?,
            },
            "slcan" => {
                const EXAMPLE: &str = "slcan:///dev/ttyACM0?bitrate=250000";
                let path = parts.path(EXAMPLE)?;
                let bitrate = parts.bitrate()?.ok_or_else(|| parts.lacks("a bitrate", EXAMPLE))?;
                Self::Slcan { path, baud: parts.baud()?.unwrap_or(115_200), bitrate }
            }
            "socketcand" => {
                const EXAMPLE: &str = "socketcand://192.168.1.20:29536/can0";
                let (place, bus) = parts.place.split_once('/').unwrap_or((parts.place, ""));
                parts.place = place;
                let bus = parts.name(bus, EXAMPLE)?;
                Self::Socketcand { host: parts.host(Some(29_536), EXAMPLE)?, bus }
            }
            "can" => Self::Can { interface: parts.name(parts.place, "can://can0")? },
            "ble" => {
                const EXAMPLE: &str = "ble://AA:BB:CC:DD:EE:FF";
                let address = parts.place.parse().map_err(|_| parts.lacks("a device address", EXAMPLE))?;
                let adapter = parts
                    .take("adapter")
                    .map(|name| parts.name(name, "ble://AA:BB:CC:DD:EE:FF?adapter=hci0"));
                Self::Ble { address, adapter: adapter.transpose()?, places: Gatt::ALL }
            }
            other => return Err(BadAddress::Scheme { scheme: other.to_owned() }),
        };
        parts.finish()?;
        Ok(address)
    }

    /// Whether a serial line's speed was said in the address itself.
    pub fn says_baud(text: &str) -> bool {
        text.split_once('?').is_some_and(|(_, query)| query.split('&').any(|pair| pair.starts_with("baud=")))
    }

    /// Whether a protocol of this kind can be spoken here.
    pub const fn carries(&self, wire: Wire) -> bool {
        match (self, wire) {
            (Self::Serial { .. } | Self::Tcp { .. }, Wire::Bytes | Wire::Modbus)
            | (Self::Ble { .. }, Wire::Bytes)
            | (Self::ModbusTcp { .. }, Wire::Modbus)
            | (Self::Slcan { .. } | Self::Socketcand { .. } | Self::Can { .. }, Wire::Can) => true,
            (Self::Serial { .. } | Self::Tcp { .. }, Wire::Can)
            | (Self::ModbusTcp { .. }, Wire::Bytes | Wire::Can)
            | (Self::Ble { .. }, Wire::Modbus | Wire::Can)
            | (Self::Slcan { .. } | Self::Socketcand { .. } | Self::Can { .. }, Wire::Bytes | Wire::Modbus) => {
                false
            }
        }
    }

    /// Narrows where bytes go in and out on the air to what boards of this type have: a service may be there and be another
    /// maker's.
    pub const fn suit(&mut self, driver: &Driver) {
        if let Self::Ble { places, .. } = self {
            *places = match driver {
                Driver::DalyAir(_) | Driver::DalyRegisters(_) => &[Gatt::DALY, Gatt::JBD],
                Driver::Jbd(_) => &[Gatt::JBD],
                Driver::JkAir => &[Gatt::JK],
                Driver::LibreSolarAir => &[Gatt::LIBRE_SOLAR],
                Driver::Daly(_)
                | Driver::DalyCan(_)
                | Driver::Foxbms(_)
                | Driver::Green
                | Driver::Jk
                | Driver::LibreSolar
                | Driver::LibreSolarCan(_)
                | Driver::Modbus(_)
                | Driver::Sunspec(_)
                | Driver::Telecom(_) => Gatt::ALL,
            };
        }
    }

    /// The port of this machine that it uses, if any.
    pub fn port(&self) -> Option<&Path> {
        match self {
            Self::Serial { path, .. } | Self::Slcan { path, .. } => Some(path),
            Self::Tcp { .. }
            | Self::ModbusTcp { .. }
            | Self::Socketcand { .. }
            | Self::Can { .. }
            | Self::Ble { .. } => None,
        }
    }

    /// Whether the other end is on the network, where a wire can be dead and look idle.
    pub const fn is_remote(&self) -> bool {
        match self {
            Self::Serial { .. } | Self::Slcan { .. } | Self::Can { .. } => false,
            Self::Tcp { .. } | Self::ModbusTcp { .. } | Self::Socketcand { .. } | Self::Ble { .. } => true,
        }
    }

    /// Whether both mean the same wire, on which only one may speak at a time, whatever else they say.
    pub fn same_wire(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Serial { path, .. }, Self::Serial { path: other, .. }) => path == other,
            (Self::Tcp { host }, Self::Tcp { host: other }) => host == other,
            (Self::Serial { path, .. } | Self::Slcan { path, .. }, Self::Slcan { path: other, .. })
            | (Self::Slcan { path, .. }, Self::Serial { path: other, .. }) => path == other,
            (Self::Ble { address, .. }, Self::Ble { address: other, .. }) => address == other,
            // Every client of a Modbus server, a socketcand or an interface has a connection of its own.
            (
                Self::Serial { .. }
                | Self::Tcp { .. }
                | Self::ModbusTcp { .. }
                | Self::Slcan { .. }
                | Self::Socketcand { .. }
                | Self::Can { .. }
                | Self::Ble { .. },
                _,
            ) => false,
        }
    }
}

impl fmt::Display for LinkAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial { path, .. } => write!(f, "{}", path.display()),
            Self::Tcp { host } => write!(f, "tcp://{host}"),
            Self::ModbusTcp { host, .. } => write!(f, "modbus-tcp://{host}"),
            Self::Slcan { path, .. } => write!(f, "slcan://{}", path.display()),
            Self::Socketcand { host, bus } => write!(f, "socketcand://{host}/{bus}"),
            Self::Can { interface } => write!(f, "can://{interface}"),
            Self::Ble { address, .. } => write!(f, "ble://{address}"),
        }
    }
}

/// An address in pieces, each taken once.
struct Parts<'a> {
    scheme: &'a str,
    text: &'a str,
    place: &'a str,
    query: Vec<(&'a str, &'a str)>,
}

impl<'a> Parts<'a> {
    fn new(scheme: &'a str, text: &'a str, rest: &'a str) -> Self {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let query = query.split('&').filter(|pair| !pair.is_empty());
        let query = query.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
        Self { scheme, text, place, query }
    }

    fn lacks(&self, wants: &'static str, example: &'static str) -> BadAddress {
        BadAddress::Lacks { text: self.text.to_owned(), wants, example }
    }

    fn path(&self, example: &'static str) -> Result<PathBuf, BadAddress> {
        if self.place.is_empty() { Err(self.lacks("a path", example)) } else { Ok(self.place.into()) }
    }

    fn host(&self, usual_port: Option<u16>, example: &'static str) -> Result<Host, BadAddress> {
        let place = self.place.trim_end_matches('/');
        let (name, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, port)) => (name, port.strip_prefix(':')),
            None => place.rsplit_once(':').map_or((place, None), |(name, port)| (name, Some(port))),
        };
        if name.is_empty() {
            return Err(self.lacks("a host", example));
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port > 0),
            None => usual_port,
        };
        let port = port.ok_or_else(|| self.lacks("a port", example))?;
        Ok(Host { name: name.to_owned(), port })
    }

    fn take(&mut self, key: &str) -> Option<&'a str> {
        let at = self.query.iter().position(|(name, _)| *name == key)?;
        Some(self.query.remove(at).1)
    }

    fn number<T: TryFrom<u32>>(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<u32>,
        wants: &'static str,
    ) -> Result<Option<T>, BadAddress> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = value.parse().ok().filter(|number| range.contains(number));
        let number = number.and_then(|number: u32| T::try_from(number).ok());
        number.map(Some).ok_or_else(|| BadAddress::Value { key, value: value.to_owned(), wants })
    }

    /// A name of a bus or an interface.
    fn name(&self, name: &str, example: &'static str) -> Result<String, BadAddress> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(self.lacks("the name of a bus", example));
        }
        Ok(name.to_owned())
    }

    fn bitrate(&mut self) -> Result<Option<u32>, BadAddress> {
        const WANTS: &str = "a speed that SLCAN has, as 125000, 250000, 500000 or 1000000";
        let bitrate: Option<u32> = self.number("bitrate", 1..=u32::MAX, WANTS)?;
        match bitrate {
            Some(bitrate) if speed(bitrate).is_none() => {
                Err(BadAddress::Value { key: "bitrate", value: bitrate.to_string(), wants: WANTS })
            }
            bitrate => Ok(bitrate),
        }
    }

    fn baud(&mut self) -> Result<Option<u32>, BadAddress> {
        const WANTS: &str = "one of 9600, 19200, 38400, 57600, 115200";
        let baud = self.number("baud", 1..=u32::MAX, WANTS)?;
        match baud {
            Some(baud) if !BAUDS.contains(&baud) => {
                Err(BadAddress::Value { key: "baud", value: baud.to_string(), wants: WANTS })
            }
            baud => Ok(baud),
        }
    }

    fn finish(self) -> Result<(), BadAddress> {
        match self.query.first() {
            Some((key, _)) => Err(BadAddress::Key { scheme: self.scheme.to_owned(), key: (*key).to_owned() }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> LinkAddress {
        LinkAddress::parse(text, 9600).unwrap()
    }

    fn said(text: &str) -> String {
        LinkAddress::parse(text, 9600).unwrap_err().to_string()
    }

    fn host(name: &str, port: u16) -> Host {
        Host { name: name.to_owned(), port }
    }

    #[test]
    fn a_path_is_a_serial_port_at_the_drivers_speed() {
        let path = PathBuf::from("/dev/ttyUSB0");
        assert_eq!(parse("/dev/ttyUSB0"), LinkAddress::Serial { path: path.clone(), baud: 9600 });
        assert_eq!(parse("serial:///dev/ttyUSB0"), LinkAddress::Serial { path: path.clone(), baud: 9600 });
        assert_eq!(parse("serial:///dev/ttyUSB0?baud=115200"), LinkAddress::Serial { path, baud: 115_200 });
    }

    #[test]
    fn hosts_have_names_addresses_and_ports() {
        assert_eq!(parse("tcp://gw.local:4196"), LinkAddress::Tcp { host: host("gw.local", 4196) });
        assert_eq!(parse("tcp://[::1]:5/"), LinkAddress::Tcp { host: host("::1", 5) });
        assert_eq!(parse("tcp://[::1]:5").to_string(), "tcp://[::1]:5");
        let unit = Some(7);
        assert_eq!(
            parse("modbus-tcp://10.0.0.1?unit=7"),
            LinkAddress::ModbusTcp { host: host("10.0.0.1", 502), unit }
        );
    }

    #[test]
    fn mistakes_name_what_is_wrong_and_what_would_be_right() {
        assert_eq!(
            said("usb://x"),
            "\"usb\" is no kind of link; there are serial, tcp, modbus-tcp, slcan, socketcand, can, ble"
        );
        assert_eq!(said("tcp://x"), "\"tcp://x\" lacks a port, as in tcp://192.168.1.20:4196");
        assert!(said("tcp://:5").contains("lacks a host") && said("tcp://x:0").contains("lacks a port"));
        assert!(said("serial://").contains("lacks a path"));
        assert_eq!(said("modbus-tcp://x?unit=0"), "unit = \"0\" must be a number from 1 to 247");
        assert_eq!(said("tcp://x:5?baud=9600"), "tcp links have no \"baud\"");
        assert!(said("serial:///x?baud=1200").contains("must be one of 9600"));
    }

    #[test]
    fn buses_have_names_and_speeds() {
        let path = PathBuf::from("/dev/ttyACM0");
        let slcan = LinkAddress::Slcan { path, baud: 115_200, bitrate: 250_000 };
        assert_eq!(parse("slcan:///dev/ttyACM0?bitrate=250000"), slcan);
        let host = host("pi", 29_536);
        assert_eq!(parse("socketcand://pi/can0"), LinkAddress::Socketcand { host, bus: "can0".to_owned() });
        assert_eq!(parse("can://vcan0"), LinkAddress::Can { interface: "vcan0".to_owned() });
        assert!(said("slcan:///dev/ttyACM0").contains("lacks a bitrate"));
        assert!(said("slcan:///dev/ttyACM0?bitrate=1234").contains("a speed that SLCAN has"));
        assert!(said("socketcand://pi").contains("lacks the name of a bus"));
        assert!(said("can://a b").contains("lacks the name of a bus"));
    }

    #[test]
    fn one_line_is_one_wire_at_whatever_speed() {
        assert!(parse("/dev/a").same_wire(&parse("serial:///dev/a?baud=19200")));
        assert!(!parse("/dev/a").same_wire(&parse("/dev/b")));
        assert!(!parse("modbus-tcp://h").same_wire(&parse("modbus-tcp://h")));
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_refused(text in "(serial|tcp|modbus-tcp|slcan|socketcand|can)?(://)?[a-z0-9:/?&=\\[\\].]{0,20}") {
            if let Ok(address) = LinkAddress::parse(&text, 9600) {
                prop_assert_ne!(address.carries(Wire::Modbus), address.carries(Wire::Can));
            }
        }
    }
}
