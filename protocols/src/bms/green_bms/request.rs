//! What a host says to the unit: `#`, a letter, digits, CR.
//!
//! The unit knows no password on this wire, so whoever can send can write; this only builds and reads the text.

/// What the unit talks about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// Nothing but heartbeats.
    None,
    /// The password, which nobody should ask for.
    Connection,
    /// The pack at a glance.
    Overview,
    /// Cell by cell.
    Cells,
    /// The settings.
    Settings,
}

impl Page {
    const ALL: [Self; 5] = [Self::None, Self::Connection, Self::Overview, Self::Cells, Self::Settings];

    /// Its number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Connection => 1,
            Self::Overview => 2,
            Self::Cells => 3,
            Self::Settings => 4,
        }
    }
}

/// One command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Selects what the unit talks about.
    Select(Page),
    /// Asks for capacity and cell count in place of the overview's values, or ends that.
    OverviewStatic(bool),
    /// Asks for all settings, or ends that.
    AllSettings(bool),
    /// Shows that somebody listens; the number must change within 15 s or the unit falls silent.
    KeepAlive(u16),
    /// Lets a cell's module blink.
    TestCell(u8),
    /// Restarts a cell's module.
    ResetCell(u8),
    /// Writes a setting, by its number.
    Write(u8, i32),
}

impl Request {
    /// Puts the command into bytes.
    pub fn to_bytes(self) -> Vec<u8> {
        let text = match self {
            Self::Select(page) => format!("#s{}\r", page.number()),
            Self::OverviewStatic(on) => format!("#h{}\r", u8::from(on)),
            Self::AllSettings(on) => format!("#e{}\r", u8::from(on)),
            Self::KeepAlive(counter) => format!("#m{counter}\r"),
            Self::TestCell(cell) => format!("#q{cell}\r"),
            Self::ResetCell(cell) => format!("#r{cell}\r"),
            Self::Write(parameter, value) => format!("#p{parameter:03}{value}\r"),
        };
        text.into_bytes()
    }

    /// Reads a command with its line end; `None` where it is none that the unit knows.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let text = text.strip_prefix('#')?.trim_end_matches(['\r', '\n']);
        let (letter, value) = text.split_at_checked(1)?;
        if !value.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            return None;
        }
        Some(match letter {
            "s" => {
                let number: u8 = value.parse().ok()?;
                Self::Select(Page::ALL.into_iter().find(|page| page.number() == number)?)
            }
            "h" => Self::OverviewStatic(switch(value)?),
            "e" => Self::AllSettings(switch(value)?),
            "m" => Self::KeepAlive(value.parse().ok()?),
            "q" => Self::TestCell(value.parse().ok()?),
            "r" => Self::ResetCell(value.parse().ok()?),
            "p" => {
                let (parameter, value) = value.split_at_checked(3)?;
                Self::Write(parameter.parse().ok()?, value.parse().ok()?)
            }
            _ => return None,
        })
    }
}

fn switch(value: &str) -> Option<bool> {
    match value {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request() -> impl Strategy<Value = Request> {
        prop_oneof![
            proptest::sample::select(&Page::ALL[..]).prop_map(Request::Select),
            any::<bool>().prop_map(Request::OverviewStatic),
            any::<bool>().prop_map(Request::AllSettings),
            any::<u16>().prop_map(Request::KeepAlive),
            any::<u8>().prop_map(Request::TestCell),
            any::<u8>().prop_map(Request::ResetCell),
            any::<(u8, i32)>().prop_map(|(parameter, value)| Request::Write(parameter, value)),
        ]
    }

    #[test]
    fn what_the_unit_does_not_know_is_no_command() {
        for text in ["#c1\r", "s1\r", "#s9\r", "#h2\r", "#p01\r", "#m\r", "", "#"] {
            assert_eq!(Request::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn commands_survive_their_bytes(request in request()) {
            prop_assert_eq!(Request::parse(&request.to_bytes()), Some(request));
        }

        #[test]
        fn any_bytes_are_a_command_or_none(bytes: Vec<u8>) {
            // The outcome itself is not of interest, only that there is one.
            prop_assert!(Request::parse(&bytes).is_none_or(|request| !request.to_bytes().is_empty()));
        }
    }
}
