//! `voltree storage`: what an operator does to a data directory that no node has.
//!
//! Long work says on stderr where it is, and Ctrl-C ends it between two steps, which leaves a directory that opens.

mod rewrite;
mod stats;
mod verify;

use std::io::{IsTerminal as _, Write as _};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use tokio::time::Instant;
use voltree_runtime::clock;
use voltree_storage::Rewrite;

pub(crate) use self::stats::bytes;
use crate::{export, import};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum StorageCommand {
    /// Say what a data directory holds and where its bytes are.
    Stats(ToolOptions),
    /// Check every checksum of journal, checkpoints, frames and rollups, and name whatever is damaged. Fails if anything is.
    Verify(ToolOptions),
    /// Merge what is in pieces, write rollups that are due, and give space back that was written over.
    Compact(ToolOptions),
    /// Write frames of earlier versions anew as this version writes them. They are read either way.
    Migrate(ToolOptions),
    /// Write what a data directory holds as line protocol or CSV; the same as voltree export.
    Export(export::ExportOptions),
    /// Bring files into a running node; the same as voltree import.
    Import(import::ImportOptions),
}

/// Which data directory.
#[derive(Debug, Clone, Args)]
pub(crate) struct ToolOptions {
    /// The data directory of a node that does not run.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Print JSON instead of a table.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Does it.
pub(crate) fn run(command: &StorageCommand) -> anyhow::Result<()> {
    match command {
        StorageCommand::Stats(options) => stats::run(options),
        StorageCommand::Verify(options) => verify::run(options),
        StorageCommand::Compact(options) => rewrite::run(options, Rewrite::Everything),
        StorageCommand::Export(options) => export::run(options),
        StorageCommand::Import(options) => import::run(options),
        StorageCommand::Migrate(options) => rewrite::run(options, Rewrite::OldFrames),
    }
}

/// The directory, which must be there already and which no node may have.
pub(crate) fn hold(dir: &std::path::Path) -> anyhow::Result<voltree_storage::DataDir> {
    Ok(open(dir)??)
}

/// The directory, which must be there already, or why it can't be had.
pub(crate) fn open(
    dir: &std::path::Path,
) -> anyhow::Result<Result<voltree_storage::DataDir, voltree_storage::Error>> {
    if !dir.join("journal").is_dir() {
        anyhow::bail!("{} is no data directory: it has no journal", dir.display());
    }
    Ok(voltree_storage::DataDir::open(dir))
}

/// Says on stderr where long work is, and whether it was asked to end.
#[derive(Debug)]
pub(crate) struct Progress {
    stop: Arc<AtomicBool>,
    told: Option<Instant>,
    patience: Duration,
}

impl Progress {
    /// Listens for Ctrl-C and SIGTERM from now on. Into a file a line is written every few seconds only.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("starting the thread that listens for Ctrl-C")?;
        let signal = {
            let _entered = runtime.enter();
            crate::node::stop_signal()?
        };
        let listen = move || {
            runtime.block_on(signal);
            asked.store(true, Ordering::Release);
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(listen)
            .context("starting the thread that listens for Ctrl-C")?;
        let patience = if std::io::stderr().is_terminal() { 1 } else { 5 };
        Ok(Self { stop, told: None, patience: Duration::from_secs(patience) })
    }

    /// Becomes true once it was asked to end.
    pub(crate) fn stopping(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Whether to go on; the first words are not written, as short work needs none.
    pub(crate) fn step(&mut self, where_it_is: impl FnOnce() -> String) -> ControlFlow<()> {
        if self.stop.load(Ordering::Acquire) {
            return ControlFlow::Break(());
        }
        let now = clock::monotonic();
        let told = *self.told.get_or_insert(now);
        if now.duration_since(told) >= self.patience {
            self.told = Some(now);
            // Progress is a courtesy; a terminal that is gone does not need it.
            writeln!(std::io::stderr(), "{}", where_it_is()).ok();
        }
        ControlFlow::Continue(())
    }
}
