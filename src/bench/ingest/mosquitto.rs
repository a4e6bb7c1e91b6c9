//! The same load through a Mosquitto in front of the node, which hears it over several connections that share it.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use voltree_runtime::clock;

use super::{Load, generator_to, number, report};
use crate::account::Account;
use crate::bench::node::BenchNode;

/// How many connections share the load.
const CONNECTIONS: u32 = 4;
/// How long Mosquitto may take to listen, and the node to subscribe.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where Debian keeps what an ordinary user's path does not have.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/usr/local/sbin"];

/// What came through.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passed {
    /// Messages a second that were stored.
    pub(super) stored_per_s: f64,
    /// How many of a hundred that were sent were not.
    pub(super) lost_percent: f64,
}

/// How Mosquitto is set up.
#[derive(Debug, Clone, Copy)]
pub(super) enum Setting {
    /// As much under way and as much waiting as there is.
    Open,
    /// As it comes.
    Default,
}

/// Mosquitto, if this machine has it.
pub(super) fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(SYSTEM.map(PathBuf::from));
    dirs.map(|dir| dir.join("mosquitto")).find(|file| file.is_file())
}

/// Publishes to Mosquitto, and counts in the node's store what came through.
pub(super) fn pass(program: &PathBuf, setting: Setting, load: Load) -> anyhow::Result<Passed> {
    let mosquitto = Mosquitto::start(program, setting)?;
    let port = mosquitto.address.port();
    let node = BenchNode::start_with(&format!(
        "[[mqtt.broker]]\nname = \"mosquitto\"\nhost = \"127.0.0.1\"\nport = {port}\nconnections = {CONNECTIONS}\n\
         topics = [\"$share/bench/devices/+/telemetry\"]\n"
    ))?;
    node.wait_until_outside_brokers_are_heard(CONNECTIONS)?;
    let report = report(generator_to(mosquitto.address, load, 0)?)?;
    node.wait_until_folded()?;
    let (sent, seconds) = (number(&report, "/sent")?, number(&report, "/elapsed_s")?);
    let stored = node.stop_and_count()?;
    Ok(Passed { stored_per_s: stored / seconds, lost_percent: (sent - stored).max(0.0) / sent * 100.0 })
}

/// It ends with the measurement.
pub(super) struct Mosquitto {
    process: Child,
    config: PathBuf,
    pub(super) address: SocketAddr,
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // It may be gone already.
        self.process.kill().ok();
        self.process.wait().ok();
        std::fs::remove_file(&self.config).ok();
    }
}

impl Mosquitto {
    pub(super) fn account(&self) -> Account {
        Account::Of(self.process.id())
    }

    pub(super) fn start(program: &PathBuf, setting: Setting) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr())?;
        let limits = match setting {
            Setting::Open => "max_inflight_messages 1000\nmax_queued_messages 0\n",
            Setting::Default => "",
        };
        let config = std::env::temp_dir().join(format!("voltree-mosquitto-{}.conf", address.port()));
        let text = format!("listener {} 127.0.0.1\nallow_anonymous true\n{limits}", address.port());
        std::fs::write(&config, text).context("writing Mosquitto's configuration")?;
        let process = Command::new(program)
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let this = Self { process, config, address };
        let begun = clock::monotonic();
        while std::net::TcpStream::connect(address).is_err() {
            if begun.elapsed() > PATIENCE {
                bail!("Mosquitto does not listen on {address} after {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(this)
    }
}
