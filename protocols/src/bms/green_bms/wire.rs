//! The wire's own view of Green BMS lines.

use serde_json::{Map, Value, json};

use super::line::{Cell, CellFlag, Line, LineFraming, Overview};
use super::parameter;
use super::request::Request;
use crate::bms::wire_view::WireView;

/// The names of a cell's flags, in the order of the wire.
const FLAG_NAMES: [&str; 6] = [
    "very_high",
    "balancing",
    "low",
    "comm_or_range_error",
    "pole_overtemperature",
    "balance_resistor_overtemperature",
];

/// What stands in several lines and is shown as one.
#[derive(Default)]
struct Collected {
    cells: Map<String, Value>,
    parameters: Map<String, Value>,
}

/// Shows lines as one object. Each piece is one line, a command, or a stretch of a stream with anything around its lines.
pub fn decode_wire(pieces: &[Vec<u8>]) -> Value {
    let mut view = WireView::default();
    let mut collected = Collected::default();
    for piece in pieces {
        match Request::parse(piece) {
            Some(request) => view.add_request(show_request(request)),
            None => {
                for line in view.frames(LineFraming, piece) {
                    view.show(show_line(&line, &mut collected));
                }
            }
        }
    }
    for (name, map) in [("cells", collected.cells), ("params", collected.parameters)] {
        if !map.is_empty() {
            view.show(json!({ name: map }));
        }
    }
    view.finish()
}

fn show_request(request: Request) -> Value {
    let mut shown = match request {
        Request::Select(page) => json!({ "page": page.number() }),
        Request::OverviewStatic(on) => json!({ "overview_static": on }),
        Request::AllSettings(on) => json!({ "all_settings": on }),
        Request::KeepAlive(counter) => json!({ "keep_alive_counter": counter }),
        Request::TestCell(cell) => json!({ "test_cell": cell }),
        Request::ResetCell(cell) => json!({ "reset_cell": cell }),
        Request::Write(parameter::PASSWORD, _) => json!({ "password_given": true }),
        Request::Write(parameter, value) => json!({ "write_params": { format!("{parameter:03}"): value } }),
    };
    shown["direction"] = json!("host_to_bms");
    shown
}

fn show_line(line: &Line, collected: &mut Collected) -> Value {
    match line {
        Line::Heartbeat { counter, alarm } => json!({ "heartbeat_counter": counter, "alarm": alarm }),
        Line::Overview(overview) => show_overview(overview),
        Line::Cells(cells) => {
            collected.cells.extend(cells.iter().map(|cell| (cell.number.to_string(), show_cell(cell))));
            json!({})
        }
        Line::Parameters(values) => {
            collected.parameters.extend(values.iter().map(|(id, value)| (format!("{id:03}"), json!(value))));
            json!({})
        }
        Line::Password => json!({ "password_told": true }),
        Line::EndOfSettings => json!({ "end_of_settings": true }),
        Line::KeepAlive => json!({ "keep_alive_asked": true }),
    }
}

fn show_overview(overview: &Overview) -> Value {
    let state = match overview.state {
        0 => "idle",
        1 => "charging",
        _ => "discharging",
    };
    json!({
        "voltage_v": f64::from(overview.decivolts) / 10.0,
        "current_a_charge_positive": f64::from(overview.centiamps) / 100.0,
        "soc_pct": overview.soc_percent,
        "max_cell_voltage_v": f64::from(overview.max_cell_centivolts) / 100.0,
        "min_cell_voltage_v": f64::from(overview.min_cell_centivolts) / 100.0,
        "state": state,
    })
}

fn show_cell(cell: &Cell) -> Value {
    let mut shown = json!({
        "voltage_v": f64::from(cell.centivolts) / 100.0,
        "pole_temperature_c": cell.pole_celsius,
        "balance_resistor_temperature_c": cell.resistor_celsius,
    });
    for (flag, name) in CellFlag::ALL.into_iter().zip(FLAG_NAMES) {
        shown[name] = json!(cell.has(flag));
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let view = decode_wire(&[b"$#p0024711$\r\n".to_vec(), b"#p0024711\r".to_vec()]);
        assert_eq!((&view["password_told"], &view["password_given"]), (&json!(true), &json!(true)));
        assert!(!view.to_string().contains("4711"), "{view}");
    }

    #[test]
    fn a_line_with_a_value_that_is_no_number_is_refused_with_the_reason() {
        let view = decode_wire(&[b"$#i00017$#i0012$\r\n".to_vec()]);
        assert_eq!(view["valid"], json!(false));
        assert_eq!(view["rejected_because"], json!(["a fixed byte is wrong"]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_shown_or_refused(pieces: Vec<Vec<u8>>) {
            let view = decode_wire(&pieces);
            prop_assert_eq!(view["valid"] == json!(true), view.get("rejected_frames").is_none());
        }

        #[test]
        fn any_text_is_shown_or_refused(text in "([$#0-9a-z.\\-]|\\$#[givtuzp]00[0-6]|\r\n){0,60}") {
            let view = decode_wire(&[text.into_bytes()]);
            prop_assert_eq!(view["valid"] == json!(true), view.get("rejected_frames").is_none());
        }
    }
}
