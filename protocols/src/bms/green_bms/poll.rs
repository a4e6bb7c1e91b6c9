//! The conversation: how many cells there are, the pack at a glance, and now and then every cell.
//!
//! A unit talks about the page that was selected last, one line each 400 ms, so a page is selected and listened to until
//! it has said all. Every request carries a number that changes, or the unit falls silent after 15 s.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;
use voltree_model::PackReading;

use super::line::{Line, LineFraming};
use super::request::{Page, Request};
use super::{GreenPack, parameter};
use crate::bms::dialogue::{Ask, Dialect, Dialogue, Heard, Timing};
use crate::bms::framing::{FrameStats, StreamDecoder};
use crate::codec::{BadMemory, learned, recall};

/// Polls a unit.
pub type GreenPoll = Dialogue<GreenDialect>;

/// Cells come two a line and cost seconds; they are asked for in every so many cycles.
const CYCLES_BETWEEN_CELLS: u32 = 30;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GreenQuestion {
    /// Capacity and cell count.
    Size,
    /// The pack at a glance.
    Overview,
    /// All cells.
    Cells,
}

/// The protocol.
#[derive(Debug, Clone, Default)]
pub struct GreenDialect {
    decoder: StreamDecoder<LineFraming>,
    pack: GreenPack,
    plan: VecDeque<GreenQuestion>,
    sign_of_life: u16,
    cycles: u32,
    cells_are_new: bool,
}

impl GreenDialect {
    fn take(&mut self, question: GreenQuestion, line: &Line) -> Heard {
        self.pack.take(line);
        match (question, line) {
            (GreenQuestion::Size, Line::Parameters(values)) => {
                let has_count = values.iter().any(|(id, _)| *id == parameter::CELL_COUNT);
                if has_count { Heard::Answer } else { Heard::Part }
            }
            (GreenQuestion::Overview, Line::Overview(_)) => Heard::Answer,
            (GreenQuestion::Cells, Line::Cells(_)) if self.pack.has_all_cells() => {
                self.cells_are_new = true;
                Heard::Answer
            }
            (GreenQuestion::Cells, Line::Cells(_)) => Heard::Part,
            _ => Heard::Stray,
        }
    }
}

impl Dialect for GreenDialect {
    type Question = GreenQuestion;

    fn timing(&self) -> Timing {
        Timing {
            gap: Duration::from_millis(50),
            // A page's first line may be a whole round of the unit away.
            first_answer: Duration::from_millis(1500),
            answer: Duration::from_millis(1500),
            silence: Duration::from_millis(1200),
            // Forty cells take twenty lines; one of them may be lost and comes again a round later.
            attempt: Duration::from_secs(18),
            retry_pause: Duration::from_millis(200),
            attempts: 2,
        }
    }

    fn begin(&mut self) {
        self.plan.clear();
        self.cells_are_new = false;
        if self.pack.cell_count().is_none() {
            self.plan.push_back(GreenQuestion::Size);
        }
        self.plan.push_back(GreenQuestion::Overview);
        if self.cycles.is_multiple_of(CYCLES_BETWEEN_CELLS) {
            self.plan.push_back(GreenQuestion::Cells);
        }
        self.cycles = self.cycles.wrapping_add(1);
    }

    fn next_question(&mut self) -> Option<GreenQuestion> {
        let question = self.plan.pop_front()?;
        if question == GreenQuestion::Cells {
            // Without their number nobody could say when all were heard.
            self.pack.cell_count()?;
            self.pack.forget_cells();
        }
        Some(question)
    }

    fn describe(&self, question: GreenQuestion) -> Ask {
        match question {
            GreenQuestion::Size => Ask { name: "capacity and cell count", essential: false },
            GreenQuestion::Overview => Ask { name: "the overview", essential: true },
            GreenQuestion::Cells => Ask { name: "cells", essential: false },
        }
    }

    fn request(&mut self, question: GreenQuestion) -> Vec<u8> {
        self.sign_of_life = (self.sign_of_life + 1) % 1000;
        let select = match question {
            GreenQuestion::Size => [Request::Select(Page::Overview), Request::OverviewStatic(true)],
            GreenQuestion::Overview => [Request::Select(Page::Overview), Request::OverviewStatic(false)],
            GreenQuestion::Cells => [Request::Select(Page::Cells), Request::OverviewStatic(false)],
        };
        let requests = select.into_iter().chain([Request::KeepAlive(self.sign_of_life)]);
        requests.flat_map(Request::to_bytes).collect()
    }

    fn forget_input(&mut self) {
        self.decoder.reset();
    }

    fn hear(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    fn end_of_input(&mut self) {
        self.decoder.end();
    }

    fn next_heard(&mut self, question: GreenQuestion) -> Option<Heard> {
        let line = self.decoder.next_frame()?;
        Some(self.take(question, &line))
    }

    fn give_up(&mut self, question: GreenQuestion) {
        // What was not heard must not stand as it was; the next cycle asks again.
        if question == GreenQuestion::Cells {
            self.pack.forget_cells();
            self.cycles = 0;
        }
    }

    fn reading(&mut self) -> PackReading {
        let mut reading = self.pack.reading();
        if !self.cells_are_new {
            // Their alarms stand until the cells say otherwise; old voltages must not pass for new ones.
            reading.cell_voltages.clear();
            reading.temperatures.clear();
            reading.cells_balancing = None;
            reading.withheld.retain(|withheld| {
                !withheld.metric.starts_with("cell_voltage_") && !withheld.metric.starts_with("temperature_")
            });
        }
        reading
    }

    fn frame_stats(&self) -> FrameStats {
        self.decoder.stats()
    }

    fn memory(&self) -> Value {
        learned(&(&self.pack, self.sign_of_life, self.cycles))
    }

    fn remember(&mut self, memory: &Value) -> Result<(), BadMemory> {
        (self.pack, self.sign_of_life, self.cycles) = recall(memory)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use voltree_model::{Millivolts, Volts};

    use super::super::{Cell, Overview};
    use super::*;
    use crate::codec::{PollCycle, PollError};

    const OVERVIEW: Overview = Overview {
        decivolts: 99,
        centiamps: 550,
        soc_percent: 76,
        max_cell_centivolts: 331,
        min_cell_centivolts: 329,
        state: 1,
    };

    /// What a unit with three cells says to a request, with a heartbeat in front.
    fn unit(request: &[u8]) -> Vec<u8> {
        let text = std::str::from_utf8(request).unwrap();
        let cell = |number| Cell::new(number, 330, [20, 25], &[]);
        let lines = match text.split_inclusive('\r').take(2).collect::<Vec<_>>()[..] {
            ["#s2\r", "#h1\r"] => vec![Line::Parameters(vec![(12, 60), (14, 3)])],
            ["#s2\r", "#h0\r"] => vec![Line::Overview(OVERVIEW)],
            ["#s3\r", "#h0\r"] => vec![Line::Cells([cell(3), cell(4)]), Line::Cells([cell(1), cell(2)])],
            _ => panic!("{text:?}"),
        };
        let heartbeat = Line::Heartbeat { counter: 7, alarm: false };
        [heartbeat].iter().chain(&lines).flat_map(Line::to_bytes).collect()
    }

    fn cycle(
        poll: &mut GreenPoll,
        answer: impl Fn(&[u8]) -> Vec<u8>,
    ) -> (Result<PackReading, PollError>, Vec<String>) {
        let (mut now, mut asked) = (Duration::ZERO, Vec::new());
        poll.begin(now);
        for _ in 0..500 {
            if poll.is_done() {
                return (poll.finish(), asked);
            }
            if let Some(request) = poll.next_request(now) {
                asked.push(String::from_utf8(request.clone()).unwrap());
                poll.handle_input(&answer(&request), now);
            } else {
                now = now.max(poll.poll_timeout().unwrap());
                poll.handle_timeout(now);
            }
        }
        panic!("the cycle never ended");
    }

    #[test]
    fn the_first_cycle_learns_the_size_and_later_ones_only_look() {
        let mut poll = GreenPoll::new(GreenDialect::default());
        let (reading, asked) = cycle(&mut poll, unit);
        let reading = reading.unwrap();
        assert_eq!(reading.pack_voltage, Some(Volts(9.9)));
        assert_eq!(reading.cell_voltages, [Some(Millivolts(3300)); 3]);
        assert_eq!(asked, ["#s2\r#h1\r#m1\r", "#s2\r#h0\r#m2\r", "#s3\r#h0\r#m3\r"]);
        let (reading, asked) = cycle(&mut poll, unit);
        assert_eq!((reading.unwrap().cell_voltages.len(), asked), (0, vec!["#s2\r#h0\r#m4\r".to_owned()]));
    }

    #[test]
    fn a_unit_that_tells_no_cells_still_gives_a_reading() {
        let mut poll = GreenPoll::new(GreenDialect::default());
        let (reading, asked) =
            cycle(&mut poll, |request| if request.starts_with(b"#s3") { Vec::new() } else { unit(request) });
        assert_eq!((reading.unwrap().cell_voltages.len(), asked.len()), (0, 4));
    }

    #[test]
    fn a_silent_unit_and_a_babbling_one_end_the_cycle() {
        let mut poll = GreenPoll::new(GreenDialect::default());
        assert!(matches!(cycle(&mut poll, |_| Vec::new()).0, Err(PollError::NoAnswer { .. })));
        let babble = |_: &[u8]| b"$#i00017$#i0011$\r\n".to_vec();
        assert!(matches!(cycle(&mut poll, babble).0, Err(PollError::Garbled { .. })));
    }
}
