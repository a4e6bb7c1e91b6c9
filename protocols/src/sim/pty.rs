//! A simulated device behind a real pseudoterminal, at the pace of a real line.
//!
//! The other end is a path like `/dev/pts/4` that any serial program can open, as often as it likes: the slave side is
//! kept open here, so that a client's leaving is no hang-up. One task serves the device until its handle is stopped or
//! dropped. It counts an answer once its last byte has left, so that the counts never run ahead of the wire.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

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
enum Mode {
    Serving,
    Paused,
    Stopped,
}

/// Starts simulated devices on ptys.
#[derive(Debug)]
pub struct PtySim;

impl PtySim {
    /// Opens a pty and serves the device on it. Must be called inside a tokio runtime with IO and time enabled.
    pub fn spawn(device: impl DeviceSide + 'static, pace: LinePace) -> io::Result<SimHandle> {
        let (master, slave, path) = open_pty()?;
        let stats = Arc::new(SimStats::default());
        let (mode, watched) = watch::channel(Mode::Serving);
        let started = Instant::now();
        let server = Server {
            // Tokio has no type for a terminal; its pipe ends do the same non-blocking reads and writes on any
            // descriptor, and AsyncFd is either deprecated or unsafe to make.
            said: pipe::Sender::from_owned_fd_unchecked(master.try_clone()?)?,
            heard: pipe::Receiver::from_owned_fd_unchecked(master)?,
            _slave: slave,
            device,
            pace,
            stats: Arc::clone(&stats),
            mode: watched,
            started,
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the device's own life, ended by its handle; no actor serves it"
        )]
        let task = tokio::spawn(server.run());
        Ok(SimHandle { path, stats, mode, started, task })
    }
}

/// A running simulated device. Dropping it stops the device and hangs up the line.
#[derive(Debug)]
pub struct SimHandle {
    path: PathBuf,
    stats: Arc<SimStats>,
    mode: watch::Sender<Mode>,
    started: Instant,
    task: JoinHandle<io::Result<()>>,
}

impl SimHandle {
    /// Where a client opens the device.
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

fn open_pty() -> io::Result<(OwnedFd, OwnedFd, PathBuf)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let name = ptsname(&master, Vec::new())?;
    let path = PathBuf::from(name.to_str().map_err(io::Error::other)?);
    let no_controlling_tty = i32::try_from(OFlags::NOCTTY.bits()).map_err(io::Error::other)?;
    let slave = OpenOptions::new().read(true).write(true).custom_flags(no_controlling_tty).open(&path)?;
    let mut termios = tcgetattr(&slave)?;
    termios.make_raw();
    tcsetattr(&slave, OptionalActions::Now, &termios)?;
    rustix::io::ioctl_fionbio(&master, true)?;
    Ok((master, slave.into(), path))
}

struct Server<D> {
    heard: pipe::Receiver,
    said: pipe::Sender,
    _slave: OwnedFd,
    device: D,
    pace: LinePace,
    stats: Arc<SimStats>,
    mode: watch::Receiver<Mode>,
    started: Instant,
}

impl<D: DeviceSide> Server<D> {
    async fn run(mut self) -> io::Result<()> {
        let mut buffer = [0; 512];
        loop {
            let count = tokio::select! {
                biased;
                gone = until_stopped(&mut self.mode) => return gone,
                count = self.heard.read(&mut buffer) => count?,
            };
            if *self.mode.borrow() == Mode::Serving {
                self.serve(&buffer[..count]).await?;
            }
        }
    }

    async fn serve(&mut self, bytes: &[u8]) -> io::Result<()> {
        let heard = Instant::now();
        let replies = self.device.handle_input(bytes, self.started.elapsed());
        // A pty delivers at once what a line would still be carrying.
        let mut free_at = heard + self.pace.wire_time(bytes.len()) + self.pace.turnaround;
        for reply in replies {
            self.stats.count_request(&reply);
            free_at += reply.delay;
            if !reply.frames.is_empty() && self.say(&reply, &mut free_at).await? {
                self.stats.count_answer(&reply);
            }
        }
        Ok(())
    }

    /// Sends a reply at the line's pace; false when it was cut off by a pause or stop.
    async fn say(&mut self, reply: &Reply, free_at: &mut Instant) -> io::Result<bool> {
        for frame in &reply.frames {
            *free_at += self.pace.wire_time(frame.len());
            let interrupted =
                timeout_at(*free_at, self.mode.wait_for(|mode| *mode != Mode::Serving)).await.is_ok();
            if interrupted {
                return Ok(false);
            }
            let written = tokio::select! {
                biased;
                _ = self.mode.wait_for(|mode| *mode != Mode::Serving) => return Ok(false),
                written = self.said.write_all(frame) => written,
            };
            written?;
        }
        Ok(true)
    }
}

/// Ends when the device is stopped, or when nobody is left to stop it.
async fn until_stopped(mode: &mut watch::Receiver<Mode>) -> io::Result<()> {
    match mode.wait_for(|mode| *mode == Mode::Stopped).await {
        Ok(_) | Err(_) => Ok(()),
    }
}
