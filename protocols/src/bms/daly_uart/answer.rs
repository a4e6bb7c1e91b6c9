//! Answers: what the eight data bytes of a board's frame mean, in wire units, and back into bytes for simulated boards.
//!
//! Nothing is judged here: out-of-range values pass through as they were sent. Bytes that an answer does not define
//! are ignored when reading and zero when writing.

use serde::{Deserialize, Serialize};

use super::{Frame, command};

/// 0x90: the pack as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackAnswer {
    /// Terminal voltage, 0.1 V.
    pub voltage_raw: u16,
    /// Voltage by another way of measuring, 0.1 V; most boards leave it 0.
    pub gather_voltage_raw: u16,
    /// Current, 0.1 A above 30000. Which direction is positive differs between boards.
    pub current_raw: u16,
    /// State of charge, 0.1 %.
    pub soc_raw: u16,
}

impl PackAnswer {
    /// The raw current of no current.
    pub const ZERO_CURRENT_RAW: u16 = 30_000;

    /// The current as sent, in amperes, with the board's own idea of its sign.
    pub fn wire_amps(&self) -> f64 {
        (f64::from(self.current_raw) - f64::from(Self::ZERO_CURRENT_RAW)) / 10.0
    }

    /// The terminal voltage in volts.
    pub fn volts(&self) -> f64 {
        f64::from(self.voltage_raw) / 10.0
    }

    /// The state of charge in percent.
    pub fn soc_percent(&self) -> f64 {
        f64::from(self.soc_raw) / 10.0
    }
}

/// 0x91: the highest and lowest cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellExtremesAnswer {
    /// Highest voltage, mV.
    pub max_mv: u16,
    /// The cell that has it, from 1.
    pub max_cell: u8,
    /// Lowest voltage, mV.
    pub min_mv: u16,
    /// The cell that has it, from 1.
    pub min_cell: u8,
}

/// 0x92: the highest and lowest temperature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemperatureExtremesAnswer {
    /// Highest, °C above −40.
    pub max_raw: u8,
    /// The sensor that has it, from 1.
    pub max_sensor: u8,
    /// Lowest, °C above −40.
    pub min_raw: u8,
    /// The sensor that has it, from 1.
    pub min_sensor: u8,
}

/// 0x93: state, switches and what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwitchesAnswer {
    /// 0 idle, 1 charging, 2 discharging.
    pub state_raw: u8,
    /// The charge switch is closed.
    pub charge_closed: bool,
    /// The discharge switch is closed.
    pub discharge_closed: bool,
    /// Counts up and wraps while the board is alive.
    pub life: u8,
    /// Charge left, mAh.
    pub remaining_mah: u32,
}

/// 0x94: what the board consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusAnswer {
    /// Cells in series.
    pub cells: u8,
    /// Temperature sensors.
    pub sensors: u8,
    /// A charger is connected.
    pub charger: bool,
    /// A load is connected.
    pub load: bool,
    /// Digital inputs in the low, outputs in the high half.
    pub dio_bits: u8,
    /// Full cycles so far.
    pub cycles: u16,
    /// The board's own temperature on some firmware, else left over from an earlier answer.
    pub byte7: u8,
}

/// 0x95: three cells of several frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellsAnswer {
    /// Which frame this is.
    pub number: u8,
    /// Its three cells, mV.
    pub millivolts: [u16; 3],
}

/// 0x96: seven temperatures of several frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TemperaturesAnswer {
    /// Which frame this is.
    pub number: u8,
    /// Its seven sensors, °C above −40.
    pub raw: [u8; 7],
}

/// 0x97: cells being balanced, a bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalanceAnswer {
    /// Cell 1 is the lowest bit of the first byte.
    pub bits: [u8; 6],
}

impl BalanceAnswer {
    /// The cells whose bit is set, from 1.
    pub fn cells(&self) -> Vec<u8> {
        (0..48u8).filter(|n| self.bits[usize::from(n / 8)] & (1 << (n % 8)) != 0).map(|n| n + 1).collect()
    }
}

/// 0x98: alarms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultsAnswer {
    /// A bit an alarm, see [`FAULT_BITS`](super::FAULT_BITS).
    pub bits: [u8; 7],
    /// The board's numeric fault code, 0 for none.
    pub code: u8,
}

/// Any answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// 0x90.
    Pack(PackAnswer),
    /// 0x91.
    CellExtremes(CellExtremesAnswer),
    /// 0x92.
    TemperatureExtremes(TemperatureExtremesAnswer),
    /// 0x93.
    Switches(SwitchesAnswer),
    /// 0x94.
    Status(StatusAnswer),
    /// 0x95.
    Cells(CellsAnswer),
    /// 0x96.
    Temperatures(TemperaturesAnswer),
    /// 0x97.
    Balance(BalanceAnswer),
    /// 0x98.
    Faults(FaultsAnswer),
    /// Every other command, its bytes untouched.
    Other {
        /// The command.
        command: u8,
        /// The data.
        data: [u8; 8],
    },
}

impl Answer {
    /// Gives the bytes their names.
    pub fn decode(frame: &Frame) -> Self {
        let data = frame.data;
        let [d0, d1, d2, d3, d4, d5, d6, d7] = data;
        let word = |high, low| u16::from_be_bytes([high, low]);
        match frame.command {
            command::PACK => Self::Pack(PackAnswer {
                voltage_raw: word(d0, d1),
                gather_voltage_raw: word(d2, d3),
                current_raw: word(d4, d5),
                soc_raw: word(d6, d7),
            }),
            command::CELL_EXTREMES => Self::CellExtremes(CellExtremesAnswer {
                max_mv: word(d0, d1),
                max_cell: d2,
                min_mv: word(d3, d4),
                min_cell: d5,
            }),
            command::TEMPERATURE_EXTREMES => Self::TemperatureExtremes(TemperatureExtremesAnswer {
                max_raw: d0,
                max_sensor: d1,
                min_raw: d2,
                min_sensor: d3,
            }),
            command::SWITCHES => Self::Switches(SwitchesAnswer {
                state_raw: d0,
                charge_closed: d1 != 0,
                discharge_closed: d2 != 0,
                life: d3,
                remaining_mah: u32::from_be_bytes([d4, d5, d6, d7]),
            }),
            command::STATUS => Self::Status(StatusAnswer {
                cells: d0,
                sensors: d1,
                charger: d2 != 0,
                load: d3 != 0,
                dio_bits: d4,
                cycles: word(d5, d6),
                byte7: d7,
            }),
            command::CELLS => Self::Cells(CellsAnswer {
                number: d0,
                millivolts: [word(d1, d2), word(d3, d4), word(d5, d6)],
            }),
            command::TEMPERATURES => {
                Self::Temperatures(TemperaturesAnswer { number: d0, raw: [d1, d2, d3, d4, d5, d6, d7] })
            }
            command::BALANCE => Self::Balance(BalanceAnswer { bits: [d0, d1, d2, d3, d4, d5] }),
            command::FAULTS => Self::Faults(FaultsAnswer { bits: [d0, d1, d2, d3, d4, d5, d6], code: d7 }),
            command => Self::Other { command, data },
        }
    }

    /// The command that this answers.
    pub const fn command(&self) -> u8 {
        match self {
            Self::Pack(_) => command::PACK,
            Self::CellExtremes(_) => command::CELL_EXTREMES,
            Self::TemperatureExtremes(_) => command::TEMPERATURE_EXTREMES,
            Self::Switches(_) => command::SWITCHES,
            Self::Status(_) => command::STATUS,
            Self::Cells(_) => command::CELLS,
            Self::Temperatures(_) => command::TEMPERATURES,
            Self::Balance(_) => command::BALANCE,
            Self::Faults(_) => command::FAULTS,
            Self::Other { command, .. } => *command,
        }
    }

    /// Puts the answer into a frame, as a board at `address` would.
    pub fn encode(&self, address: u8) -> Frame {
        Frame { address, command: self.command(), data: self.data() }
    }

    fn data(&self) -> [u8; 8] {
        match *self {
            Self::Pack(a) => join([a.voltage_raw, a.gather_voltage_raw, a.current_raw, a.soc_raw]),
            Self::CellExtremes(a) => {
                let ([max0, max1], [min0, min1]) = (a.max_mv.to_be_bytes(), a.min_mv.to_be_bytes());
                [max0, max1, a.max_cell, min0, min1, a.min_cell, 0, 0]
            }
            Self::TemperatureExtremes(a) => [a.max_raw, a.max_sensor, a.min_raw, a.min_sensor, 0, 0, 0, 0],
            Self::Switches(a) => {
                let [c0, c1, c2, c3] = a.remaining_mah.to_be_bytes();
                [a.state_raw, u8::from(a.charge_closed), u8::from(a.discharge_closed), a.life, c0, c1, c2, c3]
            }
            Self::Status(a) => {
                let [c0, c1] = a.cycles.to_be_bytes();
                [a.cells, a.sensors, u8::from(a.charger), u8::from(a.load), a.dio_bits, c0, c1, a.byte7]
            }
            Self::Cells(a) => {
                let [[a0, a1], [b0, b1], [c0, c1]] = a.millivolts.map(u16::to_be_bytes);
                [a.number, a0, a1, b0, b1, c0, c1, 0]
            }
            Self::Temperatures(a) => {
                let [t0, t1, t2, t3, t4, t5, t6] = a.raw;
                [a.number, t0, t1, t2, t3, t4, t5, t6]
            }
            Self::Balance(a) => {
                let [b0, b1, b2, b3, b4, b5] = a.bits;
                [b0, b1, b2, b3, b4, b5, 0, 0]
            }
            Self::Faults(a) => {
                let [b0, b1, b2, b3, b4, b5, b6] = a.bits;
                [b0, b1, b2, b3, b4, b5, b6, a.code]
            }
            Self::Other { data, .. } => data,
        }
    }
}

fn join(words: [u16; 4]) -> [u8; 8] {
    let [[a0, a1], [b0, b1], [c0, c1], [d0, d1]] = words.map(u16::to_be_bytes);
    [a0, a1, b0, b1, c0, c1, d0, d1]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn balancing_bits_count_from_the_low_end_of_the_first_byte() {
        let answer = BalanceAnswer { bits: [0x01, 0x80, 0, 0, 0, 0x80] };
        assert_eq!(answer.cells(), [1, 16, 48]);
    }

    proptest! {
        #[test]
        fn an_answer_survives_its_frame(command in prop_oneof![0x90u8..=0x98, any::<u8>()], data: [u8; 8], address in 1u8..32) {
            let answer = Answer::decode(&Frame { address, command, data });
            let frame = answer.encode(address);
            prop_assert_eq!(frame.command, command);
            prop_assert_eq!(Answer::decode(&frame), answer);
        }
    }
}
