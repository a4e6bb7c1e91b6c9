//! The wire's own view of SunSpec models, as bare registers or in Modbus frames of either kind, and of Modbus frames as
//! such. Questions for Pylontech's RT series are recognized by their registers.

use serde_json::{Value, json};

use super::models::{BankModel, BatteryModel, END_MODEL, MARKER};
use super::{BANK_MODEL, BATTERY_MODEL};
use crate::bms::modbus::show_rtu;
use crate::bms::wire_view::WireView;

/// Bytes of a TCP frame before its function.
const TCP_HEADER: usize = 7;

/// Shows frames as one object. Each piece is one frame or one run of registers.
pub fn decode_wire(pieces: &[Vec<u8>]) -> Value {
    let mut view = WireView::default();
    for piece in pieces {
        if let Some(shown) = show_rtu(piece) {
            view.show(shown);
            answered(&piece[..piece.len() - 2], 2, &mut view);
        } else if let Some(unit) = tcp_unit(piece) {
            view.show(json!({ "transaction": u16::from_be_bytes([piece[0], piece[1]]), "unit": unit }));
            answered(piece, TCP_HEADER + 1, &mut view);
        } else if !show_registers(piece, &mut view) {
            view.reject(piece, "neither a Modbus frame nor a SunSpec model".to_owned());
        }
    }
    view.finish()
}

/// The unit of a TCP frame whose length is right. Behind the function there is always something, which keeps an RTU
/// question with a wrong CRC from passing as one.
fn tcp_unit(piece: &[u8]) -> Option<u8> {
    let &[_, _, 0, 0, l0, l1, unit, _function, _, ..] = piece else { return None };
    (usize::from(u16::from_be_bytes([l0, l1])) + TCP_HEADER - 1 == piece.len()).then_some(unit)
}

/// Shows the model in an answer, if there is one behind the byte count.
fn answered(frame: &[u8], count_at: usize, view: &mut WireView) {
    let Some((count, registers)) = frame.get(count_at..).and_then(|rest| rest.split_first()) else { return };
    if usize::from(*count) == registers.len() {
        show_registers(registers, view);
    }
}

fn show_registers(bytes: &[u8], view: &mut WireView) -> bool {
    let (pairs, odd) = bytes.as_chunks();
    let registers: Vec<u16> = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    match (registers.as_slice(), odd) {
        (&[first, second, ref chain @ ..], []) if [first, second] == MARKER => {
            let (model, length) = (chain.first(), chain.get(1));
            view.show(json!({ "marker": "SunS", "first_model": model, "first_length": length }));
        }
        (&[END_MODEL, 0], []) => view.show(json!({ "end_model": END_MODEL })),
        (registers @ &[BATTERY_MODEL, ..], []) if let Some(model) = BatteryModel::decode(registers) => {
            model.show(&mut view.fields);
        }
        (registers @ &[BANK_MODEL, ..], []) if let Some(model) = BankModel::decode(registers) => {
            model.show(&mut view.fields);
        }
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_neither_is_refused_with_the_reason() {
        let view = decode_wire(&[hex::decode("010300000002c40c").unwrap()]);
        assert_eq!(view["rejected_because"], json!(["neither a Modbus frame nor a SunSpec model"]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown_or_refused(pieces: Vec<Vec<u8>>) {
            let view = decode_wire(&pieces);
            prop_assert_eq!(view["valid"] == json!(true), view.get("rejected_frames").is_none());
        }
    }
}
