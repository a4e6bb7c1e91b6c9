//! The conversation: the marker at one of three places, the chain of models, and then only the two models.
//!
//! Where the models stand is learned once and forgotten when a device stops answering there.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use voltree_model::{PackReading, PackState};

use super::models::{BankModel, BatteryModel, END_MODEL, MARKER};
use super::{BANK_MODEL, BASES, BATTERY_MODEL, EVENTS};
use crate::bms::alarms::sort_names;
use crate::bms::daly_uart::{CurrentSign, SignMemory};
use crate::bms::dialogue::{Ask, Dialect, Dialogue, Heard, Timing};
use crate::bms::framing::{FrameStats, StreamDecoder};
use crate::bms::modbus::{ReadRegisters, Registers, RegistersAnswer, RtuAnswers, Table, exception_text};
use crate::bms::sieve::Sieve;
use crate::codec::{BadMemory, learned, recall};

/// Polls a device.
pub type SunspecPoll = Dialogue<SunspecDialect>;

/// Registers of one question; slow devices fail at the limit of the protocol.
const BLOCK: u16 = 100;
/// A chain longer than this has no end.
const MAX_MODELS: usize = 60;

/// How to talk to a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SunspecConfig {
    /// Which device on the line.
    pub unit: u8,
    /// How to read its current.
    pub current_sign: CurrentSign,
}

/// Where a model stands and how long it is, its header included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    at: u16,
    length: u16,
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SunspecQuestion {
    /// Does the device begin here?
    Marker(u16),
    /// Which model stands here?
    Header(u16),
    /// Registers of a model.
    Block(u16, u16),
}

/// The protocol.
#[derive(Debug, Clone)]
pub struct SunspecDialect {
    config: SunspecConfig,
    decoder: StreamDecoder<RtuAnswers>,
    /// Questions that only find the models.
    search: VecDeque<SunspecQuestion>,
    searched: usize,
    battery: Option<Place>,
    bank: Option<Place>,
    found: bool,
    /// The last cycle came to a reading.
    read: bool,
    blocks: Option<VecDeque<SunspecQuestion>>,
    registers: Registers,
    sign: SignMemory,
}

impl SunspecDialect {
    /// Knows nothing of the device yet.
    pub fn new(config: SunspecConfig) -> Self {
        Self {
            config,
            decoder: StreamDecoder::default(),
            search: VecDeque::new(),
            searched: 0,
            battery: None,
            bank: None,
            found: false,
            read: false,
            blocks: None,
            registers: Registers::default(),
            sign: SignMemory::default(),
        }
    }

    fn asked(&self, question: SunspecQuestion) -> ReadRegisters {
        let (first, count) = match question {
            SunspecQuestion::Marker(at) | SunspecQuestion::Header(at) => (at, 2),
            SunspecQuestion::Block(at, count) => (at, count),
        };
        ReadRegisters { unit: self.config.unit, table: Table::Holding, first, count }
    }

    fn take(&mut self, question: SunspecQuestion, values: &[u16]) -> Heard {
        match (question, values) {
            (SunspecQuestion::Marker(at), values) if values == MARKER => {
                self.search = [SunspecQuestion::Header(at.saturating_add(2))].into();
                Heard::Answer
            }
            (SunspecQuestion::Marker(_), _) => Heard::Refused("it has no SunSpec marker"),
            (SunspecQuestion::Header(at), &[model, length]) => self.take_header(at, model, length),
            (SunspecQuestion::Header(_), _) => Heard::Implausible,
            (SunspecQuestion::Block(at, _), values) => {
                self.registers.put(at, values);
                Heard::Answer
            }
        }
    }

    fn take_header(&mut self, at: u16, model: u16, length: u16) -> Heard {
        let place = Place { at, length: length.saturating_add(2) };
        match model {
            BATTERY_MODEL => self.battery = Some(place),
            BANK_MODEL => self.bank = Some(place),
            _ => {}
        }
        self.searched += 1;
        match at.checked_add(place.length) {
            Some(next) if model != END_MODEL && self.searched < MAX_MODELS => {
                self.search = [SunspecQuestion::Header(next)].into();
            }
            _ => self.found = self.battery.is_some(),
        }
        if self.search.is_empty() && !self.found {
            return Heard::Refused("it has no battery model (802)");
        }
        Heard::Answer
    }

    fn forget_device(&mut self) {
        (self.battery, self.bank, self.found, self.searched) = (None, None, false, 0);
        self.search = BASES.map(SunspecQuestion::Marker).into();
    }

    fn plan_blocks(&self) -> VecDeque<SunspecQuestion> {
        let places = self.battery.into_iter().chain(self.bank);
        let blocks = places.flat_map(|place| {
            (0..place.length).step_by(usize::from(BLOCK)).map(move |from| {
                SunspecQuestion::Block(place.at.saturating_add(from), BLOCK.min(place.length - from))
            })
        });
        blocks.collect()
    }

    fn model(&self, place: Option<Place>) -> Vec<u16> {
        let Some(place) = place else { return Vec::new() };
        (place.at..place.at.saturating_add(place.length)).map_while(|at| self.registers.get(at)).collect()
    }

    fn sign(&self) -> CurrentSign {
        match self.config.current_sign {
            CurrentSign::Auto => self.sign.learned().unwrap_or(CurrentSign::Auto),
            fixed @ (CurrentSign::Normal | CurrentSign::Inverted) => fixed,
        }
    }
}

/// What the charge does, as far as a reading has a word for it.
const fn state_of(charge_state: u16) -> Option<PackState> {
    match charge_state {
        1 | 2 | 5 | 6 => Some(PackState::Idle),
        3 => Some(PackState::Discharging),
        4 => Some(PackState::Charging),
        _ => None,
    }
}

impl Dialect for SunspecDialect {
    type Question = SunspecQuestion;

    fn timing(&self) -> Timing {
        Timing::SERIAL
    }

    fn begin(&mut self) {
        (self.blocks, self.registers) = (None, Registers::default());
        if !std::mem::take(&mut self.read) {
            self.forget_device();
        }
    }

    fn next_question(&mut self) -> Option<SunspecQuestion> {
        if !self.found {
            return self.search.pop_front();
        }
        if self.blocks.is_none() {
            self.blocks = Some(self.plan_blocks());
        }
        self.blocks.as_mut().and_then(VecDeque::pop_front)
    }

    fn describe(&self, question: SunspecQuestion) -> Ask {
        match question {
            SunspecQuestion::Marker(_) => {
                Ask { name: "the SunSpec marker", essential: self.search.is_empty() }
            }
            SunspecQuestion::Header(_) => Ask { name: "the next model", essential: true },
            SunspecQuestion::Block(at, _) => {
                let battery =
                    self.battery.is_some_and(|b| (b.at..b.at.saturating_add(b.length)).contains(&at));
                Ask { name: "a model's registers", essential: battery }
            }
        }
    }

    fn request(&mut self, question: SunspecQuestion) -> Vec<u8> {
        let asked = self.asked(question);
        self.decoder.framing_mut().asked = Some(asked);
        asked.to_rtu()
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

    fn next_heard(&mut self, question: SunspecQuestion) -> Option<Heard> {
        Some(match self.decoder.next_frame()? {
            RegistersAnswer::Registers(values) => self.take(question, &values),
            RegistersAnswer::Exception(code) => Heard::Refused(exception_text(code)),
        })
    }

    fn give_up(&mut self, _question: SunspecQuestion) {}

    fn reading(&mut self) -> PackReading {
        let Some(battery) = BatteryModel::decode(&self.model(self.battery)) else {
            // What stands there is no longer what was found; the next cycle looks for it again.
            return PackReading::default();
        };
        self.read = true;
        let bank = BankModel::decode(&self.model(self.bank));
        let state = battery.charge_state.and_then(state_of);
        if let Some(amps) = battery.amps {
            self.sign.observe(amps, state);
        }
        let mut sieve = Sieve::default();
        sieve.pack_voltage(battery.volts, None);
        sieve.pack_current(battery.amps.map(|amps| self.sign().apply(amps).0));
        sieve.soc(battery.soc_percent);
        sieve.soh(battery.soh_percent);
        sieve.full_capacity(battery.capacity_ah);
        let modules = bank.as_ref().map(|bank| [bank.max_celsius, bank.min_celsius]);
        modules.into_iter().flatten().flatten().for_each(|celsius| sieve.temperature(Some(celsius)));
        let mut reading = sieve.reading;
        (reading.cycles, reading.state) = (battery.cycles, state);
        let strings = bank.iter().flat_map(|bank| bank.strings.iter().map(|string| string.events));
        for events in std::iter::once(battery.events[0]).chain(strings).flatten() {
            sort_names(events, EVENTS, &mut reading.faults, &mut reading.warnings);
        }
        reading
    }

    fn frame_stats(&self) -> FrameStats {
        self.decoder.stats()
    }

    fn memory(&self) -> Value {
        let Self { searched, battery, bank, found, read, sign, .. } = *self;
        learned(&Learned { searched, battery, bank, found, read, sign })
    }

    fn remember(&mut self, memory: &Value) -> Result<(), BadMemory> {
        let Learned { searched, battery, bank, found, read, sign } = recall(memory)?;
        (self.searched, self.battery, self.bank) = (searched, battery, bank);
        (self.found, self.read, self.sign) = (found, read, sign);
        Ok(())
    }
}

/// What stays known from one cycle to the next.
#[derive(Serialize, Deserialize)]
struct Learned {
    searched: usize,
    battery: Option<Place>,
    bank: Option<Place>,
    found: bool,
    read: bool,
    sign: SignMemory,
}
