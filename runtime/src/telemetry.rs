//! Where the process's own words go: structured log lines, and panics as log lines instead of bare stderr dumps.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Installs the process's log subscriber and panic hook. `level` is a tracing filter such as `info` or
/// `info,supervision=debug`.
pub fn install(level: &str, format: LogFormat) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    // ractor opens a span around everything an actor does; the actor's path in our own lines says more.
    let filter = EnvFilter::try_new(level)?.add_directive("ractor=warn".parse()?);
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.try_init()?,
        LogFormat::Json => builder.json().flatten_event(true).try_init()?,
    }
    crate::panics::log_panics();
    Ok(())
}
