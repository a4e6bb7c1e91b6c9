//! A device that knows nothing but recorded frames: every request is answered with the frames of its command.
//!
//! Real input for tests. What the recording does not hold stays unanswered, as on a board that does not know a command.

use std::collections::BTreeMap;
use std::time::Duration;

use super::device::{DeviceSide, Reply};
use crate::bms::daly_uart::{Frame, FrameDecoder, command};

/// Plays recorded Daly answers.
#[derive(Debug, Clone)]
pub struct FrameReplay {
    frames: BTreeMap<u8, Vec<Vec<u8>>>,
    leading: BTreeMap<u8, Vec<u8>>,
    decoder: FrameDecoder,
    pack_was_asked: bool,
}

impl FrameReplay {
    /// Takes recorded answers in the order in which they came; what is no frame is left out.
    pub fn new(recorded: &[Vec<u8>]) -> Self {
        let mut frames: BTreeMap<u8, Vec<Vec<u8>>> = BTreeMap::new();
        for bytes in recorded {
            if let Ok(frame) = Frame::parse(bytes) {
                frames.entry(frame.command).or_default().push(bytes.clone());
            }
        }
        Self { frames, leading: BTreeMap::new(), decoder: FrameDecoder::default(), pack_was_asked: false }
    }

    /// Sends bytes before the first frame of one command's answer, as some boards do.
    #[must_use]
    pub fn with_leading_bytes(mut self, command: u8, bytes: &[u8]) -> Self {
        self.leading.insert(command, bytes.to_vec());
        self
    }

    fn reply(&mut self, command: u8) -> Reply {
        let mut frames = self.frames.get(&command).cloned().unwrap_or_default();
        if let (Some(first), Some(leading)) = (frames.first_mut(), self.leading.get(&command)) {
            first.splice(0..0, leading.iter().copied());
        }
        let ends_cycle = command == command::FAULTS && self.pack_was_asked && !frames.is_empty();
        self.pack_was_asked = command == command::PACK || (self.pack_was_asked && command != command::FAULTS);
        let measures = command == command::PACK && !frames.is_empty();
        Reply { frames, ends_cycle, measures, ..Reply::default() }
    }
}

impl DeviceSide for FrameReplay {
    fn handle_input(&mut self, bytes: &[u8], _now: Duration) -> Vec<Reply> {
        self.decoder.push(bytes);
        let mut replies = Vec::new();
        while let Some(request) = self.decoder.next_frame() {
            replies.push(self.reply(request.command));
        }
        replies
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bms::daly_uart::{Board, Filler, read_request};

    #[test]
    fn a_request_gets_the_recorded_frames_of_its_command() {
        let frame = Frame { address: 1, command: command::STATUS, data: [14, 1, 0, 0, 2, 0, 0, 0x20] };
        let bytes = frame.to_bytes().to_vec();
        let mut replay =
            FrameReplay::new(std::slice::from_ref(&bytes)).with_leading_bytes(command::STATUS, &[0, 0]);
        let mut ask = |command| {
            replay
                .handle_input(&read_request(Board::FIRST, command, Filler::Zeros).to_bytes(), Duration::ZERO)
        };
        assert_eq!(ask(command::STATUS)[0].frames, [[&[0, 0][..], &bytes].concat()]);
        assert_eq!(ask(command::PACK), [Reply::default()]);
    }
}
