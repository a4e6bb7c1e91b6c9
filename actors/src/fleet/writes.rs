//! Writing from outside: batches of lines that go through the same door as what devices publish.

use std::net::SocketAddr;

use bytes::Bytes;
use futures::future::BoxFuture;
use voltree_model::{DeviceId, Secret, Timestamp};
use voltree_protocols::influx::Precision;

use super::Answer;
use crate::access::Denied;

/// A body of InfluxDB line protocol, and who sent it.
#[derive(Debug, Clone)]
pub struct LineBatch {
    /// The lines.
    pub body: Bytes,
    /// In which unit their times are.
    pub precision: Precision,
    /// Name and password, if they were given.
    pub credentials: Option<(String, Secret)>,
    /// From where it came, if that is known.
    pub peer: Option<SocketAddr>,
}

/// A line that was turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineProblem {
    /// Its number in the body, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub detail: String,
}

/// What became of a batch: everything in it is committed, as a reading or as a rejection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// How many lines were taken in.
    pub taken: usize,
    /// How many were turned away.
    pub rejected: usize,
    /// The first of those.
    pub problems: Vec<LineProblem>,
}

/// Why a batch must be sent again, or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Whoever sent it may not come in.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The inbox of a device stayed full, or too many batches are under way. What is sent again and was taken in before
    /// counts as duplicate.
    #[error("the node has more to take in than it can write at the moment; send the batch again later")]
    Busy,
    /// It was taken in, but the journal did not confirm it in time.
    #[error("the journal did not confirm the batch in time; send it again")]
    NotCommitted,
}

/// Taking in what others measured.
pub trait Writes: Send + Sync {
    /// Takes in a batch and answers once all of it is committed.
    fn write_lines(&self, batch: LineBatch) -> BoxFuture<'_, Result<Written, WriteError>>;
    /// The first moment of which a reading of the device is not too old to be kept; `None` if none is.
    fn oldest_kept(&self, device: &DeviceId) -> Option<Timestamp>;
    /// Keeps everything of a device for ever, also after a restart.
    fn keep_for_ever(&self, device: DeviceId) -> Answer<'_, ()>;
}
