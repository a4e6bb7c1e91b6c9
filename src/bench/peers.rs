//! The databases that people use for this today, as Debian has them, each started for the measurement on a directory and
//! a port of its own.

use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use voltree_runtime::clock;

use crate::account::Account;

/// How long one may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Which database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bench) enum Peer {
    /// Debian's `victoria-metrics`.
    VictoriaMetrics,
    /// Debian's `influxdb`.
    InfluxDb,
}

/// One that runs; dropping it ends it.
#[derive(Debug)]
pub(in crate::bench) struct Running {
    process: Child,
    /// Where it listens for HTTP.
    pub(in crate::bench) port: u16,
    /// Where lines are posted.
    pub(in crate::bench) write: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may be gone already.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Running {
    pub(in crate::bench) fn account(&self) -> Account {
        Account::Of(self.process.id())
    }
}

impl Peer {
    pub(in crate::bench) const ALL: [Self; 2] = [Self::VictoriaMetrics, Self::InfluxDb];

    pub(in crate::bench) const fn name(self) -> &'static str {
        match self {
            Self::VictoriaMetrics => "VictoriaMetrics",
            Self::InfluxDb => "InfluxDB",
        }
    }

    /// Of its processor time, what ours may take.
    pub(in crate::bench) const fn bar(self) -> Option<f64> {
        match self {
            Self::VictoriaMetrics => Some(0.8),
            Self::InfluxDb => None,
        }
    }

    /// Starts it, if it is installed.
    pub(in crate::bench) fn start(self, dir: &Path) -> anyhow::Result<Option<Running>> {
        std::fs::create_dir_all(dir)?;
        let [port, other] = [free_port()?, free_port()?];
        let log = File::create(dir.join("log"))?;
        let spawned = self.command(dir, port, other)?.stdout(log.try_clone()?).stderr(log).spawn();
        let process = match spawned {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            spawned => spawned.with_context(|| format!("starting {}", self.name()))?,
        };
        let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
        let running = match self {
            Self::VictoriaMetrics => Running { process, port, write: at("/write") },
            Self::InfluxDb => Running { process, port, write: at("/write?db=bench&precision=ns") },
        };
        match self {
            Self::VictoriaMetrics => self.until_ready(reqwest::Method::GET, &at("/health"))?,
            Self::InfluxDb => {
                self.until_ready(reqwest::Method::POST, &at("/query?q=CREATE%20DATABASE%20bench"))?;
            }
        }
        Ok(Some(running))
    }

    fn command(self, dir: &Path, port: u16, other: u16) -> anyhow::Result<Command> {
        let mut command = match self {
            Self::VictoriaMetrics => {
                let mut command = Command::new("victoria-metrics");
                command.arg("-storageDataPath").arg(dir.join("data"));
                command.arg(format!("-httpListenAddr=127.0.0.1:{port}")).arg("-retentionPeriod=100y");
                command
            }
            Self::InfluxDb => {
                let config = dir.join("influxdb.conf");
                let path = |name: &str| dir.join(name).display().to_string();
                let text = format!(
                    "reporting-disabled = true\nbind-address = \"127.0.0.1:{other}\"\n[meta]\ndir = {:?}\n\
                     [data]\ndir = {:?}\nwal-dir = {:?}\nquery-log-enabled = false\n\
                     [http]\nbind-address = \"127.0.0.1:{port}\"\nlog-enabled = false\n",
                    path("meta"),
                    path("data"),
                    path("wal")
                );
                std::fs::write(&config, text)?;
                let mut command = Command::new("influxd");
                command.arg("-config").arg(config);
                command
            }
        };
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Asks until it answers.
    fn until_ready(self, method: reqwest::Method, url: &str) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (client, begun) = (reqwest::Client::new(), clock::monotonic());
        while begun.elapsed() < PATIENCE {
            let answer = runtime.block_on(client.request(method.clone(), url).send());
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        bail!("{} did not answer within {} s; its log is beside its data", self.name(), PATIENCE.as_secs())
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
