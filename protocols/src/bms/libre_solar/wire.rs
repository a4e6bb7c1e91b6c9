//! The wire's own view of ThingSet messages, as text, as CBOR and on CAN.

use serde_json::{Value, json};

use super::binary::{Endpoint, Message, begins_binary, parse_message};
use super::ble::PacketFraming;
use super::bus::{BusId, BusMessage, ThingsetBus};
use super::isotp::IsotpFrame;
use super::measured::{Measured, item_name};
use super::text::{TextBody, TextFrame, TextFraming, begins_text, parse_whole};
use crate::bms::wire_view::WireView;
use crate::can::{CanFrame, CanId};

/// What a packet over Bluetooth begins with.
const PACKET_START: u8 = 0x0A;

/// Shows messages as one object. Each piece is one message in binary mode, a packet as Bluetooth carries it, or a
/// stretch of a serial line with anything around its lines.
pub fn decode_wire(pieces: &[Vec<u8>]) -> Value {
    let mut view = WireView::default();
    for piece in pieces {
        match piece.first() {
            Some(&PACKET_START) => {
                view.frames(PacketFraming, piece).iter().for_each(|packet| show_packet(packet, &mut view));
            }
            Some(first) if begins_binary(*first) => show_binary(piece, &mut view),
            _ => view.frames(TextFraming, piece).iter().for_each(|frame| show_text(frame, &mut view)),
        }
    }
    view.finish()
}

fn show_packet(packet: &[u8], view: &mut WireView) {
    if packet.first().is_some_and(|first| begins_text(*first)) {
        match parse_whole(packet) {
            Ok(frame) => show_text(&frame, view),
            Err(reason) => view.reject(packet, reason.to_string()),
        }
    } else {
        show_binary(packet, view);
    }
}

fn show_text(frame: &TextFrame, view: &mut WireView) {
    if let Some(crc) = frame.crc {
        view.show(json!({ "crc32": format!("{crc:08X}") }));
    }
    match &frame.body {
        TextBody::Request { .. } => view.add_request(json!({ "request": frame.text })),
        TextBody::Response { status, payload } => show_response(*status, payload.as_ref(), view),
        TextBody::Report { path, payload } => {
            view.show(json!({ "report_path": path }));
            show_values(payload, view);
        }
    }
}

fn show_binary(bytes: &[u8], view: &mut WireView) {
    match parse_message(bytes) {
        Ok(message) => show_message(&message, bytes, view),
        Err(error) => view.reject(bytes, error.to_string()),
    }
}

fn show_message(message: &Message, bytes: &[u8], view: &mut WireView) {
    match message {
        Message::Request { verb, endpoint, payload } => {
            let mut request = json!({ "request": verb, "request_hex": hex::encode(bytes) });
            request["parent"] = show_endpoint(endpoint);
            if let Some(payload) = payload {
                request[if payload.is_object() { "map" } else { "arguments" }] = payload.clone();
            }
            view.add_request(request);
        }
        Message::Response { status, payload } => show_response(*status, payload.as_ref(), view),
        Message::Report { endpoint, payload } => {
            view.show(json!({ "report_endpoint": show_endpoint(endpoint) }));
            show_values(payload, view);
        }
    }
}

fn show_endpoint(endpoint: &Endpoint) -> Value {
    match endpoint {
        Endpoint::Id(id) => json!(id),
        Endpoint::Path(path) => json!(path),
        Endpoint::Element(id, index) => json!([id, index]),
    }
}

fn show_response(status: u8, payload: Option<&Value>, view: &mut WireView) {
    view.show(json!({ "status": status, "refused": status >= 0xA0 }));
    match payload {
        Some(payload) => show_values(payload, view),
        None => view.show(json!({ "payload": null })),
    }
}

fn show_values(payload: &Value, view: &mut WireView) {
    if let Some(measured) = Measured::from_payload(payload) {
        view.show(measured.show());
        return;
    }
    match payload {
        Value::Object(_) => view.show(json!({ "map": payload })),
        // A list of ids is what a board says of its groups; nothing but the request tells it from values.
        Value::Array(items) if items.iter().all(Value::is_u64) => {
            view.show(json!({ "ids": payload, "values": payload }));
        }
        Value::Array(_) => view.show(json!({ "values": payload })),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            view.show(json!({ "value": payload, "payload": payload }));
        }
    }
}

/// Shows frames of a CAN bus as one object. There is only one dialect.
pub fn decode_can(frames: &[CanFrame], _dialect: Option<&str>) -> Value {
    let mut view = WireView::default();
    let mut bus = ThingsetBus::default();
    for frame in frames {
        if let Some(id) = BusId::parse(frame.id()) {
            show_id(frame, id, &mut view);
        }
        match bus.take(frame) {
            BusMessage::Whole(_, bytes, Ok(message)) => show_message(&message, &bytes, &mut view),
            BusMessage::Item(_, id, Ok(value)) => {
                view.show(json!({ "value": value, "item_name": item_name(id.into()) }));
            }
            BusMessage::Whole(_, _, Err(error)) | BusMessage::Item(_, _, Err(error)) => {
                view.reject_text(frame.to_string(), error.to_string());
            }
            BusMessage::Refused(why) => view.reject_text(frame.to_string(), why.to_owned()),
            BusMessage::Nothing => {}
        }
    }
    view.finish()
}

fn show_id(frame: &CanFrame, id: BusId, view: &mut WireView) {
    if let CanId::Extended(number) = frame.id() {
        view.show(json!({ "can_id": format!("0x{number:08X}"), "extended_id": true }));
    }
    match id {
        BusId::Channel { target: (_, target), source: (_, source) } => {
            view.show(json!({ "target_address": target, "source_address": source }));
            if let Some(IsotpFrame::Single(payload)) = IsotpFrame::parse(frame.data()) {
                view.show(json!({ "isotp_payload": hex::encode(payload) }));
            }
        }
        BusId::Report { source, .. } => view.show(json!({ "source_address": source })),
        BusId::Item { id, source } => view.show(json!({ "data_item_id": id, "source_address": source })),
        BusId::Network { target, source } => {
            view.show(json!({ "claimed_address": target, "source_address": source }));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ble::to_packet;
    use super::*;
    use crate::can::parse_candump;

    #[test]
    fn packets_of_both_modes_are_shown() {
        let view = decode_wire(&[to_packet(b":85 12.9"), to_packet(&[0x84, 0xF6, 0xF6])]);
        assert_eq!((&view["value"], &view["status"]), (&json!(12.9), &json!(0x84)));
        let view = decode_wire(&[to_packet(b"hello")]);
        assert_eq!(view["rejected_because"], json!(["no message begins with 0x68"]));
    }

    #[test]
    fn a_report_in_several_frames_is_shown() {
        let frames = "1500000A#1F07A21871FA41D2 1500210A#7AE1187CFA428ECC 1500220A#CD00000000000000";
        let view = decode_can(&parse_candump(frames).unwrap(), None);
        assert_eq!(view["valid"], json!(false), "the middle frame says that it is the last: {view}");
        let frames = "1500000A#1F07A21871FA41D2 1500110A#7AE1187CFA428ECC 1500220A#CD00000000000000";
        let view = decode_can(&parse_candump(frames).unwrap(), None);
        assert_eq!((&view["pack_voltage_v"], &view["soc_pct"]), (&json!(26.31), &json!(71.4)));
    }

    #[test]
    fn a_refusal_is_shown_as_one() {
        assert_eq!(decode_wire(&[b":A4\n".to_vec()])["refused"], json!(true));
        assert_eq!(decode_wire(&[vec![0x84, 0xF6]])["refused"], json!(false));
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown_or_refused(pieces: Vec<Vec<u8>>) {
            let view = decode_wire(&pieces);
            prop_assert_eq!(view["valid"] == json!(true), view.get("rejected_frames").is_none());
        }

        #[test]
        fn any_frames_are_shown_or_refused(frames in proptest::collection::vec((0u32..1 << 29, any::<[u8; 8]>(), 0usize..=8), 0..20)) {
            let frames: Vec<_> = frames
                .iter()
                .map(|(id, data, length)| CanFrame::new(CanId::Extended(*id), &data[..*length]).unwrap())
                .collect();
            let view = decode_can(&frames, None);
            prop_assert_eq!(view["valid"] == json!(true), view.get("rejected_frames").is_none());
        }
    }
}
