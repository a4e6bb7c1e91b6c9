//! The conversation: the secret where one is set, the basic information, the cells.
//!
//! A board that sleeps is woken by the first request and does not answer it, so the first wait is short.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use voltree_model::PackReading;

use super::frame::{Answer, AnswerFraming, parse_secret};
use super::{BasicInfo, pack, read_request, register, secret_request};
use crate::bms::dialogue::{Ask, Dialect, Dialogue, Heard, Timing};
use crate::bms::framing::{FrameStats, StreamDecoder};
use crate::codec::{BadMemory, recall};

/// Polls a board.
pub type JbdPoll = Dialogue<JbdDialect>;

/// Six digits that newer boards want over Bluetooth before anything else.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(pub [u8; 6]);

/// A secret is never written out: what is read back is stars.
impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(*b"******"))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How to talk to a board.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JbdConfig {
    /// Handed over first where it is set; boards on a wire want none.
    pub secret: Option<Secret>,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JbdQuestion {
    /// May I come in?
    Secret,
    /// Register 0x03.
    Basic,
    /// Register 0x04.
    Cells,
}

/// The protocol.
#[derive(Debug, Clone, Default)]
pub struct JbdDialect {
    config: JbdConfig,
    decoder: StreamDecoder<AnswerFraming>,
    secret_heard: Vec<u8>,
    admitted: bool,
    plan: VecDeque<JbdQuestion>,
    basic: Option<BasicInfo>,
    cells: Vec<u16>,
}

impl JbdDialect {
    /// Knows nothing of the board yet.
    pub fn new(config: JbdConfig) -> Self {
        Self { config, ..Self::default() }
    }

    fn take(&mut self, question: JbdQuestion, answer: &Answer) -> Heard {
        let asked = match question {
            JbdQuestion::Secret => return Heard::Stray,
            JbdQuestion::Basic => register::BASIC,
            JbdQuestion::Cells => register::CELLS,
        };
        if answer.register != asked {
            return Heard::Stray;
        }
        if answer.status != 0 {
            return Heard::Refused("the board answered with an error");
        }
        if question == JbdQuestion::Cells {
            return self.take_cells(&answer.data);
        }
        match BasicInfo::decode(&answer.data) {
            Some(basic) => {
                self.basic = Some(basic);
                Heard::Answer
            }
            None => Heard::Implausible,
        }
    }

    fn take_cells(&mut self, data: &[u8]) -> Heard {
        let (pairs, odd) = data.as_chunks();
        let expected = self.basic.as_ref().map(|basic| usize::from(basic.cells));
        if !odd.is_empty() || expected.is_some_and(|expected| expected != pairs.len()) {
            return Heard::Implausible;
        }
        self.cells = pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect();
        Heard::Answer
    }

    fn secret_answer(&mut self) -> Option<Heard> {
        let found = self.secret_heard.windows(6).find_map(|window| parse_secret(window).flatten())?;
        self.secret_heard.clear();
        self.admitted = found.accepted;
        Some(if found.accepted { Heard::Answer } else { Heard::Refused("the secret is wrong") })
    }
}

impl Dialect for JbdDialect {
    type Question = JbdQuestion;

    fn timing(&self) -> Timing {
        Timing {
            gap: Duration::from_millis(100),
            first_answer: Duration::from_millis(300),
            answer: Duration::from_secs(1),
            ..Timing::SERIAL
        }
    }

    fn begin(&mut self) {
        // Each cycle, because a connection over Bluetooth may be a new one, to which the board was not opened yet.
        let secret = self.config.secret.is_some().then_some(JbdQuestion::Secret);
        self.plan = secret.into_iter().chain([JbdQuestion::Basic, JbdQuestion::Cells]).collect();
        (self.basic, self.cells) = (None, Vec::new());
    }

    fn next_question(&mut self) -> Option<JbdQuestion> {
        self.plan.pop_front()
    }

    fn describe(&self, question: JbdQuestion) -> Ask {
        match question {
            JbdQuestion::Secret => Ask { name: "secret", essential: !self.admitted },
            JbdQuestion::Basic => Ask { name: "0x03 (basic information)", essential: true },
            JbdQuestion::Cells => Ask { name: "0x04 (cell voltages)", essential: false },
        }
    }

    fn request(&mut self, question: JbdQuestion) -> Vec<u8> {
        match question {
            JbdQuestion::Secret => secret_request(&self.config.secret.unwrap_or(Secret(*b"000000")).0),
            JbdQuestion::Basic => read_request(register::BASIC).to_bytes(),
            JbdQuestion::Cells => read_request(register::CELLS).to_bytes(),
        }
    }

    fn forget_input(&mut self) {
        self.secret_heard.clear();
        self.decoder.reset();
    }

    fn hear(&mut self, bytes: &[u8]) {
        if self.config.secret.is_some() {
            self.secret_heard.extend_from_slice(bytes);
        }
        self.decoder.push(bytes);
    }

    fn end_of_input(&mut self) {
        self.decoder.end();
    }

    fn next_heard(&mut self, question: JbdQuestion) -> Option<Heard> {
        if question == JbdQuestion::Secret {
            return self.secret_answer();
        }
        let answer = self.decoder.next_frame()?;
        Some(self.take(question, &answer))
    }

    fn give_up(&mut self, _question: JbdQuestion) {}

    fn reading(&mut self) -> PackReading {
        let cells = std::mem::take(&mut self.cells);
        self.basic.take().map(|basic| pack::reading(&basic, &cells)).unwrap_or_default()
    }

    fn frame_stats(&self) -> FrameStats {
        self.decoder.stats()
    }

    fn memory(&self) -> Value {
        self.admitted.into()
    }

    fn remember(&mut self, memory: &Value) -> Result<(), BadMemory> {
        self.admitted = recall(memory)?;
        Ok(())
    }
}
