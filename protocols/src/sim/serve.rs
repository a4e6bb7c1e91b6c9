//! A simulated device while it is served: one task a wire, at the pace of a real line, until its handle is stopped or
//! dropped.
//!
//! It counts an answer once its last byte has left, so that the counts never run ahead of the wire. What the wire is, a
//! pty or a connection, is its maker's affair.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::device::{DeviceSide, Reply, SimStats};

/// Start bit, eight data bits, stop bit.
const BITS_PER_BYTE: f64 = 10.0;

/// How fast the line and the device are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinePace {
    /// Bits per second on the line.
    pub baud: u32,
    /// What the device needs to think before it answers.
    pub turnaround: Duration,
}

impl Default for LinePace {
    fn default() -> Self {
        Self { baud: 9600, turnaround: Duration::from_millis(5) }
    }
}

impl LinePace {
    fn wire_time(&self, bytes: usize) -> Duration {
        let bits = f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)) * BITS_PER_BYTE;
        Duration::from_secs_f64(bits / f64::from(self.baud.max(1)))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Serving,
    Paused,
    Stopped,
}

/// A running simulated device. Dropping it stops the device and hangs up the line.
#[derive(Debug)]
pub struct SimHandle {
    pub(super) path: PathBuf,
    pub(super) stats: Arc<SimStats>,
    pub(super) mode: watch::Sender<Mode>,
    pub(super) started: Instant,
    pub(super) task: JoinHandle<io::Result<()>>,
}

impl SimHandle {
    /// Where a client opens the device: the path of a port, or a URL in place of one.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the device counted.
    pub fn stats(&self) -> Arc<SimStats> {
        Arc::clone(&self.stats)
    }

    /// The device's time: how long it has been served.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Makes the device deaf and silent, as a board asleep. What it is saying is cut off.
    pub fn pause(&self) {
        self.mode.send_replace(Mode::Paused);
    }

    /// Wakes the device.
    pub fn resume(&self) {
        self.mode.send_replace(Mode::Serving);
    }

    /// Stops the device, hangs up the line and tells how serving ended.
    pub async fn stop(mut self) -> io::Result<()> {
        self.mode.send_replace(Mode::Stopped);
        (&mut self.task).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

impl Drop for SimHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A device that never speaks unasked does so then.
const FAR: Duration = Duration::from_secs(86_400 * 365);

/// What serving a device needs, whatever the wire.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    pub(super) pace: LinePace,
    pub(super) stats: Arc<SimStats>,
    pub(super) mode: watch::Receiver<Mode>,
    pub(super) started: Instant,
}

/// Serves one device on one wire.
pub(super) struct Server<D, R, W> {
    pub(super) heard: R,
    pub(super) said: W,
    pub(super) device: D,
    pub(super) terms: Terms,
}

impl<D: DeviceSide, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Server<D, R, W> {
    /// Serves until it is stopped or the other end is gone.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let mut buffer = [0; 512];
        loop {
            let next = self.terms.started + self.device.next_broadcast().unwrap_or(FAR);
            let count = tokio::select! {
                biased;
                gone = until_stopped(&mut self.terms.mode) => return gone,
                count = self.heard.read(&mut buffer) => count?,
                () = sleep_until(next) => {
                    self.broadcast().await?;
                    continue;
                }
            };
            if count == 0 {
                return Ok(());
            }
            if *self.terms.mode.borrow() == Mode::Serving {
                self.serve(&buffer[..count]).await?;
            }
        }
    }

    async fn broadcast(&mut self) -> io::Result<()> {
        let replies = self.device.broadcast(self.terms.started.elapsed());
        if *self.terms.mode.borrow() != Mode::Serving {
            return Ok(());
        }
        self.answer(replies, Instant::now()).await
    }

    async fn serve(&mut self, bytes: &[u8]) -> io::Result<()> {
        let heard = Instant::now();
        let replies = self.device.handle_input(bytes, self.terms.started.elapsed());
        // A pty delivers at once what a line would still be carrying.
        let free_at = heard + self.terms.pace.wire_time(bytes.len()) + self.terms.pace.turnaround;
        self.answer(replies, free_at).await
    }

    async fn answer(&mut self, replies: Vec<Reply>, mut free_at: Instant) -> io::Result<()> {
        for reply in replies {
            self.terms.stats.count_request(&reply);
            free_at += reply.delay;
            if !reply.frames.is_empty() && self.say(&reply, &mut free_at).await? {
                self.terms.stats.count_answer(&reply);
            }
        }
        Ok(())
    }

    /// Sends a reply at the line's pace; false when it was cut off by a pause or stop.
    async fn say(&mut self, reply: &Reply, free_at: &mut Instant) -> io::Result<bool> {
        for frame in &reply.frames {
            *free_at += self.terms.pace.wire_time(frame.len());
            let interrupted =
                timeout_at(*free_at, self.terms.mode.wait_for(|mode| *mode != Mode::Serving)).await.is_ok();
            if interrupted {
                return Ok(false);
            }
            let written = tokio::select! {
                biased;
                _ = self.terms.mode.wait_for(|mode| *mode != Mode::Serving) => return Ok(false),
                written = self.said.write_all(frame) => written,
            };
            written?;
        }
        Ok(true)
    }
}

/// Ends when the device is stopped, or when nobody is left to stop it.
pub(super) async fn until_stopped(mode: &mut watch::Receiver<Mode>) -> io::Result<()> {
    match mode.wait_for(|mode| *mode == Mode::Stopped).await {
        Ok(_) | Err(_) => Ok(()),
    }
}
