//! Pylontech's RT series over Bluetooth: thirteen Modbus registers from 0x1016 on. Of the cells and temperatures only the
//! highest and the lowest are sent.

use serde_json::{Value, json};

use super::{ReadRegisters, RegistersAnswer, RtuAnswers};
use crate::bms::framing::{Found, Framing};

const FIRST: u16 = 0x1016;
const COUNT: usize = 13;
const VOLTAGE: usize = 0;
const CURRENT: usize = 1;
const CELLS: std::ops::Range<usize> = 2..4;
const TEMPERATURES: std::ops::Range<usize> = 4..6;
const SOC: usize = 6;
const SOH: usize = 7;

/// Shows an answer to a question for these registers; `None` where either is something else.
pub fn show_pylontech_rt(asked: ReadRegisters, answer: &[u8]) -> Option<Value> {
    if asked.first != FIRST {
        return None;
    }
    let Found::Frame(RegistersAnswer::Registers(registers), _) =
        (RtuAnswers { asked: Some(asked) }).find(answer)
    else {
        return None;
    };
    let registers: [u16; COUNT] = registers.try_into().ok()?;
    let signed = |register: u16| i16::from_be_bytes(register.to_be_bytes());
    let celsius = registers[TEMPERATURES].iter().map(|raw| f64::from(signed(*raw)) / 10.0);
    Some(json!({
        "voltage_v": f64::from(registers[VOLTAGE]) / 100.0,
        "current_a_charge_positive": f64::from(signed(registers[CURRENT])) / 10.0,
        "cell_voltages_mv": &registers[CELLS],
        "temperatures_c": celsius.collect::<Vec<_>>(),
        "soc_pct": registers[SOC],
        "soh_pct": registers[SOH],
        "registers_from": FIRST,
        "registers": registers,
    }))
}
