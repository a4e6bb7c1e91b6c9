//! The keys of a device section that belong to its type: one function a vendor, picked by `type`.
//!
//! A key of another type is an unknown key here, so that a setting that has no effect is a mistake.

use voltree_protocols::bms::Driver;
use voltree_protocols::bms::daly_uart::{Board, CurrentSign, DalyConfig};
use voltree_protocols::bms::jbd::JbdConfig;

use super::reader::{Mistake, Section};

type ReadDriver = fn(&mut Section, &mut Vec<Mistake>) -> Driver;

/// The types of devices on serial ports.
#[rustfmt::skip]
const TYPES: &[(&str, ReadDriver)] = &[
    ("daly_bms", daly),
    ("jbd_bms", |_, _| Driver::Jbd(JbdConfig::default())),
    ("jk_bms", |_, _| Driver::Jk),
];

/// Reads the type and what belongs to it.
pub(super) fn read_driver(section: &mut Section, mistakes: &mut Vec<Mistake>) -> Option<Driver> {
    let read = section.choice("type", TYPES, mistakes)?;
    Some(read(section, mistakes))
}

fn daly(section: &mut Section, mistakes: &mut Vec<Mistake>) -> Driver {
    let board = section.whole("board", 1..=31, mistakes).and_then(|board| u8::try_from(board).ok());
    let board = board.and_then(|board| Board::new(board).ok()).unwrap_or(Board::FIRST);
    let signs =
        [("auto", CurrentSign::Auto), ("normal", CurrentSign::Normal), ("inverted", CurrentSign::Inverted)];
    let current_sign = section.choice("current_sign", &signs, mistakes).unwrap_or(CurrentSign::Auto);
    Driver::Daly(DalyConfig { board, current_sign, ..DalyConfig::default() })
}
