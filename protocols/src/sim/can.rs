//! Simulated devices on a CAN bus, and what a bus is reached through: an SLCAN adapter, or a socketcand.
//!
//! A device knows frames only; the two sides here put them into text as real adapters do. Nothing is said before the
//! client has opened the bus.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::device::{DeviceSide, HasPack, Reply};
use super::pack::SimPack;
use crate::bms::framing::{Found, Framing as _, StreamDecoder};
use crate::can::CanFrame;
use crate::can::slcan::{SlcanFraming, to_slcan};
use crate::can::socketcand::{Bracketed, frame_message, parse_send};

/// What a device on a bus says at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CanReply {
    /// Its frames, in order.
    pub frames: Vec<CanFrame>,
    /// As in [`Reply`].
    pub ends_cycle: bool,
    /// As in [`Reply`].
    pub measures: bool,
}

/// A device's end of a bus.
pub trait CanSide: Send {
    /// Hears a frame; `None` where it is not for this device.
    fn hear(&mut self, _frame: &CanFrame, _now: Duration) -> Option<CanReply> {
        None
    }

    /// When it next says something unasked; `None` for a device that never does.
    fn next_broadcast(&self) -> Option<Duration> {
        None
    }

    /// Says what it says unasked, once its time has come.
    fn broadcast(&mut self, _now: Duration) -> CanReply {
        CanReply::default()
    }
}

/// A device that its maker keeps a hand on.
impl<D: CanSide> CanSide for Arc<Mutex<D>> {
    fn hear(&mut self, frame: &CanFrame, now: Duration) -> Option<CanReply> {
        self.lock().hear(frame, now)
    }

    fn next_broadcast(&self) -> Option<Duration> {
        self.lock().next_broadcast()
    }

    fn broadcast(&mut self, now: Duration) -> CanReply {
        self.lock().broadcast(now)
    }
}

impl<D: CanSide + ?Sized> CanSide for Box<D> {
    fn hear(&mut self, frame: &CanFrame, now: Duration) -> Option<CanReply> {
        (**self).hear(frame, now)
    }

    fn next_broadcast(&self) -> Option<Duration> {
        (**self).next_broadcast()
    }

    fn broadcast(&mut self, now: Duration) -> CanReply {
        (**self).broadcast(now)
    }
}

fn in_text(reply: CanReply, text: impl Fn(&CanFrame) -> Vec<u8>) -> Reply {
    let CanReply { frames, ends_cycle, measures } = reply;
    Reply { frames: frames.iter().map(text).collect(), ends_cycle, measures, ..Reply::default() }
}

/// A bus behind an SLCAN adapter.
#[derive(Debug, Clone)]
pub struct SlcanSide<D> {
    device: D,
    heard: Vec<u8>,
    is_open: bool,
}

/// More than any command or frame has.
const MAX_LINE_BYTES: usize = 64;

impl<D: CanSide> SlcanSide<D> {
    /// Puts an adapter, not yet open, on the device's bus.
    pub const fn new(device: D) -> Self {
        Self { device, heard: Vec::new(), is_open: false }
    }

    /// What the adapter, and the device behind it, make of a line.
    fn line(&mut self, line: &[u8], now: Duration) -> Option<Reply> {
        match line.first() {
            Some(b'O') => self.is_open = true,
            Some(b'C') => self.is_open = false,
            Some(b't' | b'T') if self.is_open => {
                let Found::Frame(frame, _) = SlcanFraming.find(&[line, b"\r"].concat()) else { return None };
                let reply = self.device.hear(&frame, now);
                return Some(in_text(reply.unwrap_or_default(), to_slcan));
            }
            _ => {}
        }
        None
    }
}

impl<D: CanSide> DeviceSide for SlcanSide<D> {
    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        let mut replies = Vec::new();
        for byte in bytes {
            if *byte == b'\r' {
                let line = std::mem::take(&mut self.heard);
                replies.extend(self.line(&line, now));
            } else if self.heard.len() < MAX_LINE_BYTES {
                self.heard.push(*byte);
            }
        }
        replies
    }

    fn next_broadcast(&self) -> Option<Duration> {
        self.device.next_broadcast().filter(|_| self.is_open)
    }

    fn broadcast(&mut self, now: Duration) -> Vec<Reply> {
        vec![in_text(self.device.broadcast(now), to_slcan)]
    }
}

/// A bus behind a socketcand. It has one client at a time.
#[derive(Debug, Clone)]
pub struct SocketcandSide<D> {
    device: D,
    messages: StreamDecoder<Bracketed>,
    bus: String,
    is_open: bool,
}

impl<D: CanSide> SocketcandSide<D> {
    /// Puts a server, which has a bus of this name, on the device's bus.
    pub fn new(device: D, bus: &str) -> Self {
        Self { device, messages: StreamDecoder::new(Bracketed), bus: bus.to_owned(), is_open: false }
    }

    fn message(&mut self, message: &str, now: Duration) -> Reply {
        let says = |text: &str| Reply { frames: vec![text.as_bytes().to_vec()], ..Reply::default() };
        match message.split_whitespace().collect::<Vec<_>>()[..] {
            ["open", bus] if bus == self.bus => {
                self.is_open = true;
                says("< ok >")
            }
            ["open", _] => says("< error could not open bus >"),
            ["rawmode"] => says("< ok >"),
            ["send", ..] if self.is_open => {
                let reply = parse_send(message).and_then(|frame| self.device.hear(&frame, now));
                in_text(reply.unwrap_or_default(), |frame| text_of(frame, now))
            }
            _ => says("< error unknown command >"),
        }
    }
}

fn text_of(frame: &CanFrame, now: Duration) -> Vec<u8> {
    frame_message(frame, now.as_secs_f64()).into_bytes()
}

impl<D: CanSide> DeviceSide for SocketcandSide<D> {
    fn greeting(&mut self) -> Vec<u8> {
        self.is_open = false;
        b"< hi >".to_vec()
    }

    fn handle_input(&mut self, bytes: &[u8], now: Duration) -> Vec<Reply> {
        self.messages.push(bytes);
        let mut replies = Vec::new();
        while let Some(message) = self.messages.next_frame() {
            replies.push(self.message(&message, now));
        }
        replies
    }

    fn next_broadcast(&self) -> Option<Duration> {
        self.device.next_broadcast().filter(|_| self.is_open)
    }

    fn broadcast(&mut self, now: Duration) -> Vec<Reply> {
        vec![in_text(self.device.broadcast(now), |frame| text_of(frame, now))]
    }
}

impl<D: HasPack> HasPack for SlcanSide<D> {
    fn pack_mut(&mut self) -> &mut SimPack {
        self.device.pack_mut()
    }
}

impl<D: HasPack> HasPack for SocketcandSide<D> {
    fn pack_mut(&mut self) -> &mut SimPack {
        self.device.pack_mut()
    }
}
