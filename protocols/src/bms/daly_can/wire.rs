//! The wire's own view of frames on CAN: the UART's, with the board's address beside it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::frame::{DalyCanFrame, from_can};
use crate::bms::daly_uart::{self, Answer, Frame};
use crate::bms::wire_view::WireView;
use crate::can::CanFrame;

/// Shows frames as one object, or as a list under `boards` where several boards answered: their values must not mix.
/// There are no dialects to choose from.
pub fn decode_can(frames: &[CanFrame], _dialect: Option<&str>) -> Value {
    let mut view = WireView::default();
    let mut boards: BTreeMap<u8, Vec<Frame>> = BTreeMap::new();
    for can in frames {
        match from_can(can) {
            Some(DalyCanFrame::Answer(frame)) => boards.entry(frame.address).or_default().push(frame),
            Some(DalyCanFrame::Request { board, command, data }) => view.add_request(json!({
                "direction": "host_to_bms",
                "bms_address": board,
                "command": command,
                "data_hex": hex::encode(data),
            })),
            None => view.reject(can.to_string().as_bytes(), format!("{can} is no frame of a Daly board")),
        }
    }
    let mut shown: Vec<Value> =
        boards.into_iter().map(|(board, frames)| show_board(board, &frames)).collect();
    match shown.len() {
        0 => {}
        1 => view.show(shown.remove(0)),
        _ => view.show(json!({ "boards": shown })),
    }
    view.finish()
}

fn show_board(board: u8, frames: &[Frame]) -> Value {
    // The UART's view takes frames of addresses that its own boards can have; on this bus there are more.
    let as_uart = |frame: &Frame| Frame { address: 1, ..*frame }.to_bytes().to_vec();
    let mut shown = daly_uart::decode_wire(&frames.iter().map(as_uart).collect::<Vec<_>>());
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("bms_address".to_owned(), json!(board));
        show_sets(frames, fields);
    }
    shown
}

/// Says from which number a board counts the frames of a set, and that a set with a hole gives no cells.
fn show_sets(frames: &[Frame], fields: &mut serde_json::Map<String, Value>) {
    let cells = |frame: &Frame| {
        if let Answer::Cells(cells) = Answer::decode(frame) { Some(cells.number) } else { None }
    };
    let numbers: BTreeSet<u8> = frames.iter().filter_map(cells).collect();
    let Some(first) = numbers.first() else { return };
    if fields.contains_key("cell_voltages_mv") {
        fields.insert("frame_base".to_owned(), json!(u8::from(*first != 0)));
    } else if fields.contains_key("cell_count") {
        fields.insert("cell_voltages_mv".to_owned(), Value::Null);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::can::{CanId, parse_candump};

    fn shown(text: &str) -> Value {
        decode_can(&parse_candump(text).unwrap(), None)
    }

    #[test]
    fn two_boards_on_a_bus_are_kept_apart() {
        let view = shown("18904001#0212000075300200 18904002#0213000075300200");
        assert_eq!(view["boards"][0]["voltage_v"], json!(53.0));
        assert_eq!(view["boards"][1]["voltage_v"], json!(53.1));
        assert_eq!(view["boards"][1]["bms_address"], json!(2));
    }

    #[test]
    fn a_frame_of_somebody_else_is_refused_by_name() {
        let view = shown("351#1C02");
        assert_eq!(view["valid"], json!(false));
        assert_eq!(view["rejected_because"], json!(["351#1C02 is no frame of a Daly board"]));
    }

    proptest! {
        #[test]
        fn any_frames_can_be_shown(frames in proptest::collection::vec((0u32..1 << 29, any::<[u8; 8]>()), 0..20), ours: bool) {
            let frame = |(id, data): &(u32, [u8; 8])| {
                let id = if ours { 0x1800_4000 | id & 0x00FF_001F } else { *id };
                CanFrame::new(CanId::Extended(id), data).unwrap()
            };
            let view = decode_can(&frames.iter().map(frame).collect::<Vec<_>>(), None);
            prop_assert_eq!(view["valid"] == json!(true), view.get("rejected_frames").is_none());
        }
    }
}
