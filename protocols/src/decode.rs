//! `voltree decode`: frames of a named protocol, shown as the wire means them.
//!
//! A vendor is one line in [`PROTOCOLS`]. This never judges values and never touches a wire; hex and vector files are
//! parsed here so that every protocol and both the command line and the tests read them alike.

mod hex_text;
mod vectors;

use serde_json::Value;

use crate::bms::{daly_bluetooth, daly_uart, jbd, jk, sunspec, telecom};

pub use hex_text::{HexError, parse_hex};
pub use vectors::{VectorLine, decode_vectors};

/// A protocol that can be shown.
#[derive(Debug, Clone, Copy)]
pub struct Protocol {
    /// Its name on the command line.
    pub name: &'static str,
    /// Other names under which recordings know it.
    pub aliases: &'static [&'static str],
    show: fn(&[Vec<u8>]) -> Value,
}

/// Every protocol, one line a vendor.
#[rustfmt::skip]
pub const PROTOCOLS: &[Protocol] = &[
    Protocol { name: "daly_bluetooth", aliases: &["daly_modbus_d2", "daly_modbus_p81"], show: daly_bluetooth::decode_wire },
    Protocol { name: "daly_uart", aliases: &["daly_a5"], show: daly_uart::decode_wire },
    Protocol { name: "jbd", aliases: &["xiaoxiang", "overkill_solar"], show: jbd::decode_wire },
    Protocol { name: "jk", aliases: &["jikong", "jk02", "jk_uart"], show: jk::decode_wire },
    Protocol { name: "pylontech", aliases: &["pylontech_rs485_ascii"], show: telecom::decode_pylontech },
    Protocol { name: "seplos", aliases: &["pace", "seplos_rs485_ascii"], show: telecom::decode_seplos },
    Protocol { name: "sunspec_modbus", aliases: &["modbus", "sunspec"], show: sunspec::decode_wire },
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
    Ok((protocol.show)(frames))
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
    fn no_bytes_are_an_error_and_an_alias_is_a_name() {
        assert!(matches!(decode("daly_a5", &[vec![]]), Err(DecodeError::Empty)));
        assert!(decode("daly_a5", &[vec![1]]).is_ok());
    }
}
