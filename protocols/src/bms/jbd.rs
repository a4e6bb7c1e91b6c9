//! JBD boards (also sold as Xiaoxiang, Overkill Solar, LLT): 9600 8N1, or the same frames over Bluetooth.
//!
//! `frame` finds requests and answers in a stream, `basic` reads register 0x03, `pack` decides what is believed, `poll`
//! holds the conversation. Which cells are balanced is shown and not told: sources disagree about the order of the bits.

mod basic;
mod frame;
mod order;
mod pack;
mod poll;
mod wire;

pub use basic::{BasicInfo, PROTECTION_BITS};
pub use frame::{
    Answer, AnswerFraming, Request, RequestFraming, SECRET_ACCEPTED, SecretAnswer, secret_request,
};
pub use order::{JbdOrder, JbdOrderDialect, Switch};
pub use poll::{JbdConfig, JbdDialect, JbdPoll, Secret};
pub use wire::decode_wire;

/// The speed of the wired port.
pub const BAUD: u32 = 9600;

/// The registers.
pub mod register {
    /// The pack: voltage, current, charge, protections, temperatures.
    pub const BASIC: u8 = 0x03;
    /// Cell voltages.
    pub const CELLS: u8 = 0x04;
    /// The model, text.
    pub const MODEL: u8 = 0x05;
    /// How often each protection acted.
    pub const ERROR_COUNTS: u8 = 0xAA;
    /// The charge and discharge switches; a set bit opens one.
    pub const SWITCHES: u8 = 0xE1;
}

/// Builds the request that closes or opens the charge and discharge switch. Whoever sends this must read the basic
/// information afterwards and believe only that.
pub fn switch_request(charge_closed: bool, discharge_closed: bool) -> Request {
    let open = u8::from(!charge_closed) | u8::from(!discharge_closed) << 1;
    Request { write: true, register: register::SWITCHES, data: vec![0, open] }
}

/// Builds a read request.
pub const fn read_request(register: u8) -> Request {
    Request { write: false, register, data: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_the_bytes_that_other_clients_send() {
        assert_eq!(hex::encode(read_request(register::BASIC).to_bytes()), "dda50300fffd77");
        assert_eq!(hex::encode(read_request(register::CELLS).to_bytes()), "dda50400fffc77");
        assert_eq!(hex::encode(read_request(register::MODEL).to_bytes()), "dda50500fffb77");
        assert_eq!(hex::encode(switch_request(true, true).to_bytes()), "dd5ae1020000ff1d77");
        assert_eq!(hex::encode(switch_request(false, true).to_bytes()), "dd5ae1020001ff1c77");
        assert_eq!(hex::encode(switch_request(true, false).to_bytes()), "dd5ae1020002ff1b77");
    }
}
