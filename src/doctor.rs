//! `voltree doctor`: what this machine can and can't do for a node, and the next step for each.
//!
//! Every area looks first and judges afterwards: thin code gathers facts, plain functions turn them into findings. It
//! must never change the machine: it installs nothing, leaves no file behind, and opens no serial port that another
//! program uses.

mod bluetooth;
mod clock;
mod disk;
mod finding;
mod holder;
mod limits;
mod ports;
mod processes;
mod serial;

use std::path::{Path, PathBuf};

use clap::Args;

use self::finding::{Area, Finding, Level};
use self::processes::Processes;
use crate::cli::say;
use crate::config::{Config, ConfigError};
use crate::environment::Environment;

/// What to look at.
#[derive(Debug, Args)]
pub(crate) struct DoctorOptions {
    /// Look at what this configuration needs, and whether it can be used; without one, at what the defaults need.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Look at this data directory instead of the one that the configuration says.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Look at this serial device too; may be given several times.
    #[arg(long, value_name = "PATH")]
    device: Vec<PathBuf>,
    /// Print one JSON object a finding instead of text.
    #[arg(long)]
    json: bool,
}

/// Looks at everything and prints the findings; problems make it fail.
pub(crate) fn run(options: &DoctorOptions) -> anyhow::Result<()> {
    let findings = examine(options);
    for finding in &findings {
        say(&if options.json { finding.json() } else { finding.text() });
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    if !options.json {
        let [ok, notes, warnings] = [Level::Ok, Level::Note, Level::Warning].map(count);
        say(&format!(
            "\n{ok} ok, {notes} note(s), {warnings} warning(s), {} problem(s)",
            count(Level::Problem)
        ));
    }
    match count(Level::Problem) {
        0 => Ok(()),
        1 => anyhow::bail!("the doctor found a problem"),
        problems => anyhow::bail!("the doctor found {problems} problems"),
    }
}

fn examine(options: &DoctorOptions) -> Vec<Finding> {
    let read = read_config(options);
    let mut findings = vec![judge_config(options, &read)];
    let mut config = read.unwrap_or_default();
    config.data_dir = options.data.clone().unwrap_or(config.data_dir);
    let processes = Processes::observe();
    let holder = holder::Facts::observe(&config.data_dir);
    let wanted = config
        .packs
        .iter()
        .filter_map(|pack| pack.address.port().map(Path::to_owned))
        .chain(options.device.clone())
        .collect();
    findings.extend(ports::examine(&config, &processes, holder.pid()));
    findings.extend(serial::examine(wanted, &processes, holder.pid()));
    findings.extend(bluetooth::examine(&processes));
    findings.push(holder.judge());
    findings.extend(disk::examine(&config.data_dir));
    findings.extend(clock::examine(&config.data_dir, &processes));
    findings.extend(limits::examine(config.packs.len()));
    findings
}

fn read_config(options: &DoctorOptions) -> Result<Config, ConfigError> {
    let environment = Environment::of_process();
    match &options.config {
        Some(file) => Config::read(file, &environment),
        None => Config::from_environment(&environment),
    }
}

fn judge_config(options: &DoctorOptions, read: &Result<Config, ConfigError>) -> Finding {
    match (read, &options.config) {
        (Ok(config), Some(file)) => Finding::ok(
            Area::Configuration,
            format!("{} is valid, with {} device(s)", file.display(), config.packs.len()),
        ),
        (Ok(_), None) => Finding::new(
            Area::Configuration,
            Level::Note,
            "no configuration was given, so the defaults are looked at",
            "copy deploy/voltree.toml, name your devices in it, and give it with --config FILE",
        ),
        (Err(error), _) => Finding::new(
            Area::Configuration,
            Level::Problem,
            config_trouble(error),
            "correct that and look again; until then the defaults are looked at below",
        ),
    }
}

fn config_trouble(error: &ConfigError) -> String {
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(error).map(ToString::to_string)
        && !text.contains(&source)
    {
        text = format!("{text}: {source}");
    }
    text
}
