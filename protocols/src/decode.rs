//! `voltree decode`: frames of a named protocol, shown as the wire means them.
//!
//! A vendor is one line in [`PROTOCOLS`]. This never judges values and never touches a wire; hex and vector files are
//! parsed here so that every protocol and both the command line and the tests read them alike.

mod hex_text;
mod vectors;

use serde_json::Value;

use crate::bms::{
    daly_bluetooth, daly_can, daly_uart, foxbms, green_bms, jbd, jk, libre_solar, sunspec, telecom,
};

use crate::can::{CanFrame, CandumpError, parse_candump};

pub use hex_text::{HexError, parse_hex};
pub use vectors::{VectorLine, decode_vectors};

/// A protocol that can be shown.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    /// Its name on the command line.
    pub name: &'static str,
    /// Other names under which recordings know it.
    pub aliases: &'static [&'static str],
    show: Show,
}

type ShowBytes = fn(&[Vec<u8>]) -> Value;
type ShowCan = fn(&[CanFrame], Option<&str>) -> Value;

/// What a protocol's frames are made of.
#[derive(Debug, Clone, Copy)]
enum Show {
    /// Bytes of a line or a stream.
    Bytes(ShowBytes),
    /// Frames of a CAN bus.
    Can(ShowCan),
    /// Either.
    Both(ShowBytes, ShowCan),
}

/// Every protocol, one line a vendor.
#[rustfmt::skip]
pub const PROTOCOLS: &[Protocol] = &[
    Protocol { name: "daly_bluetooth", aliases: &["daly_modbus_d2", "daly_modbus_p81"], show: Show::Bytes(daly_bluetooth::decode_wire) },
    Protocol { name: "daly_can", aliases: &[], show: Show::Can(daly_can::decode_can) },
    Protocol { name: "daly_uart", aliases: &["daly_a5"], show: Show::Bytes(daly_uart::decode_wire) },
    Protocol { name: "foxbms", aliases: &["foxbms2"], show: Show::Can(foxbms::decode_can) },
    Protocol { name: "green_bms", aliases: &["green_smartbms"], show: Show::Bytes(green_bms::decode_wire) },
    Protocol { name: "jbd", aliases: &["xiaoxiang", "overkill_solar"], show: Show::Bytes(jbd::decode_wire) },
    Protocol { name: "jk", aliases: &["jikong", "jk02", "jk_uart"], show: Show::Bytes(jk::decode_wire) },
    Protocol { name: "libre_solar", aliases: &["thingset"], show: Show::Both(libre_solar::decode_wire, libre_solar::decode_can) },
    Protocol { name: "pylontech", aliases: &["pylontech_rs485_ascii"], show: Show::Bytes(telecom::decode_pylontech) },
    Protocol { name: "seplos", aliases: &["pace", "seplos_rs485_ascii"], show: Show::Bytes(telecom::decode_seplos) },
    Protocol { name: "sunspec_modbus", aliases: &["modbus", "sunspec"], show: Show::Bytes(sunspec::decode_wire) },
];

/// The names of all protocols, for help and messages.
pub fn protocol_names() -> String {
    PROTOCOLS.iter().map(|protocol| protocol.name).collect::<Vec<_>>().join(", ")
}

/// Why nothing could be shown.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// No protocol has this name.
    #[error("no protocol is named {name:?}, known are: {known}")]
    UnknownProtocol {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// There were no bytes.
    #[error("there are no bytes to decode")]
    Empty,
    /// The protocol lives on a CAN bus, where bytes without their id say nothing.
    #[error("{name} is spoken on CAN: write frames with their id, as in 220#0A3C000900000005")]
    NeedsCan {
        /// The protocol.
        name: &'static str,
    },
    /// The protocol knows no CAN bus.
    #[error("{name} is not spoken on CAN: write its bytes without an id")]
    NotOnCan {
        /// The protocol.
        name: &'static str,
    },
    /// A text of CAN frames is none.
    #[error(transparent)]
    Candump(#[from] CandumpError),
    /// The hex text is none.
    #[error(transparent)]
    Hex(#[from] HexError),
    /// The vector file is not a JSON array of records.
    #[error("could not read the vector file")]
    ReadVectors {
        /// What the JSON parser says.
        #[source]
        source: serde_json::Error,
    },
}

/// Finds a protocol by its name or one of its aliases.
pub fn protocol(name: &str) -> Result<&'static Protocol, DecodeError> {
    PROTOCOLS
        .iter()
        .find(|p| p.name == name || p.aliases.contains(&name))
        .ok_or_else(|| DecodeError::UnknownProtocol { name: name.to_owned(), known: protocol_names() })
}

/// Shows frames as one object. Frames that fail their checks stand under `rejected_frames`, with `valid` false.
pub fn decode(protocol_name: &str, frames: &[Vec<u8>]) -> Result<Value, DecodeError> {
    let protocol = protocol(protocol_name)?;
    if frames.iter().all(Vec::is_empty) {
        return Err(DecodeError::Empty);
    }
    match protocol.show {
        Show::Bytes(show) | Show::Both(show, _) => Ok(show(frames)),
        Show::Can(_) => Err(DecodeError::NeedsCan { name: protocol.name }),
    }
}

/// Shows frames of a CAN bus, as [`decode`] does bytes. The dialect is one of the protocol's own names.
pub fn decode_can(
    protocol_name: &str,
    frames: &[CanFrame],
    dialect: Option<&str>,
) -> Result<Value, DecodeError> {
    let protocol = protocol(protocol_name)?;
    if frames.is_empty() {
        return Err(DecodeError::Empty);
    }
    match protocol.show {
        Show::Can(show) | Show::Both(_, show) => Ok(show(frames, dialect)),
        Show::Bytes(_) => Err(DecodeError::NotOnCan { name: protocol.name }),
    }
}

/// Shows what somebody typed: frames as candump writes them where there is a `#`, else hex.
pub fn decode_text(protocol_name: &str, text: &str, dialect: Option<&str>) -> Result<Value, DecodeError> {
    if text.contains('#') {
        return decode_can(protocol_name, &parse_candump(text)?, dialect);
    }
    decode(protocol_name, &[parse_hex(text)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_protocol_names_the_known_ones() {
        let error = decode("dali", &[vec![1]]).unwrap_err().to_string();
        assert!(error.starts_with("no protocol is named \"dali\", known are: "), "{error}");
        assert!(PROTOCOLS.iter().all(|protocol| error.contains(protocol.name)), "{error}");
    }

    #[test]
    fn can_frames_and_bytes_are_told_apart() {
        let said = |protocol, text| decode_text(protocol, text, None).unwrap_err().to_string();
        assert!(said("foxbms", "0A3C").starts_with("foxbms is spoken on CAN: write frames with their id"));
        assert!(said("jbd", "220#0A3C").starts_with("jbd is not spoken on CAN"));
        assert_eq!(
            decode_text("foxbms", "234#0320000000000000", None).unwrap()["InsulationResistance"],
            700.0
        );
        assert!(matches!(decode_can("foxbms", &[], None), Err(DecodeError::Empty)));
    }

    #[test]
    fn no_bytes_are_an_error_and_an_alias_is_a_name() {
        assert!(matches!(decode("daly_a5", &[vec![]]), Err(DecodeError::Empty)));
        assert!(decode("daly_a5", &[vec![1]]).is_ok());
    }
}
