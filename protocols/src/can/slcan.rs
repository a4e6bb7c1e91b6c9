//! SLCAN: frames of a CAN bus as lines of text, as most adapters on a serial port write them.
//!
//! `t` an 11-bit id in three digits, `T` a 29-bit id in eight, one digit for the length, the bytes, a carriage return;
//! some adapters add four digits of time, which say nothing that the arrival doesn't. Commands to the adapter are here
//! as bytes only: opening a port is the link's affair.

use super::frame::{CanFrame, CanId};
use crate::bms::framing::{BadFrameReason, Found, Framing, noise_before};

const END: u8 = b'\r';
const TIME_DIGITS: usize = 4;

/// Closes the bus, which an adapter wants before its speed is set.
pub const CLOSE: &[u8] = b"C\r";
/// The speeds that a bus can have, in the order of their numbers.
pub const BITRATES: [u32; 9] =
    [10_000, 20_000, 50_000, 100_000, 125_000, 250_000, 500_000, 800_000, 1_000_000];
/// Opens the bus.
pub const OPEN: &[u8] = b"O\r";

/// Sets the speed of the bus; `None` for one that SLCAN has no number for.
pub fn speed(bitrate: u32) -> Option<Vec<u8>> {
    let number = BITRATES.iter().position(|known| *known == bitrate)?;
    Some(format!("S{number}\r").into_bytes())
}

/// Writes a frame as a line.
pub fn to_slcan(frame: &CanFrame) -> Vec<u8> {
    let id = match frame.id() {
        CanId::Standard(id) => format!("t{id:03X}"),
        CanId::Extended(id) => format!("T{id:08X}"),
    };
    format!("{id}{}{}\r", frame.data().len(), hex::encode_upper(frame.data())).into_bytes()
}

/// The shape of frames in an adapter's text; its answers to commands and remote frames are noise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlcanFraming;

impl Framing for SlcanFraming {
    type Frame = CanFrame;

    fn find(&self, bytes: &[u8]) -> Found<CanFrame> {
        if let Some(noise) = noise_before(bytes, |byte| matches!(byte, b't' | b'T')) {
            return noise;
        }
        let id_digits = if bytes[0] == b'T' { 8 } else { 3 };
        let head = 1 + id_digits + 1;
        if let Some(at) = bytes.iter().take(head).skip(1).position(|byte| !byte.is_ascii_hexdigit()) {
            return Found::Bad(BadFrameReason::Shape, at + 2);
        }
        let Some(length) = bytes.get(head - 1) else { return Found::Incomplete };
        if !(b'0'..=b'8').contains(length) {
            return Found::Bad(BadFrameReason::Length, head);
        }
        find_end(bytes, id_digits, head + usize::from(length - b'0') * 2)
    }
}

/// Looks for the end of a line whose data ends before `data_end`, with a time behind it or without.
fn find_end(bytes: &[u8], id_digits: usize, data_end: usize) -> Found<CanFrame> {
    let digits = bytes.iter().take_while(|byte| !matches!(**byte, END)).take(data_end + TIME_DIGITS + 1);
    let mut seen = 0;
    for byte in digits {
        // The kind of the frame stands first and is no digit.
        if seen > 0 && !byte.is_ascii_hexdigit() || seen >= data_end + TIME_DIGITS {
            return Found::Bad(BadFrameReason::Shape, seen + 1);
        }
        seen += 1;
    }
    if bytes.get(seen).is_none() {
        return Found::Incomplete;
    }
    if seen != data_end && seen != data_end + TIME_DIGITS {
        return Found::Bad(BadFrameReason::Incomplete, seen + 1);
    }
    match parse(bytes, id_digits, data_end) {
        Some(frame) => Found::Frame(frame, seen + 1),
        None => Found::Bad(BadFrameReason::Shape, seen + 1),
    }
}

fn parse(bytes: &[u8], id_digits: usize, data_end: usize) -> Option<CanFrame> {
    let text = str::from_utf8(bytes.get(1..=id_digits)?).ok()?;
    let id = CanId::new(u32::from_str_radix(text, 16).ok()?, id_digits == 8)?;
    CanFrame::new(id, &hex::decode(bytes.get(id_digits + 2..data_end)?).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;
    use crate::bms::framing::{StreamDecoder, laws};

    fn frame() -> impl Strategy<Value = CanFrame> {
        (any::<u32>(), any::<bool>(), vec(any::<u8>(), 0..=8)).prop_map(|(id, extended, data)| {
            let id = CanId::new(id % (1 << if extended { 29 } else { 11 }), extended).unwrap();
            CanFrame::new(id, &data).unwrap()
        })
    }

    /// Bytes that a line may be made of, with few of its end: a line of text has no checksum, so what is written as a
    /// frame is one.
    fn noise() -> impl Strategy<Value = Vec<u8>> {
        vec(prop_oneof![Just(b't'), Just(b'T'), Just(b'z'), Just(7u8), any::<u8>()], 0..20).prop_map(
            |mut noise| {
                noise.retain(|byte| *byte != END);
                noise.push(END);
                noise
            },
        )
    }

    #[test]
    fn lines_are_those_of_other_tools_with_a_time_or_without() {
        let mut decoder = StreamDecoder::new(SlcanFraming);
        decoder.push(b"z\r\x07T1890400180212000075300200\rt22020A3C1F4E\rr1230\r");
        let found: Vec<_> = std::iter::from_fn(|| decoder.next_frame()).map(|f| f.to_string()).collect();
        assert_eq!(found, ["18904001#0212000075300200", "220#0A3C"]);
    }

    #[test]
    fn an_id_with_too_many_bits_is_refused() {
        assert_eq!(SlcanFraming.find(b"tFFF0\r"), Found::Bad(BadFrameReason::Shape, 6));
        assert_eq!(SlcanFraming.find(b"t1239"), Found::Bad(BadFrameReason::Length, 5));
    }

    proptest! {
        #[test]
        fn a_frame_survives_its_line(frame in frame()) {
            let line = to_slcan(&frame);
            prop_assert_eq!(SlcanFraming.find(&line), Found::Frame(frame, line.len()));
        }

        #[test]
        fn any_stream_decodes_alike_whole_and_split(parts in vec(prop_oneof![vec(any::<u8>(), 0..30), noise(), frame().prop_map(|f| to_slcan(&f))], 0..6), cuts: Vec<Index>) {
            laws::splits_make_no_difference(SlcanFraming, &parts.concat(), &cuts, |frame| to_slcan(frame).len())?;
        }

        #[test]
        fn every_frame_among_noise_is_found(frames in vec(frame(), 1..5), noise in vec(noise(), 0..5)) {
            let frames: Vec<_> = frames.into_iter().map(|frame| (to_slcan(&frame), frame)).collect();
            laws::every_frame_is_found(SlcanFraming, &frames, &noise)?;
        }
    }
}
