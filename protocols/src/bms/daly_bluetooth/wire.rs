//! The wire's own view of frames of all three dialects: every value as sent, odd ones included.

use serde_json::{Map, Value, json};

use super::frame::{BleFrame, BleFraming, RegisterFrame};
use super::registers::{Block, RegisterDialect};
use crate::bms::daly_uart::{self, CurrentSign, sign_of_current};
use crate::bms::wire_view::WireView;

/// How a register's value is shown.
#[derive(Clone, Copy)]
enum As {
    Plain,
    Switch,
    Tenths,
    Thousandths,
    Amps,
    BalanceAmps,
    Celsius,
}

type Row = (u16, &'static str, As);

#[rustfmt::skip]
const D2: &[Row] = &[
    (0x28, "voltage_v", As::Tenths), (0x29, "current_raw", As::Plain), (0x29, "current_wire_a", As::Amps),
    (0x2A, "soc_pct", As::Tenths), (0x2B, "max_cell_voltage_v", As::Thousandths),
    (0x2C, "min_cell_voltage_v", As::Thousandths), (0x2D, "max_temperature_c", As::Celsius),
    (0x2E, "min_temperature_c", As::Celsius), (0x30, "remaining_capacity_ah", As::Tenths),
    (0x31, "cell_count", As::Plain), (0x32, "temperature_sensor_count", As::Plain), (0x33, "cycles", As::Plain),
    (0x34, "balancing", As::Switch), (0x35, "charge_mos", As::Switch), (0x36, "discharge_mos", As::Switch),
    (0x37, "average_cell_voltage_v", As::Thousandths), (0x38, "delta_cell_voltage_v", As::Thousandths),
    (0x39, "power_w_unsigned", As::Plain), (0x40, "balance_current_a", As::BalanceAmps),
    (0x42, "mosfet_temperature_c", As::Celsius), (0x43, "board_temperature_c", As::Celsius),
    (0x80, "rated_capacity_ah", As::Tenths), (0x81, "cell_reference_voltage_mv", As::Plain),
    (0x82, "board_count", As::Plain), (0x83, "board1_cell_count", As::Plain), (0x84, "board2_cell_count", As::Plain),
    (0x85, "board3_cell_count", As::Plain), (0x86, "board1_temp_count_raw", As::Plain),
    (0x87, "board2_temp_count_raw", As::Plain), (0x88, "board3_temp_count_raw", As::Plain),
    (0x89, "battery_type", As::Plain), (0x8A, "sleep_wait_s", As::Plain), (0x8B, "cell_ov_l1_mv", As::Plain),
    (0x8C, "cell_ov_l2_mv", As::Plain), (0x8D, "cell_uv_l1_mv", As::Plain), (0x8E, "cell_uv_l2_mv", As::Plain),
    (0x8F, "pack_ov_l1_v", As::Tenths), (0x90, "pack_ov_l2_v", As::Tenths), (0x91, "pack_uv_l1_v", As::Tenths),
    (0x92, "pack_uv_l2_v", As::Tenths), (0x93, "charge_oc_l1_wire_a", As::Amps),
    (0x94, "charge_oc_l2_wire_a", As::Amps), (0x95, "discharge_oc_l1_wire_a", As::Amps),
    (0x96, "discharge_oc_l2_wire_a", As::Amps), (0x97, "charge_ot_l1_c", As::Celsius),
    (0x98, "charge_ot_l2_c", As::Celsius), (0x99, "charge_ut_l1_c", As::Celsius),
    (0x9A, "charge_ut_l2_c", As::Celsius), (0x9B, "discharge_ot_l1_c", As::Celsius),
    (0x9C, "discharge_ot_l2_c", As::Celsius), (0x9D, "discharge_ut_l1_c", As::Celsius),
    (0x9E, "discharge_ut_l2_c", As::Celsius), (0x9F, "cell_diff_l1_mv", As::Plain),
    (0xA0, "cell_diff_l2_mv", As::Plain), (0xA1, "temp_diff_l1_c", As::Plain), (0xA2, "temp_diff_l2_c", As::Plain),
    (0xA3, "balance_start_mv", As::Plain), (0xA4, "balance_diff_mv", As::Plain), (0xA5, "charge_mos", As::Switch),
    (0xA6, "discharge_mos", As::Switch), (0xA7, "soc_setting_pct", As::Tenths),
    (0xA8, "mos_overtemp_c", As::Celsius), (0xCF, "balancer_switch", As::Switch),
];

#[rustfmt::skip]
const P81: &[Row] = &[
    (0x38, "voltage_v", As::Tenths), (0x39, "current_raw", As::Plain), (0x39, "current_wire_a", As::Amps),
    (0x3A, "soc_pct", As::Tenths), (0x3B, "heartbeat", As::Plain), (0x3C, "cell_count", As::Plain),
    (0x3D, "temperature_sensor_count", As::Plain), (0x3E, "max_cell_voltage_v", As::Thousandths),
    (0x3F, "max_cell_number", As::Plain), (0x43, "max_temperature_raw", As::Plain),
    (0x44, "max_temperature_sensor", As::Plain), (0x45, "min_temperature_raw", As::Plain),
    (0x46, "min_temperature_sensor", As::Plain), (0x4B, "remaining_capacity_ah", As::Tenths),
    (0x4C, "cycles", As::Plain), (0x4D, "balancing_raw", As::Plain), (0x4E, "balance_current_raw", As::Plain),
    (0x52, "charge_mos", As::Switch), (0x53, "discharge_mos", As::Switch), (0x54, "precharge_mos", As::Switch),
    (0x55, "heating_mos", As::Switch), (0x57, "average_cell_voltage_v", As::Thousandths),
    (0x58, "power_w", As::Plain), (0x59, "energy_wh", As::Plain), (0x5A, "mosfet_temperature_c", As::Celsius),
    (0x5B, "board_temperature_c", As::Celsius),
];

/// Shows frames as one object. Each piece is one frame, or a stretch of a stream with anything around its frames.
pub fn decode_wire(pieces: &[Vec<u8>]) -> Value {
    let mut view = WireView::default();
    let mut a5 = Vec::new();
    for piece in pieces {
        for frame in view.frames(BleFraming, piece) {
            match frame {
                BleFrame::A5(frame) => a5.push(frame.to_bytes().to_vec()),
                BleFrame::Register(frame) => show_register(frame, &mut view),
            }
        }
    }
    if !a5.is_empty() {
        view.show(daly_uart::decode_wire(&a5));
    }
    view.finish()
}

fn show_register(frame: RegisterFrame, view: &mut WireView) {
    match frame {
        RegisterFrame::Read { unit, first, count } => view.add_request(
            json!({ "direction": "host_to_bms", "unit": unit, "register": first, "count": count }),
        ),
        // A question to write and its confirmation are the same bytes.
        RegisterFrame::Write { unit, register, value } => {
            view.show(json!({ "unit": unit, "register": register, "value": value, "echo": true }));
        }
        RegisterFrame::Refused { unit, function, code } => {
            view.show(json!({ "unit": unit, "function": function, "exception": code }));
        }
        RegisterFrame::Registers { unit, values } => show_values(unit, values, view),
    }
}

fn show_values(unit: u8, values: Vec<u16>, view: &mut WireView) {
    view.show(json!({ "unit": unit, "function": 3, "register_count": values.len() }));
    let block = RegisterDialect::of_unit(unit).and_then(|dialect| Block::guess(dialect, values.clone()));
    match block {
        Some(block) => view.show(Value::Object(show_block(&block))),
        None => view.show(json!({ "registers": values })),
    }
}

fn show_block(block: &Block) -> Map<String, Value> {
    let mut fields = Map::new();
    let rows = match block.dialect {
        RegisterDialect::D2 => D2,
        RegisterDialect::P81 => P81,
    };
    for (register, name, how) in rows {
        if let Some(value) = show_one(block, *register, *how) {
            fields.insert((*name).to_owned(), value);
        }
    }
    match block.dialect {
        RegisterDialect::D2 => show_d2(block, &mut fields),
        RegisterDialect::P81 => show_p81(block, &mut fields),
    }
    fields
}

fn show_one(block: &Block, register: u16, how: As) -> Option<Value> {
    Some(match how {
        As::Plain => json!(block.at(register)?),
        As::Switch => json!(block.on(register)?),
        As::Tenths => json!(block.tenths(register)?),
        As::Thousandths => json!(block.thousandths(register)?),
        As::Amps => json!(block.amps(register)?),
        As::BalanceAmps => json!(block.balance_amps(register)?),
        As::Celsius => json!(block.celsius(register)?),
    })
}

fn show_d2(block: &Block, fields: &mut Map<String, Value>) {
    show_rows(block, [0x00, 0x20], [0x31, 0x32], [32, 8], fields);
    show_state(block, 0x2F, 0x29, fields);
    if let Some((faults, reserved)) = block.faults() {
        let hex: String = block.row(0x3A, 4, 4).iter().map(|word| format!("{word:04x}")).collect();
        fields.insert("alarm_code_hex".to_owned(), json!(hex));
        let mut alarms: Vec<String> = faults.set_bits().map(|bit| fault_name(bit.wire)).collect();
        alarms.extend((0..8).filter(|bit| reserved & (1 << bit) != 0).map(|bit| format!("reserved_7_{bit}")));
        fields.insert("alarms".to_owned(), json!(alarms));
    }
    if let (Some(low), Some(high)) = (block.at(0x3E), block.at(0x3F)) {
        fields.insert("balance_mask".to_owned(), json!(u32::from(high) << 16 | u32::from(low)));
    }
    // Some boards give the software's name sixteen bytes, some thirty-two.
    let hardware = block.text(0xB1, 8).filter(|text| !text.is_empty()).or_else(|| block.text(0xB9, 16));
    for (name, text) in [("software_version", block.text(0xA9, 8)), ("hardware_version", hardware)] {
        fields.extend(text.map(|text| (name.to_owned(), json!(text))));
    }
}

/// This dialect gives a bit a meaning that the UART leaves reserved.
fn fault_name(wire: &str) -> String {
    if wire == "reserved_6_4" { "gps_or_soft_switch_mos_off".to_owned() } else { wire.to_owned() }
}

fn show_p81(block: &Block, fields: &mut Map<String, Value>) {
    show_rows(block, [0x00, 0x30], [0x3C, 0x3D], [48, 8], fields);
    show_state(block, 0x48, 0x39, fields);
    let raw = block.row(0x6D, 2, 2);
    if raw.len() == 2 {
        fields.insert("alarm_registers_raw".to_owned(), json!(raw));
    }
}

/// Cells and temperatures, as many as the board says that it has.
fn show_rows(
    block: &Block,
    [cells, sensors]: [u16; 2],
    counts: [u16; 2],
    most: [u16; 2],
    fields: &mut Map<String, Value>,
) {
    let [Some(cell_count), Some(sensor_count)] = counts.map(|register| block.at(register)) else { return };
    fields.insert("cell_voltages_mv".to_owned(), json!(block.row(cells, cell_count, most[0])));
    let celsius: Vec<_> = (sensors..sensors + sensor_count.min(most[1]))
        .map(|register| block.celsius(register).flatten())
        .collect();
    fields.insert("temperatures_c".to_owned(), json!(celsius));
}

fn show_state(block: &Block, state: u16, current: u16, fields: &mut Map<String, Value>) {
    if let Some(raw) = block.at(state) {
        let text = match raw {
            0 => "idle".to_owned(),
            1 => "charging".to_owned(),
            2 => "discharging".to_owned(),
            other => format!("unknown_{other}"),
        };
        fields.insert("state".to_owned(), json!(text));
    }
    if let Some(amps) = block.amps(current) {
        let sign = sign_of_current(amps, super::pack::state(block, state)).unwrap_or(CurrentSign::Normal);
        fields.insert("current_a_charge_positive".to_owned(), json!(sign.apply(amps).0));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_with_a_wrong_checksum_is_refused_with_the_reason() {
        let view = decode_wire(&[hex::decode("d203020001fc57").unwrap()]);
        assert_eq!(view["valid"], json!(false));
        assert_eq!(view["rejected_because"], json!(["its checksum does not match"]));
    }

    #[test]
    fn an_a5_frame_is_shown_as_on_the_uart() {
        let view = decode_wire(&[hex::decode("a50190080212000075300200f9").unwrap()]);
        assert_eq!((&view["voltage_v"], &view["valid"]), (&json!(53.0), &json!(true)));
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown_or_refused(pieces: Vec<Vec<u8>>) {
            let view = decode_wire(&pieces);
            prop_assert_eq!(view["valid"] == json!(true), view.get("rejected_frames").is_none());
        }

        #[test]
        fn any_registers_can_be_shown(unit in prop_oneof![Just(0xD2u8), Just(0x51)], values in proptest::collection::vec(any::<u16>(), 1..=125)) {
            let bytes = RegisterFrame::Registers { unit, values }.to_bytes();
            prop_assert_eq!(&decode_wire(&[bytes])["valid"], &json!(true));
        }
    }
}
