//! A simulated Green BMS unit, as far as its firmware tells: pages, settings and cells, in lines.
//!
//! A real unit repeats the selected page every 400 ms until another is selected; this one says the page once, with the
//! pause of a unit in front, because a simulated device only speaks when it was spoken to.

use std::time::Duration;

use super::device::{DeviceSide, HasPack, Reply};
use super::pack::SimPack;
use crate::bms::green_bms::{Cell, CellFlag, Line, Overview, Page, Request};

/// How long a unit takes to come round to the selected page.
const ROUND: Duration = Duration::from_millis(400);
/// More than any command has.
const MAX_COMMAND_BYTES: usize = 32;

/// A unit and its pack.
#[derive(Debug, Clone)]
pub struct GreenSim {
    /// The pack behind the unit; may be changed at any time.
    pub pack: SimPack,
    heard: Vec<u8>,
    page: Page,
    tells_size: bool,
}

impl GreenSim {
    /// Puts a unit in front of a pack.
    pub fn new(pack: SimPack) -> Self {
        Self { pack, heard: Vec::new(), page: Page::None, tells_size: false }
    }

    /// Follows a command; a sign of life ends a request and is answered with the page.
    fn follow(&mut self, request: Request) -> Option<Reply> {
        match request {
            Request::Select(page) => self.page = page,
            Request::OverviewStatic(on) => self.tells_size = on,
            Request::KeepAlive(_) => return Some(self.say()),
            Request::AllSettings(_) | Request::TestCell(_) | Request::ResetCell(_) | Request::Write(..) => {}
        }
        None
    }

    fn say(&self) -> Reply {
        let (lines, measures) = match self.page {
            Page::Overview if self.tells_size => (vec![self.size()], false),
            Page::Overview => (vec![self.overview()], true),
            Page::Cells => (self.cells(), false),
            Page::None | Page::Connection | Page::Settings => (Vec::new(), false),
        };
        let frames = lines.iter().map(Line::to_bytes).collect();
        Reply { frames, measures, ends_cycle: measures, delay: ROUND, ..Reply::default() }
    }

    fn size(&self) -> Line {
        let cells = i32::try_from(self.pack.cell_volts().len()).unwrap_or(0);
        Line::Parameters(vec![(12, steps(self.pack.capacity_ah(), 1.0)), (14, cells)])
    }

    fn overview(&self) -> Line {
        let cells: Vec<i32> = self.pack.cell_volts().iter().map(|volts| steps(*volts, 100.0)).collect();
        let amps = self.pack.amps();
        Line::Overview(Overview {
            decivolts: steps(self.pack.volts(), 10.0),
            centiamps: steps(amps, 100.0),
            soc_percent: steps(self.pack.board_soc_percent(), 1.0),
            max_cell_centivolts: cells.iter().copied().max().unwrap_or(0),
            min_cell_centivolts: cells.iter().copied().min().unwrap_or(0),
            state: if amps >= 3.0 {
                1
            } else if amps <= -5.0 {
                2
            } else {
                0
            },
        })
    }

    fn cells(&self) -> Vec<Line> {
        let celsius = steps(self.pack.celsius().first().copied().unwrap_or(25.0), 1.0);
        let cells = self.pack.cell_volts();
        let cell = |index: usize| {
            let number = u8::try_from(index + 1).unwrap_or(u8::MAX);
            // The last line of an odd pack carries a cell that is not there.
            let volts = cells.get(index).copied().unwrap_or(0.0);
            let flags: &[CellFlag] = if volts > 3.6 { &[CellFlag::VeryHigh] } else { &[] };
            Cell::new(number, steps(volts, 100.0), [celsius, celsius], flags)
        };
        (0..cells.len()).step_by(2).map(|index| Line::Cells([cell(index), cell(index + 1)])).collect()
    }
}

fn steps(value: f64, per_unit: f64) -> i32 {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to what fits")]
    let steps = (value * per_unit).round().clamp(-1e6, 1e6) as i32;
    steps
}

impl HasPack for GreenSim {
    fn pack_mut(&mut self) -> &mut SimPack {
        &mut self.pack
    }
}

impl DeviceSide for GreenSim {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        self.pack.advance_to(now);
        let mut replies = Vec::new();
        for byte in bytes {
            match byte {
                b'\r' | b'\n' => {
                    let command = std::mem::take(&mut self.heard);
                    replies.extend(Request::parse(&command).and_then(|request| self.follow(request)));
                }
                byte if self.heard.len() < MAX_COMMAND_BYTES => self.heard.push(*byte),
                _ => {}
            }
        }
        replies
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::bms::Driver;
    use crate::sim::{PackConfig, Profile};

    fn sim(cells: u8) -> GreenSim {
        let mut pack = SimPack::new(PackConfig { cells, profile: Profile::Rest, ..PackConfig::default() });
        pack.set_current(12.0);
        GreenSim::new(pack)
    }

    #[test]
    fn a_poll_reads_the_pack_that_stands_behind_the_unit() {
        let (mut sim, mut poll, mut now) = (sim(7), Driver::Green.poll(), Duration::ZERO);
        poll.begin(now);
        for _ in 0..500 {
            if poll.is_done() {
                break;
            }
            if let Some(request) = poll.next_request(now) {
                for frame in sim.handle_input(&request, Duration::ZERO).into_iter().flat_map(|r| r.frames) {
                    poll.handle_input(&frame, now);
                }
            } else {
                now = now.max(poll.poll_timeout().unwrap());
                poll.handle_timeout(now);
            }
        }
        let reading = poll.finish().unwrap();
        assert!((reading.pack_voltage.unwrap().0 - sim.pack.volts()).abs() <= 0.051);
        assert!((reading.pack_current.unwrap().0 - 12.0).abs() <= 0.5);
        assert_eq!(reading.cell_voltages.len(), 7);
        for (read, volts) in reading.cell_voltages.iter().flatten().zip(sim.pack.cell_volts()) {
            assert!((f64::from(read.0) - volts * 1000.0).abs() <= 5.1);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            prop_assert!(sim(4).handle_input(&bytes, Duration::ZERO).len() <= bytes.len());
        }
    }
}
