//! ISO 15765-2: messages of up to 4095 bytes in CAN frames of eight.
//!
//! Only taken apart and put together here; when to send the frame that lets the other side go on is up to whoever owns
//! the bus.

/// More than a board's buffer holds would never be sent to one; a first frame that states more is refused.
const MAX_MESSAGE_BYTES: usize = 4095;

/// One frame of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IsotpFrame {
    /// A whole message.
    Single(Vec<u8>),
    /// The length of a message and its beginning.
    First(usize, Vec<u8>),
    /// Its number modulo 16 and what follows.
    Consecutive(u8, Vec<u8>),
    /// What the receiver says; 0 lets the sender go on.
    FlowControl(u8),
}

impl IsotpFrame {
    /// Reads a frame's data; `None` where it is none.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let (first, rest) = data.split_first()?;
        let low = first & 0x0F;
        match first >> 4 {
            0 => {
                let length = usize::from(low);
                (length > 0).then_some(())?;
                Some(Self::Single(rest.get(..length)?.to_vec()))
            }
            1 => {
                let (second, rest) = rest.split_first()?;
                let length = usize::from(low) << 8 | usize::from(*second);
                (length > rest.len() && rest.len() == 6).then(|| Self::First(length, rest.to_vec()))
            }
            2 => Some(Self::Consecutive(low, rest.to_vec())),
            3 => (rest.len() >= 2).then_some(Self::FlowControl(low)),
            _ => None,
        }
    }
}

/// Takes a message apart into the data of frames; `None` where it is empty or too long.
pub fn segment(message: &[u8]) -> Option<Vec<Vec<u8>>> {
    if message.is_empty() || message.len() > MAX_MESSAGE_BYTES {
        return None;
    }
    let length = u16::try_from(message.len()).ok()?;
    if message.len() < 8 {
        return Some(vec![[&length.to_be_bytes()[1..], message].concat()]);
    }
    let (head, tail) = message.split_at(6);
    let mut frames = vec![[&(0x1000 | length).to_be_bytes(), head].concat()];
    for (chunk, number) in tail.chunks(7).zip((0..16u8).cycle().skip(1)) {
        frames.push([&[0x20 | number], chunk].concat());
    }
    Some(frames)
}

/// A message under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Transfer {
    length: usize,
    bytes: Vec<u8>,
    next: u8,
}

impl Transfer {
    pub(super) fn begin(length: usize, head: Vec<u8>) -> Self {
        Self { length, bytes: head, next: 1 }
    }

    /// Takes the next frame: the message once it is whole. A frame out of order is an error and ends the transfer.
    pub(super) fn take(&mut self, number: u8, data: &[u8]) -> Result<Option<Vec<u8>>, ()> {
        if number != self.next || data.is_empty() {
            return Err(());
        }
        self.next = (self.next + 1) % 16;
        let missing = self.length - self.bytes.len();
        self.bytes.extend_from_slice(&data[..data.len().min(missing)]);
        Ok((self.bytes.len() == self.length).then(|| std::mem::take(&mut self.bytes)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frames_are_told_apart_and_impossible_ones_refused() {
        assert_eq!(IsotpFrame::parse(&[2, 1, 7]), Some(IsotpFrame::Single(vec![1, 7])));
        assert_eq!(IsotpFrame::parse(&[0x30, 0, 1]), Some(IsotpFrame::FlowControl(0)));
        for bad in [&[0u8][..], &[3, 1, 7], &[0x10], &[0x10, 5, 1, 2, 3, 4, 5, 6], &[0x40, 0], &[]] {
            assert_eq!(IsotpFrame::parse(bad), None, "{bad:?}");
        }
        assert_eq!((segment(&[]), segment(&[0; 4096])), (None, None));
    }

    proptest! {
        #[test]
        fn messages_survive_their_frames(message in proptest::collection::vec(any::<u8>(), 1..600)) {
            let frames = segment(&message).unwrap();
            prop_assert!(frames.iter().all(|frame| frame.len() <= 8));
            let mut transfer = Transfer::default();
            let mut whole = None;
            for frame in &frames {
                match IsotpFrame::parse(frame).unwrap() {
                    IsotpFrame::Single(message) => whole = Some(message),
                    IsotpFrame::First(length, head) => transfer = Transfer::begin(length, head),
                    IsotpFrame::Consecutive(number, data) => whole = transfer.take(number, &data).unwrap(),
                    IsotpFrame::FlowControl(_) => prop_assert!(false),
                }
            }
            prop_assert_eq!(whole, Some(message));
        }
    }
}
