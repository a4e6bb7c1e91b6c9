//! The keys of a device section that belong to its type: one function a vendor, picked by `type`.
//!
//! A key of another type is an unknown key here, so that a setting that has no effect is a mistake.

use voltree_protocols::bms::Driver;
use voltree_protocols::bms::daly_bluetooth::{RegisterConfig, RegisterDialect};
use voltree_protocols::bms::daly_uart::{Board, CurrentSign, DalyConfig};
use voltree_protocols::bms::foxbms::{DbcTable, Dialect, FoxbmsConfig};
use voltree_protocols::bms::jbd::{JbdConfig, Secret};
use voltree_protocols::bms::libre_solar::ThingsetCanConfig;
use voltree_protocols::bms::modbus::{Encoding, MapConfig, MapField, MapRow, Table, WordOrder};
use voltree_protocols::bms::sunspec::SunspecConfig;
use voltree_protocols::bms::telecom::{Maker, TelecomConfig};

use super::reader::{Mistake, Section};

type ReadDriver = fn(&mut Section, &mut Vec<Mistake>) -> Driver;

/// The types of batteries.
#[rustfmt::skip]
const TYPES: &[(&str, ReadDriver)] = &[
    ("daly_bms", daly),
    ("foxbms", foxbms),
    ("green_bms", |_, _| Driver::Green),
    ("jbd_bms", jbd),
    ("jk_bms", |_, _| Driver::Jk),
    ("libre_solar", libre_solar),
    ("modbus_bms", modbus),
    ("pylontech_bms", |section, mistakes| telecom(Maker::Pylontech, section, mistakes)),
    ("seplos_bms", |section, mistakes| telecom(Maker::Seplos, section, mistakes)),
    ("sunspec_bms", sunspec),
];

/// Whether a reading's current is to be turned around, for types that know the sign of their own wire: a shunt may be
/// wired the wrong way round all the same.
pub(super) fn reads_inverted(section: &mut Section, mistakes: &mut Vec<Mistake>) -> bool {
    sign(section, mistakes) == CurrentSign::Inverted
}

/// Reads the type and what belongs to it.
pub(super) fn read_driver(section: &mut Section, mistakes: &mut Vec<Mistake>) -> Option<Driver> {
    let read = section.choice("type", TYPES, mistakes)?;
    Some(read(section, mistakes))
}

fn daly(section: &mut Section, mistakes: &mut Vec<Mistake>) -> Driver {
    let board = section.whole("board", 1..=31, mistakes).and_then(|board| u8::try_from(board).ok());
    let board = board.and_then(|board| Board::new(board).ok()).unwrap_or(Board::FIRST);
    let current_sign = sign(section, mistakes);
    let protocols = [
        ("a5", None),
        ("registers", Some(None)),
        ("d2", Some(Some(RegisterDialect::D2))),
        ("p81", Some(Some(RegisterDialect::P81))),
    ];
    match section.choice("protocol", &protocols, mistakes).flatten() {
        Some(dialect) => Driver::DalyRegisters(RegisterConfig { dialect, current_sign }),
        None => Driver::Daly(DalyConfig { board, current_sign, ..DalyConfig::default() }),
    }
}

fn foxbms(section: &mut Section, mistakes: &mut Vec<Mistake>) -> Driver {
    let dialects = [("auto", Dialect::Auto), ("v1_7", Dialect::V1_7), ("v1_11", Dialect::V1_11)];
    let dialect = section.choice("dialect", &dialects, mistakes).unwrap_or_default();
    let positive_is_discharge = sign(section, mistakes) != CurrentSign::Inverted;
    let dbc = section.checked(
        "dbc",
        |path| {
            let text =
                std::fs::read_to_string(path).map_err(|error| format!("{path} can't be read: {error}"))?;
            DbcTable::parse(&text).map_err(|error| format!("{path} can't be used: {error}"))
        },
        mistakes,
    );
    Driver::Foxbms(FoxbmsConfig { dialect, positive_is_discharge, dbc: dbc.map(Box::new) })
}

/// Newer boards want six digits over Bluetooth.
fn jbd(section: &mut Section, mistakes: &mut Vec<Mistake>) -> Driver {
    let secret = section.checked(
        "secret",
        |text| {
            let digits = text.as_bytes().first_chunk::<6>().filter(|_| text.len() == 6);
            let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_digit));
            digits.map(|digits| Secret(*digits)).ok_or_else(|| "must be six digits in quotes".to_owned())
        },
        mistakes,
    );
    Driver::Jbd(JbdConfig { secret })
}

/// Only on a bus do boards have addresses.
fn libre_solar(section: &mut Section, mistakes: &mut Vec<Mistake>) -> Driver {
    match section.whole("node", 1..=253, mistakes).and_then(|node| u8::try_from(node).ok()) {
        Some(node) => Driver::LibreSolarCan(ThingsetCanConfig { node: Some(node) }),
        None => Driver::LibreSolar,
    }
}

fn sign(section: &mut Section, mistakes: &mut Vec<Mistake>) -> CurrentSign {
    let signs =
        [("auto", CurrentSign::Auto), ("normal", CurrentSign::Normal), ("inverted", CurrentSign::Inverted)];
    section.choice("current_sign", &signs, mistakes).unwrap_or(CurrentSign::Auto)
}

/// The address of a Modbus device; 0 is everybody and above 247 is nobody.
fn unit(section: &mut Section, mistakes: &mut Vec<Mistake>) -> u8 {
    let unit = section.whole("unit", 1..=247, mistakes).and_then(|unit| u8::try_from(unit).ok());
    unit.unwrap_or(1)
}

fn sunspec(section: &mut Section, mistakes: &mut Vec<Mistake>) -> Driver {
    Driver::Sunspec(SunspecConfig { unit: unit(section, mistakes), current_sign: sign(section, mistakes) })
}

fn modbus(section: &mut Section, mistakes: &mut Vec<Mistake>) -> Driver {
    let unit = unit(section, mistakes);
    let tables = [("holding", Table::Holding), ("input", Table::Input)];
    let table = section.choice("table", &tables, mistakes).unwrap_or(Table::Holding);
    section.required(&["registers"], mistakes);
    let mut rows: Vec<MapRow> = Vec::new();
    for mut row in section.sections("registers", mistakes) {
        if let Some(read) = map_row(&mut row, mistakes) {
            if rows.iter().any(|other| other.field == read.field) {
                row.mistake("field", "is read by an earlier row", mistakes);
            }
            rows.push(read);
        }
        row.finish(mistakes);
    }
    Driver::Modbus(MapConfig { unit, table, rows })
}

fn map_row(row: &mut Section, mistakes: &mut Vec<Mistake>) -> Option<MapRow> {
    row.required(&["register", "type", "field"], mistakes);
    let encodings = [
        ("u16", Encoding::U16),
        ("i16", Encoding::I16),
        ("u32", Encoding::U32),
        ("i32", Encoding::I32),
        ("f32", Encoding::F32),
    ];
    let orders = [("high_first", WordOrder::HighFirst), ("low_first", WordOrder::LowFirst)];
    let field = |text: &str| {
        MapField::named(text).ok_or_else(|| {
            format!("{text:?} is no field such as pack_voltage, soc_percent, cell_voltage_1, temperature_1")
        })
    };
    let register = row.whole("register", 0..=u64::from(u16::MAX), mistakes);
    let encoding = row.choice("type", &encodings, mistakes);
    let word_order = row.choice("word_order", &orders, mistakes).unwrap_or_default();
    let scale = row.number("scale", -1e9..=1e9, mistakes).unwrap_or(1.0);
    let offset = row.number("offset", -1e9..=1e9, mistakes).unwrap_or(0.0);
    let none = row.whole("not_implemented", 0..=u64::from(u32::MAX), mistakes);
    let field = row.checked("field", field, mistakes);
    Some(MapRow {
        register: register.and_then(|register| u16::try_from(register).ok())?,
        encoding: encoding?,
        word_order,
        scale,
        offset,
        field: field?,
        not_implemented: none.and_then(|none| u32::try_from(none).ok()),
    })
}

fn telecom(maker: Maker, section: &mut Section, mistakes: &mut Vec<Mistake>) -> Driver {
    let address = section.whole("address", 0..=255, mistakes).and_then(|address| u8::try_from(address).ok());
    Driver::Telecom(TelecomConfig { maker, address: address.unwrap_or(maker.first_address()) })
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError};

    use super::*;

    fn driver(keys: &str) -> Result<Driver, Vec<String>> {
        driver_on("/dev/ttyUSB0", keys)
    }

    fn driver_on(port: &str, keys: &str) -> Result<Driver, Vec<String>> {
        let text = format!("[[device]]\nid = \"a\"\nport = {port:?}\n{keys}");
        match Config::parse(&text) {
            Ok(config) => Ok(config.packs[0].driver.clone()),
            Err(ConfigError::Mistakes(mistakes)) => Err(mistakes.iter().map(ToString::to_string).collect()),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn every_type_that_a_driver_has_can_be_configured() {
        for kind in Driver::KINDS {
            let port = if kind == "foxbms" { "can://can0" } else { "/dev/ttyUSB0" };
            let registers = if kind == "modbus_bms" { "registers = []" } else { "" };
            let driver = driver_on(port, &format!("type = {kind:?}\n{registers}"));
            assert_eq!(driver.unwrap().kind(), kind);
        }
    }

    #[test]
    fn a_key_of_another_type_is_unknown() {
        assert_eq!(driver("type = \"jk_bms\"\nboard = 2\n").unwrap_err(), ["device[0].board: unknown key"]);
    }

    #[test]
    fn what_a_maker_speaks_depends_on_the_wire() {
        let on = |port, keys| driver_on(port, keys).unwrap();
        let bus = "slcan:///dev/ttyACM0?bitrate=250000";
        assert!(
            matches!(on(bus, "type = \"daly_bms\"\nboard = 2"), Driver::DalyCan(config) if config.board.number() == 2)
        );
        let registers = on("/dev/ttyUSB0", "type = \"daly_bms\"\nprotocol = \"p81\"");
        assert!(
            matches!(registers, Driver::DalyRegisters(config) if config.dialect == Some(RegisterDialect::P81))
        );
        assert_eq!(on("/dev/ttyUSB0", "type = \"libre_solar\""), Driver::LibreSolar);
        let node = |node| Driver::LibreSolarCan(ThingsetCanConfig { node });
        assert_eq!(on(bus, "type = \"libre_solar\""), node(None));
        assert_eq!(on(bus, "type = \"libre_solar\"\nnode = 7"), node(Some(7)));
        for (port, keys) in [
            ("/dev/ttyUSB0", "type = \"foxbms\""),
            (bus, "type = \"jk_bms\""),
            ("/dev/ttyUSB0", "type = \"libre_solar\"\nnode = 7"),
        ] {
            let mistakes = driver_on(port, keys).unwrap_err();
            assert!(mistakes[0].contains("does not carry"), "{mistakes:?}");
        }
    }

    #[test]
    fn the_first_pack_has_the_makers_first_address() {
        let address = |keys| {
            let Driver::Telecom(config) = driver(keys).unwrap() else { panic!("{keys} is another driver") };
            config.address
        };
        assert_eq!(address("type = \"pylontech_bms\""), 2);
        assert_eq!(address("type = \"seplos_bms\"\naddress = 5"), 5);
    }

    #[test]
    fn registers_are_rows_and_their_mistakes_are_named() {
        let row = "{ register = 100, type = \"i16\", scale = 0.1, field = \"pack_current\", not_implemented = 0x8000 }";
        let Driver::Modbus(config) =
            driver(&format!("type = \"modbus_bms\"\nunit = 7\nregisters = [{row}]")).unwrap()
        else {
            panic!("modbus_bms is a Modbus driver")
        };
        assert_eq!((config.unit, config.rows.len(), config.rows[0].not_implemented), (7, 1, Some(0x8000)));
        let bad = "type = \"modbus_bms\"\nregisters = [{ register = 1, type = \"u8\", field = \"volts\", size = 2 }]";
        let expected = [
            "device[0].registers[0].type: \"u8\" is none of: u16, i16, u32, i32, f32",
            "device[0].registers[0].field: \"volts\" is no field such as pack_voltage, soc_percent, cell_voltage_1, temperature_1",
            "device[0].registers[0].size: unknown key",
        ];
        assert_eq!(driver(bad).unwrap_err(), expected);
        let twice = driver(&format!("type = \"modbus_bms\"\nregisters = [{row}, {row}]")).unwrap_err();
        assert_eq!(twice, ["device[0].registers[1].field: is read by an earlier row"]);
    }
}
