//! `voltree postmortem`: leads the conversations of a flight report again and says whether they come to the same.

use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use voltree_actors::postmortem::{Build, FlightReport, Postmortem, ReasonFound, ReportError, examine};
use voltree_runtime::ExitReason;

use crate::cli::say;

/// How long leading all conversations again may take; a sound codec needs milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many differences are printed.
const MOST_TOLD: usize = 20;

/// Which report.
#[derive(Debug, Args)]
pub(crate) struct PostmortemOptions {
    /// The report: a file of a node's crashes directory, or one that was downloaded from its console.
    #[arg(value_name = "REPORT")]
    report: PathBuf,
}

/// This build, as reports name it.
pub(crate) fn this_build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: option_env!("VOLTREE_COMMIT").map(str::to_owned),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
    }
}

/// Examines the report, says what was found, and fails if anything came out otherwise.
pub(crate) fn run(options: &PostmortemOptions) -> anyhow::Result<()> {
    let file = options.report.display();
    let text = std::fs::read(&options.report).with_context(|| format!("{file} can't be read"))?;
    let report = FlightReport::parse(&text).with_context(|| format!("{file} can't be examined"))?;
    let frozen = report.crash.as_ref().is_some_and(|crash| matches!(crash.reason, ExitReason::Frozen { .. }));
    tell_builds(&report.build, &this_build());
    say(&format!("device    {} ({}), written {}", report.device, report.kind, report.written_at));
    if let Some(crash) = &report.crash {
        say(&format!("crash     {} of incarnation {}: {}", crash.at, crash.incarnation, crash.reason));
    }
    match examined(report) {
        Ok(found) => tell(&found.with_context(|| format!("{file} can't be examined"))?),
        Err(RecvTimeoutError::Timeout) if frozen => {
            say("reason    same: the codec does not come back from what it is told");
            Ok(())
        }
        Err(RecvTimeoutError::Disconnected) => bail!("reading the recorded payloads again panics"),
        Err(RecvTimeoutError::Timeout) => bail!(
            "the codec does not come back from what it is told, and it was not so when this was recorded"
        ),
    }
}

/// What an examination found; a timeout if the codec does not return from it. Its thread then ends with the process.
fn examined(report: FlightReport) -> Result<Result<Postmortem, ReportError>, RecvTimeoutError> {
    // A panic is caught and told as a finding; the default hook would print it besides.
    std::panic::set_hook(Box::new(|_| {}));
    let (done, found) = mpsc::channel();
    // Nobody waits any more for what comes too late.
    let examine = move || done.send(examine(&report)).unwrap_or_default();
    std::thread::spawn(examine);
    found.recv_timeout(PATIENCE)
}

fn tell_builds(wrote: &Build, reads: &Build) {
    if wrote == reads {
        say(&format!("build     same: {reads}"));
    } else {
        say(&format!("build     DIFFERENT: the report is of {wrote}, this is {reads}"));
    }
}

fn tell(found: &Postmortem) -> anyhow::Result<()> {
    let Postmortem { repeated, readings, cut_short, differences, reason } = found;
    let verdict = if differences.is_empty() { "same" } else { "DIFFERENT" };
    say(&format!("readings  {verdict}: {repeated} conversations led again, {readings} readings"));
    if *cut_short > 0 {
        say(&format!("          {cut_short} were too long to be recorded whole and were passed over"));
    }
    differences.iter().take(MOST_TOLD).for_each(|difference| say(&format!("          {difference}")));
    if differences.len() > MOST_TOLD {
        say(&format!("          and {} more", differences.len() - MOST_TOLD));
    }
    say(&match reason {
        ReasonFound::NoCrash => "reason    none: the report was asked for without a crash".to_owned(),
        ReasonFound::Same(why) => format!("reason    same: {why}"),
        ReasonFound::Outside(why) => format!("reason    outside of the conversation: {why}"),
        ReasonFound::Different(why) => format!("reason    DIFFERENT: {why}"),
    });
    if !found.is_same() {
        bail!("the report does not come to the same");
    }
    Ok(())
}
