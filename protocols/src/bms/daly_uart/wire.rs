//! The wire's own view of frames: every value as it was sent, odd ones included, under the vendor's names.
//!
//! For eyes and for comparison with recorded frames. Nothing is judged or left out here; what a reading believes is
//! decided in `pack`. Requests are shown by their parts, frames that fail their checks by their bytes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::settings;
use super::{
    Answer, Assembly, BalanceAnswer, CellExtremesAnswer, FRAME_BYTES, FaultsAnswer, Frame, FrameDecoder,
    PackAnswer, StatusAnswer, SwitchesAnswer, TemperatureExtremesAnswer, command, sign_of_current,
};
use crate::bms::framing::Decoded;

/// Shows frames as one object. Each piece is one frame, or a stretch of a stream with anything around its frames.
pub fn decode_wire(pieces: &[Vec<u8>]) -> Value {
    let mut view = WireView::default();
    for piece in pieces {
        view.add_piece(piece);
    }
    view.finish()
}

#[derive(Default)]
struct WireView {
    fields: Map<String, Value>,
    requests: Vec<Value>,
    rejected: Vec<String>,
    unknown: Vec<Value>,
    pack: Option<PackAnswer>,
    switches: Option<SwitchesAnswer>,
    status: Option<StatusAnswer>,
    cells: BTreeMap<u8, [u16; 3]>,
    temperatures: BTreeMap<u8, [u8; 7]>,
    texts: BTreeMap<&'static str, BTreeMap<u8, Vec<u8>>>,
}

impl WireView {
    fn add_piece(&mut self, piece: &[u8]) {
        if piece.len() == FRAME_BYTES {
            match Frame::parse(piece) {
                Ok(frame) => self.add(&frame),
                Err(bad) => self.rejected.push(hex::encode(bad.bytes)),
            }
            return;
        }
        let mut decoder = FrameDecoder::default();
        decoder.push(piece);
        while let Some(decoded) = decoder.next_decoded() {
            match decoded {
                Decoded::Frame(frame) => self.add(&frame),
                Decoded::Bad(bad) => self.rejected.push(hex::encode(bad.bytes)),
            }
        }
        if !decoder.pending().is_empty() {
            self.rejected.push(hex::encode(decoder.pending()));
        } else if decoder.stats().frames == 0 && decoder.stats().bad_frames() == 0 {
            self.rejected.push(hex::encode(piece));
        }
    }

    fn add(&mut self, frame: &Frame) {
        if !frame.is_answer() {
            self.requests.push(request(frame));
            return;
        }
        match Answer::decode(frame) {
            Answer::Pack(answer) => self.pack = Some(answer),
            Answer::CellExtremes(answer) => self.show(cell_extremes(&answer)),
            Answer::TemperatureExtremes(answer) => self.show(temperature_extremes(&answer)),
            Answer::Switches(answer) => self.switches = Some(answer),
            Answer::Status(answer) => self.status = Some(answer),
            Answer::Cells(answer) => {
                self.cells.insert(answer.number, answer.millivolts);
            }
            Answer::Temperatures(answer) => {
                self.temperatures.insert(answer.number, answer.raw);
            }
            Answer::Balance(answer) => self.show(balance(&answer)),
            Answer::Faults(answer) => self.show(faults(&answer)),
            Answer::Other { command, data } => self.add_other(command, data),
        }
    }

    fn add_other(&mut self, command: u8, data: [u8; 8]) {
        if let Some(name) = settings::text_name(command) {
            self.texts.entry(name).or_default().insert(data[0], data[1..].to_vec());
            return;
        }
        if command == command::FIRMWARE {
            self.show(json!({ "firmware_index": settings::printable(&data) }));
        } else if command == command::WAKE_UP {
            self.show(json!({ "wakeup_bytes": hex::encode(data) }));
        } else if !settings::show(command, data, &mut self.fields) {
            self.unknown.push(json!({ "command": command, "data_hex": hex::encode(data) }));
        }
    }

    fn show(&mut self, fields: Value) {
        if let Value::Object(fields) = fields {
            self.fields.extend(fields);
        }
    }

    fn finish(mut self) -> Value {
        if let Some(answer) = self.pack {
            self.show(pack(&answer));
        }
        if let Some(answer) = self.switches {
            self.show(switches(&answer));
        }
        if let Some(answer) = self.status {
            self.show(status(&answer));
        }
        self.show_signed_current();
        self.show_cells();
        self.show_temperatures();
        for (name, frames) in std::mem::take(&mut self.texts) {
            self.fields.insert(
                name.to_owned(),
                json!(settings::printable(&frames.into_values().flatten().collect::<Vec<u8>>())),
            );
        }
        self.close()
    }

    /// Our sign can only be told where a current and the state beside it were sent.
    fn show_signed_current(&mut self) {
        if let (Some(pack), Some(switches)) = (self.pack, self.switches) {
            let sign = sign_of_current(pack.wire_amps(), switches.state()).unwrap_or_default();
            self.show(json!({ "current_a_charge_positive": sign.apply(pack.wire_amps()).0 }));
        }
    }

    fn show_cells(&mut self) {
        if self.cells.is_empty() {
            return;
        }
        let whole = self.status.and_then(|status| {
            let mut assembly = Assembly::new(status.cells);
            self.cells.iter().for_each(|(number, values)| assembly.push(*number, *values));
            assembly.complete()
        });
        self.show(match whole {
            Some(cells) => json!({ "cell_voltages_mv": cells }),
            None => json!({ "cell_voltage_frames_mv": self.cells }),
        });
    }

    fn show_temperatures(&mut self) {
        if self.temperatures.is_empty() {
            return;
        }
        let whole = self.status.and_then(|status| {
            let mut assembly = Assembly::new(status.sensors);
            self.temperatures.iter().for_each(|(number, values)| assembly.push(*number, *values));
            assembly.complete()
        });
        self.show(match whole {
            Some(raw) => json!({ "temperatures_c": raw.into_iter().map(celsius).collect::<Vec<_>>() }),
            None => {
                let frames: BTreeMap<_, _> =
                    self.temperatures.iter().map(|(n, raw)| (n, raw.map(celsius))).collect();
                json!({ "temperature_frames_c": frames })
            }
        });
    }

    fn close(mut self) -> Value {
        self.fields.insert("valid".to_owned(), json!(self.rejected.is_empty()));
        if !self.rejected.is_empty() {
            self.fields.insert("rejected_frames".to_owned(), json!(self.rejected));
        }
        if !self.unknown.is_empty() {
            self.fields.insert("unknown_answers".to_owned(), json!(self.unknown));
        }
        match self.requests.len() {
            0 => {}
            1 => self.requests.into_iter().for_each(|request| merge(&mut self.fields, request)),
            _ => {
                self.fields.insert("requests".to_owned(), Value::Array(self.requests));
            }
        }
        Value::Object(self.fields)
    }
}

fn merge(fields: &mut Map<String, Value>, more: Value) {
    if let Value::Object(more) = more {
        fields.extend(more);
    }
}

fn request(frame: &Frame) -> Value {
    json!({
        "direction": "host_to_bms",
        "host_address": frame.address,
        "command": frame.command,
        "data_hex": hex::encode(frame.data),
        "checksum": frame.to_bytes()[FRAME_BYTES - 1],
    })
}

fn pack(answer: &PackAnswer) -> Value {
    json!({
        "voltage_v": answer.volts(),
        "gather_voltage_v": f64::from(answer.gather_voltage_raw) / 10.0,
        "current_raw": answer.current_raw,
        "current_wire_a": answer.wire_amps(),
        "soc_pct": answer.soc_percent(),
    })
}

fn cell_extremes(answer: &CellExtremesAnswer) -> Value {
    json!({
        "max_cell_voltage_v": f64::from(answer.max_mv) / 1000.0,
        "max_cell_number": answer.max_cell,
        "min_cell_voltage_v": f64::from(answer.min_mv) / 1000.0,
        "min_cell_number": answer.min_cell,
    })
}

fn temperature_extremes(answer: &TemperatureExtremesAnswer) -> Value {
    json!({
        "max_temperature_c": celsius(answer.max_raw),
        "max_temperature_sensor": answer.max_sensor,
        "min_temperature_c": celsius(answer.min_raw),
        "min_temperature_sensor": answer.min_sensor,
    })
}

fn switches(answer: &SwitchesAnswer) -> Value {
    let state = match answer.state_raw {
        0 => json!("idle"),
        1 => json!("charging"),
        2 => json!("discharging"),
        other => json!(format!("unknown_{other}")),
    };
    json!({
        "state": state,
        "charge_mos": answer.charge_closed,
        "discharge_mos": answer.discharge_closed,
        "bms_life": answer.life,
        "remaining_capacity_ah": f64::from(answer.remaining_mah) / 1000.0,
    })
}

fn status(answer: &StatusAnswer) -> Value {
    json!({
        "cell_count": answer.cells,
        "temperature_sensor_count": answer.sensors,
        "charger_connected": answer.charger,
        "load_connected": answer.load,
        "dio_bits": answer.dio_bits,
        "cycles": answer.cycles,
        "status_byte7": answer.byte7,
    })
}

fn balance(answer: &BalanceAnswer) -> Value {
    json!({ "balancing_cells": answer.cells() })
}

fn faults(answer: &FaultsAnswer) -> Value {
    let alarms: Vec<_> = answer.set_bits().map(|bit| bit.wire).collect();
    json!({ "alarms": alarms, "fault_code": answer.code })
}

fn celsius(raw: u8) -> i16 {
    i16::from(raw) - 40
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stretch_of_stream_shows_frames_and_what_was_none() {
        let pack = "a50190080212000075300200f9";
        let view = decode_wire(&[hex::decode(format!("0000{pack}a501")).unwrap()]);
        assert_eq!(view["voltage_v"], json!(53.0));
        assert_eq!(view["valid"], json!(false));
        assert_eq!(view["rejected_frames"], json!(["a501"]));
    }

    #[test]
    fn bytes_without_any_frame_are_rejected_whole() {
        let view = decode_wire(&[vec![1, 2, 3]]);
        assert_eq!(view, json!({ "valid": false, "rejected_frames": ["010203"] }));
    }

    #[test]
    fn texts_of_several_frames_are_joined() {
        let frame = |number: u8, text: &[u8; 7]| {
            let mut data = [number, 0, 0, 0, 0, 0, 0, 0];
            data[1..].copy_from_slice(text);
            Frame { address: 1, command: 0x62, data }.to_bytes().to_vec()
        };
        let view = decode_wire(&[frame(2, b"2\0\0\0\0\0\0"), frame(1, b"DL-R16_")]);
        assert_eq!(view["hardware_version"], json!("DL-R16_2"));
    }

    #[test]
    fn an_unknown_command_is_shown_as_it_came() {
        let frame = Frame { address: 1, command: 0xC3, data: [1; 8] };
        let view = decode_wire(&[frame.to_bytes().to_vec()]);
        assert_eq!(view["unknown_answers"], json!([{ "command": 0xC3, "data_hex": "0101010101010101" }]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown_as_frames_or_as_rejected(pieces: Vec<Vec<u8>>) {
            let view = decode_wire(&pieces);
            prop_assert_eq!(view["valid"] == json!(true), view.get("rejected_frames").is_none());
        }

        #[test]
        fn any_answers_can_be_shown(frames in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<[u8; 8]>()), 0..30)) {
            let frame = |(address, command, data): &(u8, u8, [u8; 8])| {
                Frame { address: *address, command: *command, data: *data }.to_bytes().to_vec()
            };
            let frames: Vec<Vec<u8>> = frames.iter().map(frame).collect();
            prop_assert_eq!(&decode_wire(&frames)["valid"], &json!(true));
        }
    }
}
