//! The conversations: one question on the wired port, two over Bluetooth.
//!
//! Over Bluetooth a board first says who it is, because its version decides how the cells are read, and then streams
//! cell records on its own; asking again before each reading does no harm and wakes a board that has stopped.

use std::time::Duration;

use voltree_model::PackReading;

use super::cells::{CellInfo, Generation};
use super::jk02::{Jk02Frame, Jk02Framing, Record, command_frame};
use super::tags::{Tags, tag};
use super::uart::{UartFraming, read_all_request};
use super::{DeviceInfo, pack, record_type, register};
use crate::bms::dialogue::{Ask, Dialect, Dialogue, Heard, Timing};
use crate::bms::framing::{FrameStats, StreamDecoder};

/// Polls a board on its wired port.
pub type JkPoll = Dialogue<UartDialect>;
/// Polls a board over Bluetooth.
pub type Jk02Poll = Dialogue<Jk02Dialect>;

/// The wired protocol.
#[derive(Debug, Clone, Default)]
pub struct UartDialect {
    decoder: StreamDecoder<UartFraming>,
    asked: bool,
    answer: Option<Tags>,
}

impl Dialect for UartDialect {
    type Question = ();

    fn timing(&self) -> Timing {
        Timing::SERIAL
    }

    fn begin(&mut self) {
        (self.asked, self.answer) = (false, None);
    }

    fn next_question(&mut self) -> Option<()> {
        let first = !self.asked;
        self.asked = true;
        first.then_some(())
    }

    fn describe(&self, (): ()) -> Ask {
        Ask { name: "read all (0x06)", essential: true }
    }

    fn request(&mut self, (): ()) -> Vec<u8> {
        read_all_request().to_bytes()
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

    fn next_heard(&mut self, (): ()) -> Option<Heard> {
        let frame = self.decoder.next_frame()?;
        // The adapter of a half-duplex line may hand our own request back.
        if !frame.is_answer() {
            return Some(Heard::Stray);
        }
        let tags = Tags::decode(&frame.data);
        if tags.number(tag::VOLTAGE).is_none() {
            return Some(Heard::Implausible);
        }
        self.answer = Some(tags);
        Some(Heard::Answer)
    }

    fn give_up(&mut self, (): ()) {}

    fn reading(&mut self) -> PackReading {
        self.answer.take().map(|tags| pack::of_tags(&tags)).unwrap_or_default()
    }

    fn frame_stats(&self) -> FrameStats {
        self.decoder.stats()
    }
}

/// What is asked over Bluetooth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jk02Question {
    /// Who are you?
    Device,
    /// How are your cells?
    Cells,
}

/// The Bluetooth protocol.
#[derive(Debug, Clone, Default)]
pub struct Jk02Dialect {
    decoder: StreamDecoder<Jk02Framing>,
    device: Option<(DeviceInfo, Generation)>,
    asked_cells: bool,
    cells: Option<CellInfo>,
}

impl Jk02Dialect {
    /// Who the board is, once it has said so.
    pub fn device(&self) -> Option<&DeviceInfo> {
        self.device.as_ref().map(|(device, _)| device)
    }

    fn take(&mut self, question: Jk02Question, record: Record) -> Heard {
        match (question, record.record_type()) {
            (Jk02Question::Device, record_type::DEVICE) => {
                let device = DeviceInfo::decode(&record);
                let Some(generation) = Generation::of_version(&device.software_version) else {
                    return Heard::Refused("its firmware is of a generation that is not supported");
                };
                self.device = Some((device, generation));
                Heard::Answer
            }
            (Jk02Question::Cells, record_type::CELLS) => {
                let generation = self.device.as_ref().map(|(_, generation)| *generation);
                let generation = generation.unwrap_or_else(|| Generation::of_record(&record));
                let cells = CellInfo::new(record, generation);
                if cells.cells().is_empty() {
                    return Heard::Implausible;
                }
                self.cells = Some(cells);
                Heard::Answer
            }
            _ => Heard::Stray,
        }
    }
}

impl Dialect for Jk02Dialect {
    type Question = Jk02Question;

    fn timing(&self) -> Timing {
        Timing {
            gap: Duration::from_millis(100),
            first_answer: Duration::from_secs(5),
            answer: Duration::from_secs(5),
            silence: Duration::from_secs(1),
            attempt: Duration::from_secs(8),
            attempts: 2,
            ..Timing::SERIAL
        }
    }

    fn begin(&mut self) {
        (self.asked_cells, self.cells) = (false, None);
    }

    fn next_question(&mut self) -> Option<Jk02Question> {
        if self.device.is_none() {
            return Some(Jk02Question::Device);
        }
        let first = !self.asked_cells;
        self.asked_cells = true;
        first.then_some(Jk02Question::Cells)
    }

    fn describe(&self, question: Jk02Question) -> Ask {
        let name = match question {
            Jk02Question::Device => "device record (0x97)",
            Jk02Question::Cells => "cell record (0x96)",
        };
        Ask { name, essential: true }
    }

    fn request(&mut self, question: Jk02Question) -> Vec<u8> {
        let register = match question {
            Jk02Question::Device => register::DEVICE_INFO,
            Jk02Question::Cells => register::CELL_INFO,
        };
        command_frame(register, &[]).to_vec()
    }

    /// Half a record may be on its way already: boards stream unasked.
    fn forget_input(&mut self) {}

    fn hear(&mut self, bytes: &[u8]) {
        self.decoder.push(bytes);
    }

    fn end_of_input(&mut self) {
        self.decoder.end();
    }

    fn next_heard(&mut self, question: Jk02Question) -> Option<Heard> {
        Some(match self.decoder.next_frame()? {
            Jk02Frame::Record(record) => self.take(question, record),
            Jk02Frame::Command { .. } => Heard::Stray,
        })
    }

    fn give_up(&mut self, _question: Jk02Question) {}

    fn reading(&mut self) -> PackReading {
        self.cells.take().map(|cells| pack::of_cells(&cells)).unwrap_or_default()
    }

    fn frame_stats(&self) -> FrameStats {
        self.decoder.stats()
    }
}
