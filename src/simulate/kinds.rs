//! Which boards can be simulated, and what stands in front of their packs.

use std::fmt;
use std::sync::Arc;

use clap::ValueEnum;
use parking_lot::Mutex;
use voltree_protocols::bms::daly_bluetooth::RegisterDialect;
use voltree_protocols::bms::daly_uart::{Board, CurrentSign};
use voltree_protocols::bms::foxbms::Dialect;
use voltree_protocols::bms::telecom::Maker;
use voltree_protocols::bms::{green_bms, jbd, jk, libre_solar};
use voltree_protocols::sim::{
    Bus, CanSide, DalyCanSim, DalyRegistersSim, DalySim, DeviceSide, FoxbmsSim, GreenSim, HasPack, JbdSim,
    JkSim, LibreSolarCanSim, LibreSolarSim, SimPack, SunspecSim, TelecomSim,
};

use super::battery::Packs;

/// What a simulated Daly board speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DalyProtocol {
    /// The classic frames that begin with A5.
    A5,
    /// Registers at unit D2.
    D2,
    /// Registers at unit 81.
    P81,
}

/// A board and what it can be told.
#[derive(Debug)]
pub(super) enum Kind {
    Daly { boards: u8, protocol: DalyProtocol },
    Foxbms(Dialect),
    Green,
    Jbd,
    Jk,
    LibreSolar,
    Telecom(Maker, u8),
    Sunspec { unit: u8 },
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Daly { .. } => "Daly",
            Self::Foxbms(_) => "foxBMS 2",
            Self::Green => "Green BMS",
            Self::Jbd => "JBD",
            Self::Jk => "JK",
            Self::LibreSolar => "Libre Solar",
            Self::Telecom(Maker::Pylontech, _) => "Pylontech",
            Self::Telecom(Maker::Seplos, _) => "Seplos",
            Self::Sunspec { .. } => "SunSpec",
        })
    }
}

/// A device by what its wire must carry.
pub(super) enum Side {
    Bytes(Box<dyn DeviceSide>),
    Modbus(Box<dyn DeviceSide>),
    Can(Box<dyn CanSide>),
}

/// The node address of a simulated Libre Solar board.
const NODE: u8 = 1;
/// Where simulated SunSpec devices begin their registers.
const BASE: u16 = 40_000;

fn bytes<D: DeviceSide + HasPack + 'static>(device: D) -> (Packs, Side) {
    let device = Arc::new(Mutex::new(device));
    (vec![Arc::clone(&device) as _], Side::Bytes(Box::new(device)))
}

fn can<D: CanSide + HasPack + 'static>(device: D) -> (Packs, Side) {
    let device = Arc::new(Mutex::new(device));
    (vec![Arc::clone(&device) as _], Side::Can(Box::new(device)))
}

impl Kind {
    /// The speed that such boards come with.
    pub(super) const fn usual_baud(&self) -> u32 {
        match self {
            Self::Daly { .. } | Self::Foxbms(_) | Self::Sunspec { .. } => 9600,
            Self::Green => green_bms::BAUD,
            Self::Jbd => jbd::BAUD,
            Self::Jk => jk::BAUD,
            Self::LibreSolar => libre_solar::BAUD,
            Self::Telecom(maker, _) => maker.default_baud(),
        }
    }

    /// Puts boards in front of packs, which are numbered from 1.
    pub(super) fn make(&self, on_bus: bool, pack: impl Fn(u8) -> SimPack) -> anyhow::Result<(Packs, Side)> {
        Ok(match *self {
            Self::Daly { boards, protocol: DalyProtocol::A5 } if !on_bus => daly(boards, pack)?,
            Self::Daly { protocol: DalyProtocol::A5, .. } => {
                can(DalyCanSim::new(pack(1), Board::FIRST, CurrentSign::Normal))
            }
            Self::Daly { protocol: DalyProtocol::D2, .. } => {
                bytes(DalyRegistersSim::new(pack(1), RegisterDialect::D2, CurrentSign::Normal))
            }
            Self::Daly { protocol: DalyProtocol::P81, .. } => {
                bytes(DalyRegistersSim::new(pack(1), RegisterDialect::P81, CurrentSign::Normal))
            }
            Self::Foxbms(dialect) => can(FoxbmsSim::new(pack(1), dialect)),
            Self::Green => bytes(GreenSim::new(pack(1))),
            Self::Jbd => bytes(JbdSim::new(pack(1))),
            Self::Jk => bytes(JkSim::new(pack(1))),
            Self::LibreSolar if on_bus => can(LibreSolarCanSim::new(pack(1), NODE)),
            Self::LibreSolar => bytes(LibreSolarSim::new(pack(1))),
            Self::Telecom(maker, address) => bytes(TelecomSim::new(pack(1), maker, address)),
            Self::Sunspec { unit } => {
                let sim = SunspecSim::new(pack(1), unit, BASE, CurrentSign::Normal);
                let sim = Arc::new(Mutex::new(sim));
                (vec![Arc::clone(&sim) as _], Side::Modbus(Box::new(sim)))
            }
        })
    }
}

/// Several boards on one line.
fn daly(boards: u8, pack: impl Fn(u8) -> SimPack) -> anyhow::Result<(Packs, Side)> {
    let mut line = Vec::new();
    for number in 1..=boards {
        let board = DalySim::new(pack(number), Board::new(number)?, CurrentSign::Normal);
        line.push(Arc::new(Mutex::new(board)));
    }
    let packs = line.iter().map(|board| Arc::clone(board) as _).collect();
    Ok((packs, Side::Bytes(Box::new(Bus::new(line)))))
}
