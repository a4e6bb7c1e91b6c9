//! Lines from the unit: `$#<letter><three digits><value>$#…$`, closed by CR and LF.
//!
//! There is no checksum, so a line counts only if every token is known, every value is a number and the tokens are those
//! of one whole line: the tail of a damaged line must not pass for a line. Numbers are kept in the wire's own steps.

use serde::{Deserialize, Serialize};

use super::parameter;
use crate::bms::framing::{BadFrameReason, Found, Framing, noise_before};

/// Twice the longest line that the firmware builds.
const MAX_LINE_BYTES: usize = 192;
const CELLS: std::ops::RangeInclusive<u8> = 1..=99;

/// One line of the unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Sent every five seconds on any page.
    Heartbeat {
        /// Runs from 0 to 999.
        counter: u16,
        /// Something is wrong with at least one cell.
        alarm: bool,
    },
    /// The pack at a glance.
    Overview(Overview),
    /// Two neighbouring cells; an odd pack's last line carries one that does not exist.
    Cells([Cell; 2]),
    /// Settings, by their number.
    Parameters(Vec<(u8, i32)>),
    /// The password was told; what it is was forgotten at once.
    Password,
    /// All settings were sent.
    EndOfSettings,
    /// The unit asks for a sign of life.
    KeepAlive,
}

/// The pack at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// Pack voltage in 0.1 V.
    pub decivolts: i32,
    /// Current in 0.01 A, positive while charging.
    pub centiamps: i32,
    /// State of charge in %.
    pub soc_percent: i32,
    /// The highest cell in 0.01 V.
    pub max_cell_centivolts: i32,
    /// The lowest cell in 0.01 V.
    pub min_cell_centivolts: i32,
    /// 0 idle, 1 charging, 2 discharging.
    pub state: u8,
}

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Which one, from 1.
    pub number: u8,
    /// Its voltage in 0.01 V.
    pub centivolts: i32,
    /// Temperature of its pole in °C.
    pub pole_celsius: i32,
    /// Temperature of its balancing resistor in °C.
    pub resistor_celsius: i32,
    flags: u8,
}

/// What a cell's module says of it, in the order of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellFlag {
    /// Far too full.
    VeryHigh,
    /// Its resistor is at work.
    Balancing,
    /// Too empty.
    Low,
    /// Its module is lost, or measures what no cell has.
    Error,
    /// Its pole is too hot.
    PoleHot,
    /// Its resistor is too hot.
    ResistorHot,
}

impl CellFlag {
    /// All flags in the order of the wire.
    pub const ALL: [Self; 6] =
        [Self::VeryHigh, Self::Balancing, Self::Low, Self::Error, Self::PoleHot, Self::ResistorHot];

    const fn bit(self) -> u8 {
        match self {
            Self::VeryHigh => 1,
            Self::Balancing => 1 << 1,
            Self::Low => 1 << 2,
            Self::Error => 1 << 3,
            Self::PoleHot => 1 << 4,
            Self::ResistorHot => 1 << 5,
        }
    }
}

impl Cell {
    /// Builds a cell of a simulated unit.
    pub fn new(number: u8, centivolts: i32, celsius: [i32; 2], flags: &[CellFlag]) -> Self {
        let flags = flags.iter().fold(0, |bits, flag| bits | flag.bit());
        Self { number, centivolts, pole_celsius: celsius[0], resistor_celsius: celsius[1], flags }
    }

    /// Tells whether a flag is set.
    pub const fn has(&self, flag: CellFlag) -> bool {
        self.flags & flag.bit() != 0
    }
}

/// `#<letter><index><value>`.
struct Token<'a> {
    letter: u8,
    index: u8,
    value: &'a str,
}

fn token(text: &str) -> Option<Token<'_>> {
    let (head, value) = text.strip_prefix('#')?.split_at_checked(4)?;
    let (letter, index) = head.split_at_checked(1)?;
    let digits = index.bytes().all(|byte| byte.is_ascii_digit());
    Some(Token { letter: letter.bytes().next()?, index: index.parse().ok().filter(|_| digits)?, value })
}

/// Reads a decimal number in steps of a power of ten, without a float in between. More decimals than the wire has are
/// none of its numbers.
fn steps(value: &str, decimals: usize) -> Option<i32> {
    let (sign, magnitude) = match value.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, value),
    };
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let point_without_digits = magnitude.contains('.') && fraction.is_empty();
    if whole.is_empty() || point_without_digits || fraction.len() > decimals || magnitude.len() > 9 {
        return None;
    }
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let steps: i32 = format!("{whole}{fraction:0<decimals$}").parse().ok()?;
    Some(sign * steps)
}

fn number<T: TryFrom<i32>>(token: &Token<'_>, letter: u8, index: u8, decimals: usize) -> Option<T> {
    if (token.letter, token.index) != (letter, index) {
        return None;
    }
    T::try_from(steps(token.value, decimals)?).ok()
}

fn flags(value: &str) -> Option<u8> {
    if value.len() != CellFlag::ALL.len() {
        return None;
    }
    CellFlag::ALL.iter().zip(value.bytes()).try_fold(0, |bits, (flag, byte)| match byte {
        b'0' => Some(bits),
        b'1' => Some(bits | flag.bit()),
        _ => None,
    })
}

fn cell([v, t, u, z]: &[Token<'_>; 4]) -> Option<Cell> {
    let number_of = v.index;
    if !CELLS.contains(&number_of) || (z.letter, z.index) != (b'z', number_of) {
        return None;
    }
    Some(Cell {
        number: number_of,
        centivolts: number(v, b'v', number_of, 2)?,
        pole_celsius: number(t, b't', number_of, 0)?,
        resistor_celsius: number(u, b'u', number_of, 0)?,
        flags: flags(z.value)?,
    })
}

fn cells(tokens: &[Token<'_>]) -> Option<Line> {
    let (first, second) = tokens.split_first_chunk::<4>()?;
    let (first, second) = (cell(first)?, cell(second.as_array()?)?);
    (second.number == first.number + 1).then_some(Line::Cells([first, second]))
}

fn overview(tokens: &[Token<'_>]) -> Option<Line> {
    let [voltage, current, soc, max, min, state] = tokens else { return None };
    Some(Line::Overview(Overview {
        decivolts: number(voltage, b'g', 1, 1)?,
        centiamps: number(current, b'g', 2, 2)?,
        soc_percent: number(soc, b'g', 3, 0)?,
        max_cell_centivolts: number(max, b'g', 4, 2)?,
        min_cell_centivolts: number(min, b'g', 5, 2)?,
        state: number(state, b'g', 6, 0).filter(|state| *state <= 2)?,
    }))
}

fn heartbeat(tokens: &[Token<'_>]) -> Option<Line> {
    let [counter, alarm] = tokens else { return None };
    let counter = number(counter, b'i', 0, 0).filter(|counter| *counter <= 999)?;
    let alarm: u8 = number(alarm, b'i', 1, 0).filter(|alarm| *alarm <= 1)?;
    Some(Line::Heartbeat { counter, alarm: alarm == 1 })
}

fn parameters(tokens: &[Token<'_>]) -> Option<Line> {
    if let [Token { letter: b'p', index: parameter::PASSWORD, value }] = tokens {
        return (!value.is_empty()).then_some(Line::Password);
    }
    let mut values: Vec<(u8, i32)> = Vec::with_capacity(tokens.len());
    for token in tokens {
        // A number that comes twice shows that two lines ran into one.
        if token.index == parameter::PASSWORD || values.iter().any(|(index, _)| *index == token.index) {
            return None;
        }
        values.push((token.index, number(token, b'p', token.index, 0)?));
    }
    Some(Line::Parameters(values))
}

fn single(tokens: &[Token<'_>], line: Line) -> Option<Line> {
    matches!(tokens, [Token { index: 0, value: "", .. }]).then_some(line)
}

/// Reads a line without its line end.
fn parse(text: &str) -> Option<Line> {
    let inner = text.strip_prefix('$')?.strip_suffix('$')?;
    let tokens = inner.split('$').map(token).collect::<Option<Vec<_>>>()?;
    match tokens.first()?.letter {
        b'i' => heartbeat(&tokens),
        b'g' => overview(&tokens),
        b'v' => cells(&tokens),
        b'p' => parameters(&tokens),
        b'f' => single(&tokens, Line::EndOfSettings),
        b'm' => single(&tokens, Line::KeepAlive),
        _ => None,
    }
}

fn decimal(steps: i32, decimals: usize) -> String {
    let digits = format!("{:0>width$}", steps.unsigned_abs(), width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    format!("{}{whole}.{fraction}", if steps < 0 { "-" } else { "" })
}

/// From ten amperes on the unit sends no decimals.
fn amps(centiamps: i32) -> String {
    if centiamps.abs() < 1000 { decimal(centiamps, 2) } else { (centiamps / 100).to_string() }
}

impl Overview {
    fn text(&self) -> String {
        let Self {
            decivolts,
            centiamps,
            soc_percent,
            max_cell_centivolts: max,
            min_cell_centivolts: min,
            state,
        } = self;
        let (volts, amps) = (decimal(*decivolts, 1), amps(*centiamps));
        let (max, min) = (decimal(*max, 2), decimal(*min, 2));
        format!("$#g001{volts}$#g002{amps}$#g003{soc_percent}$#g004{max}$#g005{min}$#g006{state}$")
    }
}

impl Cell {
    fn text(&self) -> String {
        let Self { number, pole_celsius: pole, resistor_celsius: resistor, .. } = self;
        let volts = decimal(self.centivolts, 2);
        let flags: String = CellFlag::ALL.map(|flag| if self.has(flag) { '1' } else { '0' }).iter().collect();
        format!("$#v{number:03}{volts}$#t{number:03}{pole}$#u{number:03}{resistor}$#z{number:03}{flags}")
    }
}

impl Line {
    /// Puts the line into the bytes that the unit sends; the password is not known and left empty.
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = match self {
            Self::Heartbeat { counter, alarm } => format!("$#i000{counter}$#i001{}$", u8::from(*alarm)),
            Self::Overview(overview) => overview.text(),
            Self::Cells([first, second]) => format!("{}{}$", first.text(), second.text()),
            Self::Parameters(values) => {
                values.iter().map(|(index, value)| format!("$#p{index:03}{value}")).collect::<String>() + "$"
            }
            Self::Password => "$#p002$".to_owned(),
            Self::EndOfSettings => "$#f000$".to_owned(),
            Self::KeepAlive => "$#m000$".to_owned(),
        };
        [text.as_bytes(), b"\r\n"].concat()
    }
}

/// The shape of the unit's lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LineFraming;

impl Framing for LineFraming {
    type Frame = Line;

    fn find(&self, bytes: &[u8]) -> Found<Line> {
        if let Some(noise) = noise_before(bytes, |byte| byte == b'$') {
            return noise;
        }
        if bytes.get(1).is_some_and(|byte| *byte != b'#') {
            return Found::Bad(BadFrameReason::Shape, 2);
        }
        let window = &bytes[..bytes.len().min(MAX_LINE_BYTES)];
        let Some(at) = window.iter().position(|byte| !(b' '..=b'~').contains(byte)) else {
            return if window.len() == MAX_LINE_BYTES {
                Found::Bad(BadFrameReason::Length, MAX_LINE_BYTES)
            } else {
                Found::Incomplete
            };
        };
        match (bytes[at], bytes.get(at + 1)) {
            (b'\r', None) => Found::Incomplete,
            (b'\r', Some(b'\n')) => match std::str::from_utf8(&bytes[..at]).ok().and_then(parse) {
                Some(line) => Found::Frame(line, at + 2),
                None => Found::Bad(BadFrameReason::Shape, at + 2),
            },
            _ => Found::Bad(BadFrameReason::Shape, at + 1),
        }
    }
}

#[cfg(test)]
mod tests;
