//! One classic CAN frame: an id of 11 or 29 bits and up to eight bytes.
//!
//! Remote frames, error frames and CAN FD are not what any battery here sends and have no place in the type.

use std::fmt;

/// Who a frame is from or for; the width counts, 0x100 of 11 bits is not 0x100 of 29.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CanId {
    /// Eleven bits.
    Standard(u16),
    /// Twenty-nine bits.
    Extended(u32),
}

impl CanId {
    /// Takes an id of either width; `None` where it has more bits than its width.
    pub fn new(id: u32, extended: bool) -> Option<Self> {
        if extended {
            return (id < 1 << 29).then_some(Self::Extended(id));
        }
        u16::try_from(id).ok().filter(|id| *id < 1 << 11).map(Self::Standard)
    }
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CanFrame {
    id: CanId,
    length: u8,
    data: [u8; 8],
}

impl CanFrame {
    /// Takes a frame; `None` where the data is longer than eight bytes.
    pub fn new(id: CanId, data: &[u8]) -> Option<Self> {
        let mut padded = [0; 8];
        padded.get_mut(..data.len())?.copy_from_slice(data);
        Some(Self { id, length: u8::try_from(data.len()).ok()?, data: padded })
    }

    /// Its id.
    pub const fn id(&self) -> CanId {
        self.id
    }

    /// Its bytes.
    pub fn data(&self) -> &[u8] {
        &self.data[..usize::from(self.length)]
    }
}

/// As candump writes it: three digits of id are a short one, eight a long one.
impl fmt::Display for CanFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            CanId::Standard(id) => write!(f, "{id:03X}#")?,
            CanId::Extended(id) => write!(f, "{id:08X}#")?,
        }
        self.data().iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}
