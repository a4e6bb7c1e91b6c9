//! `voltree backup` and `voltree restore`: a whole copy of a data directory, taken beside a running node or without one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::Value;
use voltree_model::Timestamp;
use voltree_storage::{DataDir, Error, RealDisk, Store};

use crate::cli::say;
use crate::storage::{Progress, bytes};

/// What to back up, and where to.
#[derive(Debug, Clone, Args)]
pub(crate) struct BackupOptions {
    /// The directory to back up to. Of a backup that is there already only what changed is written anew.
    #[arg(value_name = "DIR")]
    to: PathBuf,
    /// The data directory. Its node may be running: then it takes the backup itself, and goes on meanwhile.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Where that node serves HTTP.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8000")]
    node: String,
    /// Print JSON instead of a sentence.
    #[arg(long)]
    json: bool,
}

/// What to restore, and where to.
#[derive(Debug, Clone, Args)]
pub(crate) struct RestoreOptions {
    /// The directory of the backup.
    #[arg(value_name = "DIR")]
    from: PathBuf,
    /// The data directory to make of it; it must be empty, or not be there.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

/// Takes a backup.
pub(crate) fn run(options: &BackupOptions) -> anyhow::Result<()> {
    if !options.data.join("journal").is_dir() {
        bail!("{} is no data directory: it has no journal", options.data.display());
    }
    let mut progress = Progress::new()?;
    let done = match DataDir::open(&options.data) {
        Ok(data) => {
            let store = Store::open(&data, Arc::new(RealDisk))?;
            let step = &mut |at: &str| progress.step(|| format!("backing up {at}"));
            let done = store.back_up(&data, &options.to, voltree_actors::now(), step).map_err(stopped)?;
            serde_json::to_value(done)?
        }
        Err(Error::Locked { .. }) => {
            of_running_node(&options.data, &options.to, &options.node, &mut progress).map_err(|error| {
                match error {
                    Asked::Stopped => stopped(Error::Cancelled),
                    Asked::Failed(error) => error,
                }
            })?
        }
        Err(error) => return Err(error.into()),
    };
    if options.json {
        say(&done.to_string());
        return Ok(());
    }
    let number = |key: &str| done[key].as_u64().unwrap_or_default();
    say(&format!(
        "{} bucket(s) in {}; {} changed since the last backup, {} written",
        number("buckets"),
        bytes(number("bytes")),
        number("buckets_copied"),
        bytes(number("bytes_written"))
    ));
    Ok(())
}

fn stopped(error: Error) -> anyhow::Error {
    if matches!(error, Error::Cancelled) {
        return anyhow::anyhow!(
            "stopped; the last whole backup still stands, and the next one goes on with what was copied"
        );
    }
    error.into()
}

/// Why a running node took no backup.
pub(crate) enum Asked {
    /// We were told to stop.
    Stopped,
    /// It failed.
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Asked {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Has the node that runs on `data` back itself up: leaves word in the data directory, names it to the node, and waits.
pub(crate) fn of_running_node(
    data: &Path,
    to: &Path,
    node: &str,
    progress: &mut Progress,
) -> Result<Value, Asked> {
    let to = std::path::absolute(to).context("finding the directory to back up to")?;
    let requests = data.join("backup-requests");
    let name = format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..));
    let word = requests.join(&name);
    let text = to.to_str().context("the directory's name is not UTF-8")?;
    std::fs::create_dir_all(&requests)
        .and_then(|()| std::fs::write(&word, text))
        .with_context(|| format!("leaving word for the node in {}", requests.display()))?;
    let runtime = tokio::runtime::Runtime::new().context("starting the async runtime")?;
    let answer = runtime.block_on(order(node, &name, &to, progress));
    // The node takes the word away; one that was never asked does not.
    std::fs::remove_file(&word).ok();
    answer
}

async fn order(node: &str, name: &str, to: &Path, progress: &mut Progress) -> Result<Value, Asked> {
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    let url = format!("{}/api/v1/backup", node.trim_end_matches('/'));
    let asked = reqwest::Client::new().post(&url).json(&serde_json::json!({ "request": name })).send();
    let stopping = progress.stopping();
    tokio::pin!(asked);
    let answer = loop {
        match tokio::time::timeout(LOOK_EVERY, &mut asked).await {
            Ok(answer) => break answer,
            Err(_) if stopping.load(Ordering::Acquire) => return Err(Asked::Stopped),
            Err(_) => drop(progress.step(|| format!("the node backs itself up to {}", to.display()))),
        }
    };
    let answer = answer.with_context(|| {
        format!("a node runs on this directory, and there is no answer from {node}; say with --node where it serves HTTP")
    })?;
    let status = answer.status();
    let body: Value = answer.json().await.with_context(|| format!("{url} is no page of a Voltree node"))?;
    if !status.is_success() {
        let why = body["message"].as_str().unwrap_or("it did not say why");
        return Err(Asked::Failed(anyhow::anyhow!("the node at {node} took no backup: {why}")));
    }
    Ok(body)
}

/// Makes a data directory of a backup.
pub(crate) fn restore(options: &RestoreOptions) -> anyhow::Result<()> {
    let mut progress = Progress::new()?;
    let step = &mut |at: &str| progress.step(|| format!("restoring {at}"));
    let restored = match voltree_storage::restore(&options.from, &options.data, step) {
        Ok(restored) => restored,
        Err(Error::Cancelled) => bail!("stopped; nothing is in {} yet", options.data.display()),
        Err(error) => return Err(error.into()),
    };
    say(&format!(
        "{} is as the node was at {}: {} bucket(s), {}; voltree ledger --data counts it again",
        options.data.display(),
        Timestamp::from_millis(restored.begun_ms),
        restored.buckets,
        bytes(restored.bytes)
    ));
    Ok(())
}
