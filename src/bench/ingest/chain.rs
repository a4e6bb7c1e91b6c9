//! What is used for this today, measured under the same load: Mosquitto, a bridge in Python that writes in batches, and
//! InfluxDB.

use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};

use super::mosquitto::{self, Mosquitto, Setting};
use super::{Load, METRICS, generator_to, number, report};
use crate::account::Account;
use crate::bench::node::{ask_to_end, wait_until_idle};
use crate::bench::peers::Peer;

const PROGRAM: &str = include_str!("bridge.py");
/// Which Python has the bridge's packages, if not the first on the path.
const PYTHON: &str = "VOLTREE_PYTHON";

/// What the chain took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain {
    pub(super) cpu_s_per_million: f64,
    pub(super) lost_percent: f64,
}

/// Publishes to Mosquitto, and counts what the bridge had written in the end; nothing if a part is not installed.
pub(super) fn measure(load: Load) -> anyhow::Result<Option<Chain>> {
    let dir = tempfile::tempdir().context("creating the directory of the measurement")?;
    let Some(program) = mosquitto::program() else {
        tracing::warn!("mosquitto is not installed, so the chain is not measured");
        return Ok(None);
    };
    let Some(influxdb) = Peer::InfluxDb.start(&dir.path().join("influxdb"))? else {
        tracing::warn!("influxd is not installed, so the chain is not measured");
        return Ok(None);
    };
    let mosquitto = Mosquitto::start(&program, Setting::Open)?;
    let Some(bridge) = Bridge::start(dir.path(), mosquitto.address.port(), influxdb.port)? else {
        tracing::warn!("there is no Python with paho-mqtt and orjson, so the chain is not measured");
        return Ok(None);
    };
    let parts = [mosquitto.account(), bridge.account(), influxdb.account()];
    let before = cpu_s(parts)?;
    let report = report(generator_to(mosquitto.address, load, 0)?)?;
    // What InfluxDB compacts afterwards, which may take minutes, is not counted against it.
    for part in [mosquitto.account(), bridge.account()] {
        wait_until_idle(part)?;
    }
    let cpu = cpu_s(parts)? - before;
    let (sent, written) = (number(&report, "/sent")?, bridge.stop()?);
    Ok(Some(Chain {
        cpu_s_per_million: cpu / (sent * f64::from(METRICS)) * 1e6,
        lost_percent: (sent - written).max(0.0) / sent * 100.0,
    }))
}

fn cpu_s(parts: [Account; 3]) -> anyhow::Result<f64> {
    parts.into_iter().map(Account::cpu_s).sum()
}

/// It ends with the measurement.
struct Bridge {
    process: Child,
    says: BufReader<ChildStdout>,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        // It may be gone already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Bridge {
    /// Nothing if Python or one of the packages is missing.
    fn start(dir: &Path, broker: u16, influxdb: u16) -> anyhow::Result<Option<Self>> {
        let python = std::env::var_os(PYTHON).unwrap_or_else(|| "python3".into());
        let has_packages = Command::new(&python).args(["-c", "import orjson, paho.mqtt.client"]).output();
        if !has_packages.is_ok_and(|output| output.status.success()) {
            return Ok(None);
        }
        let file = dir.join("bridge.py");
        std::fs::write(&file, PROGRAM)?;
        let mut process = Command::new(python)
            .arg(file)
            .args([broker, influxdb].map(|port| port.to_string()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the bridge")?;
        let says = process.stdout.take().context("the bridge has no output")?;
        let mut this = Self { process, says: BufReader::new(says) };
        let mut line = String::new();
        this.says.read_line(&mut line)?;
        if line.trim() != "ready" {
            bail!("the bridge could not subscribe at Mosquitto on port {broker}");
        }
        Ok(Some(this))
    }

    fn account(&self) -> Account {
        Account::Of(self.process.id())
    }

    /// Ends it; answers how many messages it wrote.
    fn stop(mut self) -> anyhow::Result<f64> {
        ask_to_end(&self.process)?;
        let mut said = String::new();
        self.says.read_to_string(&mut said)?;
        said.trim().parse().with_context(|| format!("the bridge said {said:?} instead of a number"))
    }
}
