//! A simulated device behind a real pseudoterminal.
//!
//! The other end is a path like `/dev/pts/4` that any serial program can open, as often as it likes: the slave side is
//! kept open here, so that a client's leaving is no hang-up.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::Instant;

use super::device::{DeviceSide, SimStats};
use super::serve::{LinePace, Mode, Server, SimHandle, Terms};

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
        // Tokio has no type for a terminal; its pipe ends do the same non-blocking reads and writes on any descriptor,
        // and AsyncFd is either deprecated or unsafe to make.
        let server = Server {
            said: pipe::Sender::from_owned_fd_unchecked(master.try_clone()?)?,
            heard: pipe::Receiver::from_owned_fd_unchecked(master)?,
            device,
            terms: Terms { pace, stats: Arc::clone(&stats), mode: watched, started },
        };
        #[expect(
            clippy::disallowed_methods,
            reason = "the device's own life, ended by its handle; no actor serves it"
        )]
        let task = tokio::spawn(async move {
            let served = server.run().await;
            drop(slave);
            served
        });
        Ok(SimHandle { path, stats, mode, started, task })
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
