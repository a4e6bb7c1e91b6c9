//! The wire's own view of JK frames, whichever of the two protocols they are in.

use serde_json::{Value, json};

use super::alarms::UART_WARNINGS;
use super::cells::{CellInfo, Generation};
use super::info::{DeviceInfo, show_settings};
use super::jk02::{Jk02Frame, Jk02Framing, Record};
use super::tags::{Tags, tag};
use super::uart::{UartFrame, UartFraming};
use super::{record_type, register};
use crate::bms::alarms::wire_names;
use crate::bms::wire_view::WireView;

/// What boards add to a notice.
const NOTICE_TEXT: &[u8] = b"AT\r\n";

/// Shows frames as one object. Each piece is one frame, or a stretch of a stream with anything around its frames.
pub fn decode_wire(pieces: &[Vec<u8>]) -> Value {
    let mut view = WireView::default();
    let mut records = Vec::new();
    for piece in pieces {
        if is_uart(piece) {
            for frame in view.frames(UartFraming, piece) {
                show_uart(&frame, &mut view);
            }
            continue;
        }
        for frame in view.frames(Jk02Framing, piece) {
            match frame {
                Jk02Frame::Record(record) => records.push(record),
                Jk02Frame::Command { register, length, values } => {
                    show_command(register, length, &values, &mut view);
                }
            }
        }
        if piece.ends_with(NOTICE_TEXT) {
            view.show(json!({ "trailing_ascii": NOTICE_TEXT.escape_ascii().to_string() }));
        }
    }
    show_records(records, &mut view);
    view.finish()
}

/// Tells the protocols apart by which of their starts comes first.
fn is_uart(piece: &[u8]) -> bool {
    let first = |start: &[u8]| piece.windows(start.len()).position(|window| window == start);
    let bluetooth = first(&[0x55, 0xAA]).into_iter().chain(first(&[0xAA, 0x55])).min();
    first(&[0x4E, 0x57]).is_some_and(|uart| bluetooth.is_none_or(|bluetooth| uart < bluetooth))
}

fn show_uart(frame: &UartFrame, view: &mut WireView) {
    let parts = json!({ "command": frame.command, "source": frame.source, "frame_type": frame.frame_type });
    if !frame.is_answer() {
        view.add_request(json!({
            "direction": "host_to_bms",
            "command": frame.command,
            "source": frame.source,
            "data_hex": hex::encode(&frame.data),
        }));
        return;
    }
    view.show(parts);
    let tags = Tags::decode(&frame.data);
    tags.show(&mut view.fields);
    if let Some(amps) = tags.amps() {
        view.show(json!({ "current_a_charge_positive": amps }));
    }
    if let Some(status) = tags.status() {
        view.show(json!({
            "charge_mos": status.charge_closed(),
            "discharge_mos": status.discharge_closed(),
            "balancing": status.balancing(),
        }));
    }
    if let Some(warnings) = tags.raw(tag::WARNINGS) {
        view.show(json!({ "errors": wire_names(warnings, UART_WARNINGS) }));
    }
}

fn show_command(register: u8, length: u8, values: &[u8; 13], view: &mut WireView) {
    if register == register::READY {
        view.show(json!({ "type": "ready_ack", "command": register }));
        return;
    }
    let value = u32::from_le_bytes([values[0], values[1], values[2], values[3]]);
    view.add_request(json!({
        "direction": "host_to_bms", "register": register, "value": value, "length": length,
    }));
}

fn show_records(records: Vec<Record>, view: &mut WireView) {
    let device = records.iter().rfind(|record| record.record_type() == record_type::DEVICE);
    let device = device.map(DeviceInfo::decode);
    let generation = device.as_ref().and_then(|device| Generation::of_version(&device.software_version));
    if let Some(device) = device {
        view.show(device.show());
    }
    for record in records {
        match record.record_type() {
            record_type::DEVICE => {}
            record_type::CELLS => {
                let generation = generation.unwrap_or_else(|| Generation::of_record(&record));
                CellInfo::new(record, generation).show(&mut view.fields);
            }
            record_type::SETTINGS => view.show(show_settings(&record)),
            other => view.show(json!({
                "record_type": other, "record_hex": hex::encode(record.bytes()),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_that_fails_its_checks_is_refused_with_the_reason() {
        let view = decode_wire(&[hex::decode("4e5700130000000006030000000000006800000128").unwrap()]);
        assert_eq!(view["valid"], json!(false));
        assert_eq!(view["rejected_because"], json!(["its checksum does not match"]));
        let view = decode_wire(&[vec![1, 2, 3]]);
        assert_eq!(view["rejected_because"], json!(["no frame begins here"]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown_or_refused(pieces: Vec<Vec<u8>>) {
            let view = decode_wire(&pieces);
            prop_assert_eq!(view["valid"] == json!(true), view.get("rejected_frames").is_none());
        }

        #[test]
        fn any_record_can_be_shown(record_type in 0u8..6, data in proptest::collection::vec(any::<u8>(), 293)) {
            let record = Record::build(record_type, 1, |bytes| bytes[6..299].copy_from_slice(&data));
            prop_assert_eq!(&decode_wire(&[record.bytes().to_vec()])["valid"], &json!(true));
        }

        #[test]
        fn any_tags_can_be_shown(data: Vec<u8>) {
            let frame = UartFrame { terminal: 0, command: 6, source: 0, frame_type: 1, data, record: 0 };
            prop_assert_eq!(&decode_wire(&[frame.to_bytes()])["valid"], &json!(true));
        }
    }
}
