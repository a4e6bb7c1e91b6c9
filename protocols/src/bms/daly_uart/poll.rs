//! The conversation with one board: what is asked, how long it is waited for, and when it is given up.
//!
//! A cycle asks for the pack, the switches, cells, temperatures, balancing and faults, and for the status first while
//! the cell count is unknown or old. Without pack (and cell count) there is no reading; everything else may be missing.
//! Whatever a board sends or doesn't, a cycle ends: attempts are counted and every attempt has a last moment.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use voltree_model::PackReading;

use super::pack::{self, Answers, Several};
use super::{
    Answer, Assembly, Board, CurrentSign, Frame, FrameDecoder, SignMemory, StatusAnswer, command,
    read_request,
};
use crate::bms::framing::FrameStats;
use crate::codec::{BadMemory, PollCycle, PollError, learned, recall};

/// Quiet time before a request; grows while answers fail.
const GAP: Duration = Duration::from_millis(20);
const GAP_STEP: Duration = Duration::from_millis(5);
const MAX_GAP: Duration = Duration::from_millis(60);
/// Chatter on the line puts a request off, but no longer than this.
const MAX_CHATTER: Duration = Duration::from_millis(500);
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// Silence that ends an answer of several frames.
const FRAME_SILENCE: Duration = Duration::from_millis(150);
/// The end of an attempt, however many frames still come.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(1500);
const RETRY_PAUSE: Duration = Duration::from_millis(200);
const ATTEMPTS: u32 = 3;

/// What stands in the eight data bytes of a read request. Boards with a weak UART misread fewer requests of 0xAA.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Filler {
    /// 0x00.
    #[default]
    Zeros,
    /// 0xAA.
    Aa,
}

impl Filler {
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Zeros => 0x00,
            Self::Aa => 0xAA,
        }
    }
}

/// How to talk to one board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DalyConfig {
    /// Which board on the line.
    pub board: Board,
    /// What fills the requests.
    pub filler: Filler,
    /// How to read its current.
    pub current_sign: CurrentSign,
    /// Asks for the status (counts of cells, sensors and charge cycles) again after so many cycles.
    pub cycles_per_status: u32,
}

impl Default for DalyConfig {
    fn default() -> Self {
        Self {
            board: Board::FIRST,
            filler: Filler::default(),
            current_sign: CurrentSign::default(),
            cycles_per_status: 60,
        }
    }
}

/// What happened on the line since the poll was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PollStats {
    /// Requests handed out.
    pub requests: u64,
    /// Those of them that asked again.
    pub retries: u64,
    /// Good frames that answered nothing we had asked.
    pub stray_frames: u64,
    /// Bytes received.
    pub bytes: u64,
    /// Frames and what was no frame.
    pub frames: FrameStats,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Idle,
    /// The line rests until `until`.
    Resting {
        until: Duration,
        latest: Duration,
    },
    /// A request is out.
    Waiting {
        deadline: Duration,
        latest: Duration,
    },
    Done,
}

/// What stays known from one cycle to the next.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Learned {
    status: Option<StatusAnswer>,
    cycles_since_status: u32,
    sign: SignMemory,
    /// Commands that went unanswered; they get one attempt until they are answered again.
    silent: BTreeSet<u8>,
    gap: Duration,
}

/// One cycle.
#[derive(Debug, Clone, Default)]
struct Cycle {
    plan: VecDeque<u8>,
    attempt: u32,
    bytes_before: u64,
    answers: Answers,
    cells: Option<Assembly<u16, 3>>,
    temperatures: Option<Assembly<u8, 7>>,
    error: Option<PollError>,
    troubled: bool,
    implausible: bool,
}

/// Polls one board, cycle after cycle.
#[derive(Debug, Clone)]
pub struct DalyPoll {
    config: DalyConfig,
    decoder: FrameDecoder,
    learned: Learned,
    cycle: Cycle,
    phase: Phase,
    stats: PollStats,
}

impl DalyPoll {
    /// Knows nothing of the board yet.
    pub fn new(config: DalyConfig) -> Self {
        let learned = Learned {
            status: None,
            cycles_since_status: 0,
            sign: SignMemory::default(),
            silent: BTreeSet::new(),
            gap: GAP,
        };
        Self {
            config,
            decoder: FrameDecoder::default(),
            learned,
            cycle: Cycle::default(),
            phase: Phase::Idle,
            stats: PollStats::default(),
        }
    }

    /// What happened on the line so far.
    pub fn stats(&self) -> PollStats {
        PollStats { frames: self.decoder.stats(), ..self.stats }
    }

    /// The sign in use; `Auto` while it is still to be learned.
    pub fn sign(&self) -> CurrentSign {
        match self.config.current_sign {
            CurrentSign::Auto => self.learned.sign.learned().unwrap_or(CurrentSign::Auto),
            fixed @ (CurrentSign::Normal | CurrentSign::Inverted) => fixed,
        }
    }

    fn plan(&self) -> VecDeque<u8> {
        let refresh = self.learned.status.is_none()
            || self.learned.cycles_since_status >= self.config.cycles_per_status;
        let rest = [
            command::PACK,
            command::SWITCHES,
            command::CELLS,
            command::TEMPERATURES,
            command::BALANCE,
            command::FAULTS,
        ];
        refresh.then_some(command::STATUS).into_iter().chain(rest).collect()
    }

    fn rest(&mut self, now: Duration, pause: Duration) {
        let until = now.saturating_add(pause.max(self.learned.gap));
        self.phase = Phase::Resting { until, latest: until.saturating_add(MAX_CHATTER) };
    }

    /// Moves on to the next command, or ends the cycle after the last.
    fn advance(&mut self, now: Duration) {
        self.cycle.plan.pop_front();
        self.cycle.attempt = 0;
        self.cycle.implausible = false;
        self.cycle.bytes_before = self.stats.bytes;
        if self.cycle.plan.front() == Some(&command::TEMPERATURES) && self.sensors() == Some(0) {
            self.cycle.plan.pop_front();
        }
        if self.cycle.plan.is_empty() {
            self.phase = Phase::Done;
        } else {
            self.rest(now, Duration::ZERO);
        }
    }

    fn sensors(&self) -> Option<u8> {
        self.learned.status.map(|status| status.sensors)
    }

    fn attempts(&self, command: u8) -> u32 {
        if self.learned.silent.contains(&command) && !self.essential(command) { 1 } else { ATTEMPTS }
    }

    fn essential(&self, command: u8) -> bool {
        match command {
            command::PACK => true,
            command::STATUS => self.learned.status.is_none(),
            _ => false,
        }
    }

    fn handle_frame(&mut self, frame: &Frame, now: Duration) {
        let asked = self.cycle.plan.front().copied();
        let waiting = matches!(self.phase, Phase::Waiting { .. });
        if !waiting || frame.address != self.config.board.number() || Some(frame.command) != asked {
            self.stats.stray_frames += 1;
            return;
        }
        let answer = Answer::decode(frame);
        if !pack::plausible(&answer) {
            self.cycle.implausible = true;
            let last = self.cycle.attempt >= self.attempts(frame.command);
            if !last || frame.command != command::PACK {
                return self.fail_attempt(now);
            }
        }
        if self.take(answer) {
            self.learned.silent.remove(&frame.command);
            self.advance(now);
        } else {
            self.wait_for_more(now);
        }
    }

    /// Keeps an answer; true when nothing more of it is to come.
    fn take(&mut self, answer: Answer) -> bool {
        let answers = &mut self.cycle.answers;
        match answer {
            Answer::Pack(pack) => answers.pack = Some(pack),
            Answer::Switches(switches) => answers.switches = Some(switches),
            Answer::Status(status) => {
                answers.status = Some(status);
                self.learned.status = Some(status);
                self.learned.cycles_since_status = 0;
            }
            Answer::Cells(cells) => return self.take_cells(cells.number, cells.millivolts),
            Answer::Temperatures(temperatures) => {
                return self.take_temperatures(temperatures.number, temperatures.raw);
            }
            Answer::Balance(balance) => answers.balance = Some(balance),
            Answer::Faults(faults) => answers.faults = Some(faults),
            Answer::CellExtremes(_) | Answer::TemperatureExtremes(_) | Answer::Other { .. } => {}
        }
        true
    }

    fn take_cells(&mut self, number: u8, millivolts: [u16; 3]) -> bool {
        let count = self.learned.status.map_or(0, |status| status.cells);
        let assembly = self.cycle.cells.get_or_insert_with(|| Assembly::new(count));
        assembly.push(number, millivolts);
        let whole = assembly.complete();
        let done = whole.is_some();
        self.cycle.answers.cells = whole.map_or(Several::Incomplete, Several::Whole);
        done
    }

    fn take_temperatures(&mut self, number: u8, raw: [u8; 7]) -> bool {
        let count = self.sensors().unwrap_or(0);
        let assembly = self.cycle.temperatures.get_or_insert_with(|| Assembly::new(count));
        assembly.push(number, raw);
        let whole = assembly.complete();
        let done = whole.is_some();
        self.cycle.answers.temperatures = whole.map_or(Several::Incomplete, Several::Whole);
        done
    }

    fn wait_for_more(&mut self, now: Duration) {
        if let Phase::Waiting { latest, .. } = self.phase {
            let deadline = now.saturating_add(FRAME_SILENCE).min(latest);
            self.phase = Phase::Waiting { deadline, latest };
        }
    }

    /// Asks again, or gives the command up, and the cycle with it if nothing can be read without it.
    fn fail_attempt(&mut self, now: Duration) {
        let Some(command) = self.cycle.plan.front().copied() else { return };
        self.cycle.troubled = true;
        self.learned.gap = (self.learned.gap + GAP_STEP).min(MAX_GAP);
        if self.cycle.attempt < self.attempts(command) {
            return self.rest(now, RETRY_PAUSE);
        }
        self.learned.silent.insert(command);
        if self.essential(command) {
            self.cycle.error = Some(self.give_up(command));
            self.phase = Phase::Done;
        } else {
            self.advance(now);
        }
    }

    fn give_up(&self, command: u8) -> PollError {
        let (question, attempts) = (command::name(command), self.cycle.attempt);
        let bytes = self.stats.bytes.saturating_sub(self.cycle.bytes_before);
        if self.cycle.implausible {
            PollError::Implausible { question, attempts }
        } else if bytes > 0 {
            PollError::Garbled { question, attempts, bytes }
        } else {
            PollError::NoAnswer { question, attempts }
        }
    }

    fn reading(&mut self) -> PackReading {
        let answers = std::mem::take(&mut self.cycle.answers);
        if let (Some(pack), Some(switches)) = (&answers.pack, &answers.switches) {
            self.learned.sign.observe(pack.wire_amps(), switches.state());
        }
        pack::reading(answers, self.learned.status.map(|status| status.cells), self.sign())
    }
}

impl PollCycle for DalyPoll {
    fn begin(&mut self, now: Duration) {
        self.learned.cycles_since_status = self.learned.cycles_since_status.saturating_add(1);
        self.cycle = Cycle { plan: self.plan(), bytes_before: self.stats.bytes, ..Cycle::default() };
        self.phase = Phase::Resting { until: now, latest: now.saturating_add(MAX_CHATTER) };
    }

    fn next_request(&mut self, now: Duration) -> Option<Vec<u8>> {
        let Phase::Resting { until, .. } = self.phase else { return None };
        if now < until {
            return None;
        }
        let command = self.cycle.plan.front().copied()?;
        self.decoder.reset();
        self.cycle.attempt += 1;
        self.stats.requests += 1;
        self.stats.retries += u64::from(self.cycle.attempt > 1);
        let deadline = now.saturating_add(ANSWER_TIMEOUT);
        self.phase = Phase::Waiting { deadline, latest: now.saturating_add(ATTEMPT_LIMIT) };
        Some(read_request(self.config.board, command, self.config.filler).to_bytes().to_vec())
    }

    fn handle_input(&mut self, bytes: &[u8], now: Duration) {
        self.stats.bytes = self.stats.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if let Phase::Resting { until, latest } = self.phase {
            let until = until.max(now.saturating_add(self.learned.gap)).min(latest);
            self.phase = Phase::Resting { until, latest };
        }
        self.decoder.push(bytes);
        while let Some(frame) = self.decoder.next_frame() {
            self.handle_frame(&frame, now);
        }
        self.handle_timeout(now);
    }

    fn poll_timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Resting { until, .. } => Some(until),
            Phase::Waiting { deadline, .. } => Some(deadline),
            Phase::Idle | Phase::Done => None,
        }
    }

    fn handle_timeout(&mut self, now: Duration) {
        if let Phase::Waiting { deadline, .. } = self.phase
            && now >= deadline
        {
            self.fail_attempt(now);
        }
    }

    fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Done)
    }

    fn finish(&mut self) -> Result<PackReading, PollError> {
        if !self.is_done() {
            return Err(PollError::Unfinished);
        }
        self.phase = Phase::Idle;
        if !self.cycle.troubled {
            self.learned.gap = self.learned.gap.saturating_sub(GAP_STEP).max(GAP);
        }
        match self.cycle.error.take() {
            Some(error) => Err(error),
            None => Ok(self.reading()),
        }
    }

    fn bad_frames(&self) -> u64 {
        self.decoder.stats().bad_frames()
    }

    fn memory(&self) -> Value {
        learned(&self.learned)
    }

    fn remember(&mut self, memory: &Value) -> Result<(), BadMemory> {
        self.learned = recall(memory)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
