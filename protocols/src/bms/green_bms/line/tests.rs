use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::bms::framing::laws;

fn cell(number: u8) -> impl Strategy<Value = Cell> {
    (0..600, -40..125, -40..125, 0u8..64).prop_map(
        move |(centivolts, pole_celsius, resistor_celsius, flags)| Cell {
            number,
            centivolts,
            pole_celsius,
            resistor_celsius,
            flags,
        },
    )
}

fn centiamps() -> impl Strategy<Value = i32> {
    prop_oneof![-999..1000, (10..2000).prop_map(|a| a * 100), (-2000..-9).prop_map(|a| a * 100)]
}

fn overview() -> impl Strategy<Value = Overview> {
    (0..10_000, centiamps(), 0..=100, 0..500, 0..500, 0u8..=2).prop_map(
        |(decivolts, centiamps, soc_percent, max_cell_centivolts, min_cell_centivolts, state)| Overview {
            decivolts,
            centiamps,
            soc_percent,
            max_cell_centivolts,
            min_cell_centivolts,
            state,
        },
    )
}

fn line() -> impl Strategy<Value = Line> {
    let ids = proptest::sample::subsequence(vec![12u8, 14, 24, 26, 34, 62, 72, 76], 1..=8);
    let parameters = (ids, proptest::collection::vec(-999_999..1_000_000, 8))
        .prop_map(|(ids, values)| Line::Parameters(ids.into_iter().zip(values).collect()));
    prop_oneof![
        (0u16..=999, any::<bool>()).prop_map(|(counter, alarm)| Line::Heartbeat { counter, alarm }),
        overview().prop_map(Line::Overview),
        (1u8..=98).prop_flat_map(|n| (cell(n), cell(n + 1)).prop_map(|(a, b)| Line::Cells([a, b]))),
        parameters,
        Just(Line::EndOfSettings),
        Just(Line::KeepAlive),
    ]
}

/// Random bytes and lines that were cut. A cut line of settings is left out: with a value at its end it runs into the
/// next line of settings, and nothing on this wire could tell.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(b'$'), Just(b'#'), Just(b'\r'), Just(b'\n'), Just(b'g'), any::<u8>()];
    let settings = |line: &Line| matches!(line, Line::Parameters(_));
    let cut = (line().prop_filter("not of settings", move |line| !settings(line)), any::<Index>()).prop_map(
        |(line, at)| {
            let bytes = line.to_bytes();
            bytes[..at.index(bytes.len() - 2)].to_vec()
        },
    );
    prop_oneof![proptest::collection::vec(byte, 0..30), cut]
}

fn length(line: &Line) -> usize {
    line.to_bytes().len()
}

#[test]
fn the_tail_of_a_damaged_line_is_no_line() {
    for text in [
        "$#g00x52.8$#g0025.50$#g00376$#g0043.35$#g0053.29$#g0061$\r\n",
        "$#v001?.31$#t00124$#u00127$#z001000000$#v0023.32$#t00225$#u00226$#z002010000$\r\n",
        "$#i0001000$#i0011$\r\n",
        "$#g0063$\r\n",
    ] {
        let mut decoder = crate::bms::framing::StreamDecoder::new(LineFraming);
        decoder.push(text.as_bytes());
        decoder.end();
        assert_eq!(decoder.next_frame(), None, "{text:?}");
        assert!(decoder.stats().bad_frames() > 0);
    }
}

#[test]
fn numbers_keep_their_steps_and_more_decimals_are_refused() {
    assert_eq!((steps("52.8", 1), steps("-0.05", 2), steps("12", 2)), (Some(528), Some(-5), Some(1200)));
    for bad in ["", "-", ".5", "5.", "1.234", "1e3", "+1", "1 ", "9999999999"] {
        assert_eq!(steps(bad, 2), None, "{bad:?}");
    }
}

#[test]
fn a_line_that_never_ends_is_given_up() {
    let endless = [b"$#".as_slice(), &[b'0'; MAX_LINE_BYTES]].concat();
    assert_eq!(LineFraming.find(&endless), Found::Bad(BadFrameReason::Length, MAX_LINE_BYTES));
}

proptest! {
    #[test]
    fn lines_survive_their_bytes(line in line()) {
        let bytes = line.to_bytes();
        prop_assert_eq!(LineFraming.find(&bytes), Found::Frame(line, bytes.len()));
    }

    #[test]
    fn splits_make_no_difference(lines in proptest::collection::vec(line(), 0..4), noise in proptest::collection::vec(noise(), 4), cuts in proptest::collection::vec(any::<Index>(), 0..8)) {
        let mut stream = Vec::new();
        for (index, line) in lines.iter().enumerate() {
            stream.extend_from_slice(&noise[index]);
            stream.extend(line.to_bytes());
        }
        laws::splits_make_no_difference(LineFraming, &stream, &cuts, length)?;
    }

    #[test]
    fn random_bytes_split_alike(bytes: Vec<u8>, cuts in proptest::collection::vec(any::<Index>(), 0..8)) {
        laws::splits_make_no_difference(LineFraming, &bytes, &cuts, length)?;
    }

    #[test]
    fn every_line_is_found(lines in proptest::collection::vec(line(), 1..5), noise in proptest::collection::vec(noise(), 5)) {
        let frames: Vec<_> = lines.into_iter().map(|line| (line.to_bytes(), line)).collect();
        laws::every_frame_is_found(LineFraming, &frames, &noise)?;
    }
}
