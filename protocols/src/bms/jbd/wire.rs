//! The wire's own view of JBD frames.

use serde_json::{Value, json};

use super::frame::{Answer, AnswerFraming, Request, RequestFraming, parse_secret};
use super::{BasicInfo, register};
use crate::bms::fields::printable;
use crate::bms::framing::{Found, Framing};
use crate::bms::wire_view::WireView;

/// What register 0xAA counts, in its order.
const ERROR_COUNTS: [&str; 11] = [
    "short_circuit",
    "charge_overcurrent",
    "discharge_overcurrent",
    "cell_overvoltage",
    "cell_undervoltage",
    "charge_overtemperature",
    "charge_undertemperature",
    "discharge_overtemperature",
    "discharge_undertemperature",
    "pack_overvoltage",
    "pack_undervoltage",
];

/// Shows frames as one object. Each piece is one frame, or a stretch of a stream with anything around its frames.
pub fn decode_wire(pieces: &[Vec<u8>]) -> Value {
    let mut view = WireView::default();
    for piece in pieces {
        if let Some(secret) = parse_secret(piece) {
            // The secret itself is nobody's business.
            match secret {
                Some(answer) => view.show(json!({ "accepted": answer.accepted })),
                None => view.add_request(json!({ "direction": "host_to_bms", "secret_given": true })),
            }
        } else if matches!(RequestFraming.find(piece), Found::Frame(..)) {
            view.frames(RequestFraming, piece).iter().for_each(|request| show_request(request, &mut view));
        } else {
            view.frames(AnswerFraming, piece).iter().for_each(|answer| show_answer(answer, &mut view));
        }
    }
    view.finish()
}

fn show_request(request: &Request, view: &mut WireView) {
    view.add_request(json!({
        "direction": "host_to_bms",
        "write": request.write,
        "register": request.register,
        "data_hex": hex::encode(&request.data),
    }));
}

fn show_answer(answer: &Answer, view: &mut WireView) {
    if answer.status != 0 {
        view.show(json!({ "register": answer.register, "error_status": answer.status }));
        return;
    }
    let (words, _) = answer.data.as_chunks();
    let words: Vec<u16> = words.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
    match (answer.register, BasicInfo::decode(&answer.data)) {
        (register::BASIC, Some(basic)) => view.show(basic.show()),
        (register::CELLS, _) => view.show(json!({ "cell_voltages_mv": words })),
        (register::MODEL, _) => view.show(json!({ "model": printable(&answer.data) })),
        (register::ERROR_COUNTS, _) => {
            let counts: serde_json::Map<_, _> =
                ERROR_COUNTS.iter().zip(words).map(|(name, n)| ((*name).to_owned(), json!(n))).collect();
            view.show(json!({ "error_counts": counts }));
        }
        _ => view.show(json!({ "register": answer.register, "data_hex": hex::encode(&answer.data) })),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_that_fails_its_checks_is_refused_with_the_reason() {
        let view = decode_wire(&[hex::decode("dd0400080f450f3d0f370f3dfec777").unwrap()]);
        assert_eq!(view["rejected_because"], json!(["its checksum does not match"]));
        assert_eq!(view["valid"], json!(false));
    }

    #[test]
    fn an_error_is_shown_as_one() {
        let bytes = Answer { register: 3, status: 0x80, data: Vec::new() }.to_bytes();
        assert_eq!(decode_wire(&[bytes])["error_status"], json!(0x80));
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown_or_refused(pieces: Vec<Vec<u8>>) {
            let view = decode_wire(&pieces);
            prop_assert_eq!(view["valid"] == json!(true), view.get("rejected_frames").is_none());
        }

        #[test]
        fn any_answer_can_be_shown(register in prop_oneof![3u8..=5, Just(0xAA), Just(7)], status in 0u8..2, data in proptest::collection::vec(any::<u8>(), 0..60)) {
            let bytes = Answer { register, status, data }.to_bytes();
            prop_assert_eq!(&decode_wire(&[bytes])["valid"], &json!(true));
        }
    }
}
