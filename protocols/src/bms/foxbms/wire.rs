//! The wire's own view of foxBMS frames, and the one frame that a host sends.

use serde_json::{Map, Value, json};

use super::Mode;
use super::messages::{Dialect, Message, message};
use super::signal::{Shown, Signal};
use crate::bms::wire_view::WireView;
use crate::can::{CanFrame, CanId};

/// Shows frames as one object; `dialect` is `v1_7`, `v1_11` or `auto`, which decides by the ids among the frames.
pub fn decode_can(frames: &[CanFrame], dialect: Option<&str>) -> Value {
    let mut view = WireView::default();
    let asked = match dialect.map(|name| (name, Dialect::named(name))) {
        None => Dialect::Auto,
        Some((_, Some(dialect))) => dialect,
        Some((name, None)) => {
            let why = format!("no dialect is named {name:?}, known are: v1_7, v1_11, auto");
            frames.iter().for_each(|frame| view.reject_text(frame.to_string(), why.clone()));
            return view.finish();
        }
    };
    let dialect = settle(asked, frames);
    for frame in frames {
        match read(frame, dialect) {
            Ok((message, word)) => view.show(Value::Object(show(message, word))),
            Err(why) => view.reject_text(frame.to_string(), why),
        }
    }
    view.finish()
}

fn settle(asked: Dialect, frames: &[CanFrame]) -> Dialect {
    let newer = |frame: &CanFrame| matches!(frame.id(), CanId::Standard(id) if Dialect::only_v1_11(id));
    match asked {
        Dialect::Auto if frames.iter().any(newer) => Dialect::V1_11,
        Dialect::Auto | Dialect::V1_7 | Dialect::V1_11 => asked,
    }
}

/// Finds a frame's message and its bits, or says why there are none.
pub(super) fn read(frame: &CanFrame, dialect: Dialect) -> Result<(&'static Message, u64), String> {
    let CanId::Standard(id) = frame.id() else {
        return Err("foxBMS has ids of 11 bits, this one has 29".to_owned());
    };
    let Some(message) = message(id, dialect) else {
        return Err(format!("no message that is read has the id 0x{id:03X}"));
    };
    match frame.data().first_chunk() {
        Some(bytes) => Ok((message, u64::from_be_bytes(*bytes))),
        None => Err(format!("{} has 8 bytes, this frame has {}", message.name, frame.data().len())),
    }
}

fn show(message: &Message, word: u64) -> Map<String, Value> {
    let mut shown: Map<_, _> = match message.signals {
        [mux @ Signal { shown: Shown::Group(_, size), .. }, places @ ..] => {
            show_group(mux, *size, places, word)
        }
        signals => signals.iter().map(|signal| (signal.name.to_owned(), signal.show(word))).collect(),
    };
    let unknown = message.unknown_bits(word);
    if !unknown.is_empty() {
        shown.insert("unknown_bits".to_owned(), json!(unknown));
    }
    shown
}

fn show_group(mux: &Signal, size: u8, places: &[Signal], word: u64) -> Map<String, Value> {
    let first = mux.raw(word) * i64::from(size);
    let (flags, values) = places.split_at(usize::from(size));
    let mut shown = Map::from_iter([(mux.name.to_owned(), mux.show(word))]);
    for ((flag, value), number) in flags.iter().zip(values).zip(first..) {
        shown.insert(format!("{}_{number:03}_invalidFlag", flag.name), flag.show(word));
        shown.insert(format!("{}_{number:03}", value.name), value.show(word));
    }
    shown
}

/// Builds the frame that asks for a state. It must be repeated: foxBMS complains where it stays away for three seconds.
pub fn mode_request(mode: Mode, reset_persistent_flags: bool) -> Option<CanFrame> {
    let request = message(0x210, Dialect::Auto)?;
    let mut word = 0;
    let mode = match mode {
        Mode::Standby => 0,
        Mode::Discharge => 1,
        Mode::Charge => 2,
    };
    request.signal("RequestBmsMode")?.put(&mut word, mode);
    request.signal("ResetPersistentFlags")?.put(&mut word, i64::from(reset_persistent_flags));
    CanFrame::new(CanId::new(request.id.into(), false)?, &word.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::can::parse_candump;

    fn decode(text: &str, dialect: Option<&str>) -> Value {
        decode_can(&parse_candump(text).unwrap(), dialect)
    }

    #[test]
    fn a_newer_id_among_the_frames_settles_the_dialect() {
        let old = decode("231#003B10000E470E12", None);
        assert!(old.get("CoolingInletTemperature").is_some());
        let new = decode("231#003B10000E470E12 219#0000000000000000", None);
        assert_eq!(new["MaximumCellVoltage"], json!(3655));
    }

    #[test]
    fn what_can_not_be_read_is_refused_with_the_reason() {
        let view = decode("220#0A3C 7FF#0000000000000000 00000220#0000000000000000", None);
        assert_eq!(view["valid"], json!(false));
        let reasons = json!([
            "BmsState has 8 bytes, this frame has 2",
            "no message that is read has the id 0x7FF",
            "foxBMS has ids of 11 bits, this one has 29",
        ]);
        assert_eq!(view["rejected_because"], reasons);
        let view = decode("220#0A3C000900000005", Some("v2"));
        assert_eq!(view["rejected_because"][0], "no dialect is named \"v2\", known are: v1_7, v1_11, auto");
    }

    #[test]
    fn a_bit_that_nobody_owns_is_told() {
        assert_eq!(decode("240#0000000010000000", None)["unknown_bits"], json!([36]));
    }

    #[test]
    fn a_request_has_the_bits_that_the_layout_gives_it() {
        assert_eq!(mode_request(Mode::Charge, true).unwrap().to_string(), "210#0600000000000000");
        assert_eq!(mode_request(Mode::Discharge, false).unwrap().to_string(), "210#0100000000000000");
    }

    proptest! {
        #[test]
        fn any_frames_are_shown_or_refused(frames in proptest::collection::vec((0x200u32..0x270, any::<Vec<u8>>()), 0..6), dialect in proptest::option::of("v1_7|v1_11|auto|x")) {
            let frames: Vec<_> = frames
                .iter()
                .map(|(id, data)| CanFrame::new(CanId::new(*id, false).unwrap(), &data[..data.len().min(8)]).unwrap())
                .collect();
            let view = decode_can(&frames, dialect.as_deref());
            prop_assert_eq!(view["valid"] == json!(true), view.get("rejected_frames").is_none());
        }
    }
}
