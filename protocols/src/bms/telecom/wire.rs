//! The wire's own view of these frames. An answer does not say what it answers: the request before it does, and without
//! one it is taken for the analog values if it can be read as such.

use serde_json::{Value, json};

use super::frame::{BATTERY, TelecomFrame, TelecomFraming};
use super::{Alarms, Analog, Maker, command};
use crate::bms::fields::printable;
use crate::bms::modbus::{ReadRegisters, parse_rtu_request, show_pylontech_rt};
use crate::bms::wire_view::WireView;

/// Shows frames of Seplos and PACE packs as one object.
pub fn decode_seplos(pieces: &[Vec<u8>]) -> Value {
    decode_wire(pieces, Maker::Seplos)
}

/// Shows frames of Pylontech packs as one object: of the RS485 protocol, or of the RT series over Bluetooth, which speaks
/// Modbus and nothing of what the others do.
pub fn decode_pylontech(pieces: &[Vec<u8>]) -> Value {
    if let [question, answers @ ..] = pieces
        && let Some(asked) = parse_rtu_request(question)
    {
        return decode_rt(asked, answers);
    }
    decode_wire(pieces, Maker::Pylontech)
}

fn decode_rt(asked: ReadRegisters, answers: &[Vec<u8>]) -> Value {
    let mut view = WireView::default();
    view.show(json!({ "unit": asked.unit, "first_register": asked.first, "register_count": asked.count }));
    for answer in answers {
        match show_pylontech_rt(asked, answer) {
            Some(shown) => view.show(shown),
            None => view.reject(answer, "it is no answer to the question before it".to_owned()),
        }
    }
    view.finish()
}

fn decode_wire(pieces: &[Vec<u8>], maker: Maker) -> Value {
    let mut view = WireView::default();
    let mut asked = None;
    for piece in pieces {
        for frame in view.frames(TelecomFraming, piece) {
            if is_request(&frame) {
                asked = Some(frame.command);
                view.add_request(json!({
                    "direction": "host_to_bms",
                    "version": frame.version,
                    "address": frame.address,
                    "command": frame.command,
                    "request_info_hex": hex::encode(&frame.info),
                }));
            } else {
                show_answer(&frame, asked.take(), maker, &mut view);
            }
        }
    }
    view.finish()
}

/// Return codes stay below all commands.
fn is_request(frame: &TelecomFrame) -> bool {
    frame.device == BATTERY && frame.command >= 0x40
}

fn show_answer(frame: &TelecomFrame, asked: Option<u8>, maker: Maker, view: &mut WireView) {
    view.show(json!({ "address": frame.address, "return_code": frame.command }));
    let analog = || Analog::decode(&frame.info, maker);
    let alarms = || Alarms::decode(&frame.info, maker);
    match asked {
        Some(command::ALARMS) if let Some(alarms) = alarms() => alarms.show(&mut view.fields),
        Some(command::MAKER | command::VERSION) => view.show(json!({ "text": printable(&frame.info) })),
        None | Some(command::ANALOG) if let Some(analog) = analog() => analog.show(maker, &mut view.fields),
        None if let Some(alarms) = alarms() => alarms.show(&mut view.fields),
        _ => view.show(json!({ "info_hex": hex::encode(&frame.info) })),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bms::telecom::read_request;

    #[test]
    fn an_answer_is_read_as_what_was_asked() {
        let alarms = Alarms { pack: 3, ..Alarms::default() }.encode(Maker::Seplos);
        let answer = TelecomFrame { version: 0x20, address: 3, device: BATTERY, command: 0, info: alarms };
        let view = decode_seplos(&[read_request(3, command::ALARMS).to_bytes(), answer.to_bytes()]);
        assert_eq!((&view["valid"], &view["alarms"]), (&json!(true), &json!([])));
    }

    #[test]
    fn a_frame_that_fails_its_checks_is_refused_with_the_reason() {
        let view = decode_pylontech(&[b"~20004642E00200FD38\r".to_vec()]);
        assert_eq!(view["rejected_because"], json!(["its checksum does not match"]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown_or_refused(pieces: Vec<Vec<u8>>) {
            let view = decode_seplos(&pieces);
            prop_assert_eq!(view["valid"] == json!(true), view.get("rejected_frames").is_none());
        }

        #[test]
        fn any_answer_can_be_shown(command in prop_oneof![Just(0u8), any::<u8>()], info: Vec<u8>) {
            let frame = TelecomFrame { version: 0x20, address: 0, device: BATTERY, command, info };
            prop_assert_eq!(&decode_pylontech(&[frame.to_bytes()])["valid"], &json!(true));
        }
    }
}
