//! A conversation of questions and answers with one device, whatever its vendor: who speaks when, and when it is over.
//!
//! A [`Dialect`] brings the questions, their bytes and what answers mean; [`Dialogue`] paces them: quiet before a
//! request, a bound on every answer, a few attempts, then the question is given up, and the cycle with it if nothing
//! can be read without it. Whatever a device sends or doesn't, a cycle ends.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::time::Duration;

use serde_json::Value;
use voltree_model::PackReading;

use super::framing::FrameStats;
use crate::codec::{BadMemory, PollCycle, PollError, learned, recall};

/// The pace of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Quiet time before a request.
    pub gap: Duration,
    /// How long the first attempt of a cycle waits: short where a device sleeps through the first request.
    pub first_answer: Duration,
    /// How long every other attempt waits for an answer.
    pub answer: Duration,
    /// Silence within an answer that cuts it off.
    pub silence: Duration,
    /// The end of an attempt, however much still comes.
    pub attempt: Duration,
    /// The pause before a question is asked again.
    pub retry_pause: Duration,
    /// How often a question is asked.
    pub attempts: u32,
}

impl Timing {
    /// What suits most boards on a serial line.
    pub const SERIAL: Self = Self {
        gap: Duration::from_millis(50),
        first_answer: Duration::from_millis(500),
        answer: Duration::from_millis(500),
        silence: Duration::from_millis(150),
        attempt: Duration::from_millis(1500),
        retry_pause: Duration::from_millis(200),
        attempts: 3,
    };
}

/// Chatter on the line puts a request off, but no longer than this.
const MAX_CHATTER: Duration = Duration::from_millis(500);

/// What a question is called and whether a cycle can do without its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ask {
    /// Its name in messages.
    pub name: &'static str,
    /// Without it there is no reading.
    pub essential: bool,
}

/// What came of the bytes after a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A good frame that answers something else.
    Stray,
    /// A part of the answer; more is to come.
    Part,
    /// The answer.
    Answer,
    /// An answer that can't be true.
    Implausible,
    /// The device refuses, and says why.
    Refused(&'static str),
}

/// What a vendor's protocol adds to a conversation.
pub trait Dialect {
    /// Something to ask.
    type Question: Copy + PartialEq + Debug;

    /// The pace.
    fn timing(&self) -> Timing;

    /// Starts a cycle: forgets the answers of the last one, keeps what was learned about the device.
    fn begin(&mut self);

    /// Names what to ask next, having heard or given up everything before; `None` ends the cycle.
    fn next_question(&mut self) -> Option<Self::Question>;

    /// Describes a question.
    fn describe(&self, question: Self::Question) -> Ask;

    /// Puts a question into bytes.
    fn request(&mut self, question: Self::Question) -> Vec<u8>;

    /// Forgets a half-received answer.
    fn forget_input(&mut self);

    /// Takes what arrived.
    fn hear(&mut self, bytes: &[u8]);

    /// Says that nothing more will come for now.
    fn end_of_input(&mut self);

    /// Looks at the next frame of what arrived; `None` when there is none.
    fn next_heard(&mut self, question: Self::Question) -> Option<Heard>;

    /// Learns that a question, which the cycle can do without, stays unanswered.
    fn give_up(&mut self, question: Self::Question);

    /// Makes the reading of what was answered.
    fn reading(&mut self) -> PackReading;

    /// What was seen of frames so far.
    fn frame_stats(&self) -> FrameStats;

    /// What was learned about the device and stays from one cycle to the next.
    fn memory(&self) -> Value {
        Value::Null
    }

    /// Takes back what [`Dialect::memory`] gave out.
    fn remember(&mut self, memory: &Value) -> Result<(), BadMemory> {
        recall(memory)
    }
}

/// What happened on the line since the dialogue was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DialogueStats {
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

/// One cycle.
#[derive(Debug, Clone)]
struct Cycle<Q> {
    question: Option<Q>,
    attempt: u32,
    requests: u32,
    bytes_before: u64,
    refusal: Option<&'static str>,
    implausible: bool,
    error: Option<PollError>,
}

impl<Q> Cycle<Q> {
    fn new(bytes_before: u64) -> Self {
        Self {
            question: None,
            attempt: 0,
            requests: 0,
            bytes_before,
            refusal: None,
            implausible: false,
            error: None,
        }
    }
}

/// Polls one device in one dialect, cycle after cycle.
#[derive(Debug, Clone)]
pub struct Dialogue<D: Dialect> {
    dialect: D,
    cycle: Cycle<D::Question>,
    /// Questions that went unanswered, as `Debug` shows them; they get one attempt until they are answered again.
    silent: BTreeSet<String>,
    phase: Phase,
    stats: DialogueStats,
}

impl<D: Dialect> Dialogue<D> {
    /// Knows nothing of the device yet.
    pub fn new(dialect: D) -> Self {
        let stats = DialogueStats::default();
        Self { dialect, cycle: Cycle::new(0), silent: BTreeSet::new(), phase: Phase::Idle, stats }
    }

    /// What happened on the line so far.
    pub fn stats(&self) -> DialogueStats {
        DialogueStats { frames: self.dialect.frame_stats(), ..self.stats }
    }

    /// The vendor's part, with what it learned.
    pub fn dialect(&self) -> &D {
        &self.dialect
    }

    fn rest(&mut self, now: Duration, pause: Duration) {
        let until = now.saturating_add(pause);
        self.phase = Phase::Resting { until, latest: until.saturating_add(MAX_CHATTER) };
    }

    /// Moves on to the next question, or ends the cycle after the last.
    fn advance(&mut self, now: Duration, pause: Duration) {
        self.cycle = Cycle { requests: self.cycle.requests, ..Cycle::new(self.stats.bytes) };
        self.cycle.question = self.dialect.next_question();
        match self.cycle.question {
            Some(_) => self.rest(now, pause),
            None => self.phase = Phase::Done,
        }
    }

    fn is_silent(&self, question: D::Question) -> bool {
        !self.silent.is_empty() && self.silent.contains(&format!("{question:?}"))
    }

    fn attempts(&self, question: D::Question) -> u32 {
        let once = self.is_silent(question) && !self.dialect.describe(question).essential;
        if once { 1 } else { self.dialect.timing().attempts.max(1) }
    }

    /// Looks at all that was heard for the question that is open.
    fn listen(&mut self, now: Duration) {
        while let (Phase::Waiting { .. }, Some(question)) = (self.phase, self.cycle.question) {
            let Some(heard) = self.dialect.next_heard(question) else { return };
            match heard {
                Heard::Stray => self.stats.stray_frames += 1,
                Heard::Part => self.wait_for_more(now),
                Heard::Answer => {
                    if !self.silent.is_empty() {
                        self.silent.remove(&format!("{question:?}"));
                    }
                    self.advance(now, self.dialect.timing().gap);
                }
                Heard::Implausible => {
                    self.cycle.implausible = true;
                    self.fail_attempt(now);
                }
                Heard::Refused(why) => {
                    self.cycle.refusal = Some(why);
                    self.give_up(question, now);
                }
            }
        }
    }

    fn wait_for_more(&mut self, now: Duration) {
        if let Phase::Waiting { deadline, latest } = self.phase {
            let more = now.saturating_add(self.dialect.timing().silence);
            self.phase = Phase::Waiting { deadline: deadline.max(more).min(latest), latest };
        }
    }

    /// Asks again, or gives the question up.
    fn fail_attempt(&mut self, now: Duration) {
        let Some(question) = self.cycle.question else { return };
        if self.cycle.attempt < self.attempts(question) {
            return self.rest(now, self.dialect.timing().retry_pause);
        }
        self.give_up(question, now);
    }

    fn give_up(&mut self, question: D::Question, now: Duration) {
        if self.dialect.describe(question).essential {
            self.cycle.error = Some(self.failure(question));
            self.phase = Phase::Done;
            return;
        }
        self.silent.insert(format!("{question:?}"));
        self.dialect.give_up(question);
        self.advance(now, self.dialect.timing().gap);
    }

    fn failure(&self, question: D::Question) -> PollError {
        let (question, attempts) = (self.dialect.describe(question).name, self.cycle.attempt);
        let bytes = self.stats.bytes.saturating_sub(self.cycle.bytes_before);
        if let Some(refusal) = self.cycle.refusal {
            PollError::Refused { question, refusal }
        } else if self.cycle.implausible {
            PollError::Implausible { question, attempts }
        } else if bytes > 0 {
            PollError::Garbled { question, attempts, bytes }
        } else {
            PollError::NoAnswer { question, attempts }
        }
    }
}

impl<D: Dialect> PollCycle for Dialogue<D> {
    fn begin(&mut self, now: Duration) {
        self.dialect.begin();
        self.cycle = Cycle::new(self.stats.bytes);
        self.advance(now, Duration::ZERO);
    }

    fn next_request(&mut self, now: Duration) -> Option<Vec<u8>> {
        let Phase::Resting { until, .. } = self.phase else { return None };
        if now < until {
            return None;
        }
        let question = self.cycle.question?;
        let timing = self.dialect.timing();
        let patience = if self.cycle.requests == 0 { timing.first_answer } else { timing.answer };
        self.dialect.forget_input();
        self.cycle.attempt += 1;
        self.cycle.requests += 1;
        self.stats.requests += 1;
        self.stats.retries += u64::from(self.cycle.attempt > 1);
        let latest = now.saturating_add(timing.attempt);
        self.phase = Phase::Waiting { deadline: now.saturating_add(patience).min(latest), latest };
        Some(self.dialect.request(question))
    }

    fn handle_input(&mut self, bytes: &[u8], now: Duration) {
        self.stats.bytes = self.stats.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        match self.phase {
            Phase::Resting { until, latest } => {
                let quiet = now.saturating_add(self.dialect.timing().gap);
                self.phase = Phase::Resting { until: until.max(quiet).min(latest), latest };
            }
            Phase::Waiting { .. } => {
                self.dialect.hear(bytes);
                self.wait_for_more(now);
                self.listen(now);
            }
            Phase::Idle | Phase::Done => {}
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
        let Phase::Waiting { deadline, .. } = self.phase else { return };
        if now < deadline {
            return;
        }
        // A stray start byte may have kept a whole answer waiting for the end of a frame that never was.
        let before = self.cycle.requests;
        self.dialect.end_of_input();
        self.listen(now);
        let still_waiting = matches!(self.phase, Phase::Waiting { deadline, .. } if now >= deadline);
        if still_waiting && self.cycle.requests == before {
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
        match self.cycle.error.take() {
            Some(error) => Err(error),
            None => Ok(self.dialect.reading()),
        }
    }

    fn bad_frames(&self) -> u64 {
        self.dialect.frame_stats().bad_frames()
    }

    fn memory(&self) -> Value {
        learned(&(&self.silent, self.dialect.memory()))
    }

    fn remember(&mut self, memory: &Value) -> Result<(), BadMemory> {
        let (silent, of_dialect): (BTreeSet<String>, Value) = recall(memory)?;
        self.dialect.remember(&of_dialect)?;
        self.silent = silent;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
