//! How fast frames become frames again and frames become readings, per protocol: `cargo bench -p voltree-protocols`.
//!
//! `framing` finds whole frames in a stream and checks them; `view` is what `voltree decode` does with the same bytes.
//! The recorded frames of the test vectors are the input, so that sizes are those of real boards.

use divan::Bencher;
use divan::counter::ItemsCount;
use serde_json::Value;
use voltree_protocols::bms::framing::{Framing, StreamDecoder};
use voltree_protocols::bms::{daly_uart, green_bms, jbd, jk, libre_solar, telecom};
use voltree_protocols::can::{CanFrame, parse_candump};
use voltree_protocols::decode::{decode, decode_can, parse_hex};

fn main() {
    divan::main();
}

/// The recorded frames of a record, all in one stream.
fn recorded(json: &str, name: &str) -> Vec<Vec<u8>> {
    let records: Vec<Value> = serde_json::from_str(json).expect("the vectors are JSON");
    let record = records.iter().find(|record| record["name"] == name).expect("the record is there");
    let frames = record["frames_hex"].as_array().expect("a record has frames");
    frames.iter().map(|hex| parse_hex(hex.as_str().unwrap_or_default()).expect("they are hex")).collect()
}

const DALY: &str = include_str!("../tests/vectors/daly_uart.json");
const JBD: &str = include_str!("../tests/vectors/jbd.json");
const SEPLOS: &str = include_str!("../tests/vectors/seplos.json");
const SUNSPEC: &str = include_str!("../tests/vectors/sunspec_modbus.json");
const GREEN: &str = include_str!("../tests/vectors/green_bms.json");
const LIBRE: &str = include_str!("../tests/vectors/libre_solar.json");
/// Pack, string and cells of a foxBMS, from its vectors.
const FOXBMS: &str = "220#172000A0C000000A 233#1B8837041820223D 240#3040800100000000 250#00F7083845C24E13";
const JK: &str = include_str!("../tests/vectors/jk.json");

/// Copies of the frames in one stream; a decoder must find all of them.
const COPIES: usize = 64;

fn frames<K: Framing + Default>(bencher: Bencher<'_, '_>, frames: &[Vec<u8>]) {
    let stream = frames.concat().repeat(COPIES);
    let count = frames.len() * COPIES;
    let mut decoder = StreamDecoder::new(K::default());
    bencher.counter(ItemsCount::new(count)).bench_local(|| {
        decoder.push(divan::black_box(&stream));
        let mut found = 0;
        while let Some(frame) = decoder.next_frame() {
            divan::black_box(&frame);
            found += 1;
        }
        assert_eq!(found, count);
    });
}

fn view(bencher: Bencher<'_, '_>, protocol: &str, frames: &[Vec<u8>]) {
    bencher.counter(ItemsCount::new(frames.len())).bench_local(|| decode(protocol, divan::black_box(frames)));
}

mod framing {
    use super::*;

    #[divan::bench]
    fn daly_uart(bencher: Bencher<'_, '_>) {
        let frames = recorded(DALY, "daly_r24ts_14s_idle");
        let stream = frames.concat().repeat(COPIES);
        let count = frames.len() * COPIES;
        let mut decoder = daly_uart::FrameDecoder::default();
        bencher.counter(ItemsCount::new(count)).bench_local(|| {
            decoder.push(divan::black_box(&stream));
            let mut found = 0;
            while let Some(frame) = decoder.next_frame() {
                divan::black_box(&frame);
                found += 1;
            }
            assert_eq!(found, count);
        });
    }

    #[divan::bench]
    fn green_cells(bencher: Bencher<'_, '_>) {
        frames::<green_bms::LineFraming>(bencher, &recorded(GREEN, "green_cells_1_2"));
    }

    #[divan::bench]
    fn libre_solar_text(bencher: Bencher<'_, '_>) {
        frames::<libre_solar::TextFraming>(bencher, &recorded(LIBRE, "libresolar_meas_real_4s"));
    }

    #[divan::bench]
    fn jbd_basic(bencher: Bencher<'_, '_>) {
        frames::<jbd::AnswerFraming>(bencher, &recorded(JBD, "jbd_syssi_basicinfo_frame"));
    }

    #[divan::bench]
    fn jk_uart(bencher: Bencher<'_, '_>) {
        frames::<jk::UartFraming>(bencher, &recorded(JK, "jk_uart_mpp_solar_14s"));
    }

    #[divan::bench]
    fn jk02_cells(bencher: Bencher<'_, '_>) {
        frames::<jk::Jk02Framing>(bencher, &recorded(JK, "jk_ble_jk02_24s_cell"));
    }

    #[divan::bench]
    fn seplos_analog(bencher: Bencher<'_, '_>) {
        frames::<telecom::TelecomFraming>(bencher, &recorded(SEPLOS, "seplos_v2_rs485_telemetry"));
    }
}

mod wire_view {
    use super::*;

    #[divan::bench]
    fn daly_uart(bencher: Bencher<'_, '_>) {
        view(bencher, "daly_uart", &recorded(DALY, "daly_r24ts_14s_idle"));
    }

    #[divan::bench]
    fn foxbms(bencher: Bencher<'_, '_>) {
        let frames: Vec<CanFrame> = parse_candump(FOXBMS).expect("they are frames");
        let count = ItemsCount::new(frames.len());
        bencher.counter(count).bench_local(|| decode_can("foxbms", divan::black_box(&frames), None));
    }

    #[divan::bench]
    fn green_cells(bencher: Bencher<'_, '_>) {
        view(bencher, "green_bms", &recorded(GREEN, "green_cells_1_2"));
    }

    #[divan::bench]
    fn libre_solar_text(bencher: Bencher<'_, '_>) {
        view(bencher, "libre_solar", &recorded(LIBRE, "libresolar_meas_real_4s"));
    }

    #[divan::bench]
    fn libre_solar_cbor(bencher: Bencher<'_, '_>) {
        view(bencher, "libre_solar", &recorded(LIBRE, "libresolar_bin_get_meas"));
    }

    #[divan::bench]
    fn jbd_basic(bencher: Bencher<'_, '_>) {
        view(bencher, "jbd", &recorded(JBD, "jbd_syssi_basicinfo_frame"));
    }

    #[divan::bench]
    fn jk_uart(bencher: Bencher<'_, '_>) {
        view(bencher, "jk", &recorded(JK, "jk_uart_mpp_solar_14s"));
    }

    #[divan::bench]
    fn jk02_cells(bencher: Bencher<'_, '_>) {
        view(bencher, "jk", &recorded(JK, "jk_ble_jk02_24s_cell"));
    }

    #[divan::bench]
    fn seplos_analog(bencher: Bencher<'_, '_>) {
        view(bencher, "seplos", &recorded(SEPLOS, "seplos_v2_rs485_telemetry"));
    }

    #[divan::bench]
    fn sunspec_802(bencher: Bencher<'_, '_>) {
        view(bencher, "sunspec_modbus", &recorded(SUNSPEC, "sunspec_802_normal"));
    }
}
