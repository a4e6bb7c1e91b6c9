//! A simulated foxBMS 2 of one string: broadcasts what releases of its dialect do, at their periods.
//!
//! Ten times a second the pack, its limits and one group of cells, five times a group of sensors, once the estimates.

use std::time::Duration;

use super::can::{CanReply, CanSide};
use super::device::HasPack;
use super::pack::SimPack;
use super::quantity::{Complaints, millivolts, to_i16, to_u16};
use crate::bms::foxbms::{Dialect, message};
use crate::can::{CanFrame, CanId};

const TICK: Duration = Duration::from_millis(100);
const TICKS_PER_SECOND: u32 = 10;

/// A BMS and its pack.
#[derive(Debug, Clone)]
pub struct FoxbmsSim {
    /// The pack behind it; may be changed at any time.
    pub pack: SimPack,
    dialect: Dialect,
    next: Duration,
    ticks: u32,
    cell_group: usize,
    sensor_group: usize,
}

impl FoxbmsSim {
    /// Puts a BMS in front of a pack; `Auto` counts as the newer release.
    pub const fn new(pack: SimPack, dialect: Dialect) -> Self {
        Self { pack, dialect, next: Duration::ZERO, ticks: 0, cell_group: 0, sensor_group: 0 }
    }

    fn is_newer(&self) -> bool {
        self.dialect != Dialect::V1_7
    }

    fn frame(&self, id: u16, values: &[(&str, i64)]) -> Option<CanFrame> {
        let dialect = if self.is_newer() { Dialect::V1_11 } else { Dialect::V1_7 };
        let message = message(id, dialect)?;
        let mut word = 0;
        for (name, raw) in values {
            message.signal(name)?.put(&mut word, *raw);
        }
        framed(id, word)
    }

    /// Everything that comes ten times a second.
    fn fast(&mut self) -> Vec<Option<CanFrame>> {
        let cells = millivolts(&self.pack);
        let extreme = |pick: Option<u16>| i64::from(pick.unwrap_or_default());
        let (max, min) = (extreme(cells.iter().copied().max()), extreme(cells.iter().copied().min()));
        let volts = steps(self.pack.volts(), 10.0);
        // Positive while discharging, as projects have it unless they changed it.
        let amps = steps(-self.pack.amps(), 100.0);
        let mut frames = vec![
            self.state(),
            self.frame(0x233, &[("BatteryVoltage", volts), ("BusVoltage", volts), ("Current", amps)]),
            self.string_state(),
            self.frame(0x231, &[("MaximumCellVoltage", max), ("MinimumCellVoltage", min)]),
            self.cells(&cells),
        ];
        if self.is_newer() {
            frames.push(self.frame(0x219, &[("State", 5)]));
        }
        frames
    }

    fn state(&self) -> Option<CanFrame> {
        let (charge, discharge) = self.pack.switches_closed();
        let state = match self.pack.amps() {
            _ if self.pack.is_idle() => 5,
            amps if amps > 0.0 => 9,
            _ => 8,
        };
        let connected = i64::from(charge && discharge);
        self.frame(0x220, &[("NumberOfConnectedStrings", connected), ("BmsState", state)])
    }

    fn string_state(&self) -> Option<CanFrame> {
        let found = Complaints::of(&self.pack);
        let bits = [
            ("OvervoltageMslError", found.overvoltage),
            ("UndervoltageMslError", found.undervoltage),
            ("VoltageSpreadPlausibilityError", found.imbalance),
            ("OvertemperatureDischargeMslError", found.hot),
            ("UndertemperatureDischargeMslErro", found.cold),
            ("IsBalancingActive", self.pack.balancing().contains(&true)),
        ];
        self.frame(0x240, &bits.map(|(name, set)| (name, i64::from(set))))
    }

    fn cells(&mut self, millivolts: &[u16]) -> Option<CanFrame> {
        let values: Vec<i64> = millivolts.iter().copied().map(i64::from).collect();
        group(0x250, 4, &mut self.cell_group, &values)
    }

    fn sensors(&mut self) -> Option<CanFrame> {
        let values: Vec<i64> = self.pack.celsius().into_iter().map(|celsius| steps(celsius, 1.0)).collect();
        group(0x260, 6, &mut self.sensor_group, &values)
    }

    fn estimates(&self) -> Option<CanFrame> {
        let soc = steps(self.pack.board_soc_percent(), 10.0);
        let soh = steps(self.pack.health_percent(), 2.0);
        self.frame(0x235, &[("MinimumSoc", soc), ("MaximumSoc", soc), ("Soh", soh)])
    }
}

fn framed(id: u16, word: u64) -> Option<CanFrame> {
    CanFrame::new(CanId::Standard(id), &word.to_be_bytes())
}

fn steps(value: f64, per_unit: f64) -> i64 {
    let scaled = value * per_unit;
    if scaled < 0.0 { i64::from(to_i16(scaled)) } else { i64::from(to_u16(scaled)) }
}

/// The next group of so many values; places past the last are not valid.
fn group(id: u16, size: usize, next: &mut usize, values: &[i64]) -> Option<CanFrame> {
    let (mux, places) = message(id, Dialect::V1_11)?.signals.split_first()?;
    let (flags, numbers) = places.split_at(size);
    let mut word = 0;
    mux.put(&mut word, i64::try_from(*next).ok()?);
    let slots = flags.iter().zip(numbers);
    for ((flag, number), value) in slots.zip(values.iter().skip(*next * size)) {
        flag.put(&mut word, 1);
        number.put(&mut word, *value);
    }
    *next = if (*next + 1) * size < values.len() { *next + 1 } else { 0 };
    framed(id, word)
}

impl CanSide for FoxbmsSim {
    fn next_broadcast(&self) -> Option<Duration> {
        Some(self.next)
    }

    fn broadcast(&mut self, now: Duration) -> CanReply {
        self.pack.advance_to(now);
        let mut frames = self.fast();
        if self.ticks.is_multiple_of(2) {
            frames.push(self.sensors());
        }
        if self.ticks.is_multiple_of(TICKS_PER_SECOND) {
            frames.push(self.estimates());
        }
        self.ticks = self.ticks.wrapping_add(1);
        // What was missed while the bus was closed is not made up for.
        self.next = (self.next + TICK).max(now);
        CanReply { frames: frames.into_iter().flatten().collect(), ..CanReply::default() }
    }
}

impl HasPack for FoxbmsSim {
    fn pack_mut(&mut self) -> &mut SimPack {
        &mut self.pack
    }
}
