//! What `decode` shows, as far as all vendors share it: fields, requests, and what was refused with its reason.
//!
//! Nothing is judged here; what a reading believes is decided in `sieve`.

use serde_json::{Map, Value, json};

use super::framing::{Decoded, Framing, StreamDecoder};

/// A view under construction.
#[derive(Debug, Default)]
pub(super) struct WireView {
    pub(super) fields: Map<String, Value>,
    requests: Vec<Value>,
    rejected: Vec<(String, String)>,
}

impl WireView {
    /// Finds the frames of a piece, which is one frame or a stretch of a stream. A piece without any is refused whole;
    /// so is a failed candidate, but not the bytes around good frames.
    pub(super) fn frames<K: Framing>(&mut self, framing: K, piece: &[u8]) -> Vec<K::Frame> {
        let mut decoder = StreamDecoder::new(framing);
        decoder.push(piece);
        decoder.end();
        let (mut frames, mut refused) = (Vec::new(), Vec::new());
        while let Some(decoded) = decoder.next_decoded() {
            match decoded {
                Decoded::Frame(frame) => frames.push(frame),
                Decoded::Bad(bad) => refused.push(bad),
            }
        }
        if frames.is_empty() {
            // The first candidate is the frame that was meant; later ones are its own bytes looked at again.
            let why = refused.first().map_or("no frame begins here".to_owned(), |bad| bad.reason.to_string());
            self.reject(piece, why);
        } else {
            refused.iter().for_each(|bad| self.reject(&bad.bytes, bad.reason.to_string()));
        }
        frames
    }

    pub(super) fn reject(&mut self, bytes: &[u8], why: String) {
        self.reject_text(hex::encode(bytes), why);
    }

    /// Refuses a frame that is not written in plain hex.
    pub(super) fn reject_text(&mut self, frame: String, why: String) {
        self.rejected.push((frame, why));
    }

    /// Adds fields; a later frame's count.
    pub(super) fn show(&mut self, fields: Value) {
        if let Value::Object(fields) = fields {
            self.fields.extend(fields);
        }
    }

    pub(super) fn add_request(&mut self, request: Value) {
        self.requests.push(request);
    }

    /// Closes the view. A single request is shown flat, several as a list.
    pub(super) fn finish(mut self) -> Value {
        self.show(json!({ "valid": self.rejected.is_empty() }));
        if !self.rejected.is_empty() {
            let (frames, reasons): (Vec<_>, Vec<_>) = self.rejected.drain(..).unzip();
            self.show(json!({ "rejected_frames": frames, "rejected_because": reasons }));
        }
        let mut requests = std::mem::take(&mut self.requests);
        match requests.len() {
            0 => {}
            1 => self.show(requests.remove(0)),
            _ => self.show(json!({ "requests": requests })),
        }
        Value::Object(self.fields)
    }
}
