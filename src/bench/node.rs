//! The node that is measured: this program in a process of its own, on a directory of its own, which both go when the
//! measurement ends.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use voltree_runtime::clock;
use voltree_storage::{DataDir, read_head, recount};

use crate::account::Account;

/// How long what was published may take to be folded.
const PATIENCE: Duration = Duration::from_secs(60);

pub(in crate::bench) struct BenchNode {
    dir: PathBuf,
    process: Child,
    pub(in crate::bench) mqtt: SocketAddr,
    pub(in crate::bench) http: SocketAddr,
}

impl Drop for BenchNode {
    fn drop(&mut self) {
        // Both may be gone already.
        self.process.kill().ok();
        self.process.wait().ok();
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

impl BenchNode {
    pub(in crate::bench) fn start() -> anyhow::Result<Self> {
        Self::start_with("")
    }

    /// The same with these sections in its configuration.
    pub(in crate::bench) fn start_with(sections: &str) -> anyhow::Result<Self> {
        let dir =
            std::env::temp_dir().join(format!("voltree-ingest-{}-{}", std::process::id(), clock::now_ms()));
        std::fs::create_dir_all(&dir).context("creating the directory of the measurement")?;
        let config = dir.join("voltree.toml");
        let text = format!(
            "[node]\nid = \"bench\"\ndata_dir = {:?}\n[log]\nlevel = \"warn\"\n[http]\nlisten = \"127.0.0.1:0\"\n\
             [mqtt]\nlisten = \"127.0.0.1:0\"\nrate_per_s = 0\n[devices]\nunknown = \"adopt\"\n{sections}",
            dir.join("data")
        );
        std::fs::write(&config, text)?;
        let mut process = Command::new(std::env::current_exe()?)
            .arg("run")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the node")?;
        let stdout = process.stdout.take().context("the node has no output")?;
        let (mut mqtt, mut http) = (None, None);
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let line = line.trim();
            let after = |prefix| {
                line.strip_prefix(prefix).and_then(|rest: &str| rest.trim_end_matches('/').parse().ok())
            };
            mqtt = mqtt.or_else(|| after("mqtt     mqtt://"));
            http = http.or_else(|| after("console  http://"));
            if line.starts_with("data  ") {
                break;
            }
        }
        let (Some(mqtt), Some(http)) = (mqtt, http) else {
            process.kill().ok();
            process.wait().ok();
            bail!("the node did not say where it listens");
        };
        Ok(Self { dir, process, mqtt, http })
    }

    /// The system's account of it.
    pub(in crate::bench) fn account(&self) -> Account {
        Account::Of(self.process.id())
    }

    /// Waits until it has so many connections to outside brokers.
    pub(in crate::bench) fn wait_until_outside_brokers_are_heard(
        &self,
        connections: u32,
    ) -> anyhow::Result<()> {
        let wanted = format!("actors_mqtt_outside_brokers_connected {connections}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let begun = clock::monotonic();
        loop {
            let metrics = async { reqwest::get(format!("http://{}/metrics", self.http)).await?.text().await };
            if runtime.block_on(metrics)?.lines().any(|line| line == wanted) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                bail!("the node does not hear the broker after {} s", PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the node has nothing left to do with what came.
    pub(in crate::bench) fn wait_until_folded(&self) -> anyhow::Result<()> {
        wait_until_idle(self.account())
    }

    /// Stops the node and counts what it stored.
    pub(in crate::bench) fn stop_and_count(mut self) -> anyhow::Result<f64> {
        ask_to_end(&self.process)?;
        let status = self.process.wait()?;
        if !status.success() {
            bail!("the node ended with {status}");
        }
        let data = DataDir::open(self.dir.join("data"))?;
        let head = read_head(&data)?;
        let counted = recount(&data, head.devices(), &mut |_, _| {})?;
        let sealed: u64 = counted.stored.values().sum();
        let open: usize = head.devices().map(|device| head.open_times(device).len()).sum();
        #[expect(clippy::cast_precision_loss, reason = "no round stores 2^53 messages")]
        Ok(sealed as f64 + open as f64)
    }
}

/// Asks a process to come to an end.
pub(in crate::bench) fn ask_to_end(process: &Child) -> anyhow::Result<()> {
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw).context("no process id")?;
    Ok(kill_process(pid, Signal::TERM)?)
}

/// Waits until a process has nothing left to do: its CPU time stands still.
pub(in crate::bench) fn wait_until_idle(process: Account) -> anyhow::Result<()> {
    let begun = clock::monotonic();
    let mut last = process.cpu_s()?;
    loop {
        std::thread::sleep(Duration::from_millis(500));
        let now = process.cpu_s()?;
        if now - last < 0.05 {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            bail!("it is still at work {} s after all was sent", PATIENCE.as_secs());
        }
        last = now;
    }
}
