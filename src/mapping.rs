//! `voltree mapping`: what mappings there are, and what recorded messages become under one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Subcommand;
use voltree_protocols::mapping::{Captured, Mapping, PRESETS, Preset, captured};

use crate::cli::say;

/// What to do with mappings.
#[derive(Debug, Subcommand)]
pub(crate) enum MappingCommand {
    /// Show what recorded messages become, as readings, presence and rejections.
    Test {
        /// A preset, or a file that holds a mapping.
        mapping: String,
        /// The recording: a line for each message, its topic, a tab or a space, and its payload, as
        /// `mosquitto_sub -v` prints them (topics with spaces: `mosquitto_sub -F '%t\t%p'`).
        file: PathBuf,
        /// Set a variable of the mapping, as in --set base=z2m. May be given several times.
        #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
        set: Vec<(String, String)>,
    },
    /// List the presets.
    List,
    /// Print a preset, to change it or to learn from it.
    Show {
        /// The preset.
        preset: String,
    },
}

fn variable(text: &str) -> Result<(String, String), String> {
    let parted = text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    parted.ok_or_else(|| format!("{text:?} is not NAME=VALUE"))
}

/// Does it.
pub(crate) fn run(command: MappingCommand) -> anyhow::Result<()> {
    match command {
        MappingCommand::Test { mapping, file, set } => test(&mapping, &file, &set.into_iter().collect()),
        MappingCommand::List => list(),
        MappingCommand::Show { preset } => {
            let found = Preset::named(&preset);
            let known = PRESETS.map(|preset| preset.name).join(", ");
            let found = found.with_context(|| format!("{preset:?} is no preset; there are: {known}"))?;
            say(found.toml.trim_end());
            Ok(())
        }
    }
}

fn list() -> anyhow::Result<()> {
    for preset in PRESETS {
        let mapping = Mapping::preset(preset.name, &BTreeMap::new())?;
        say(&format!("{:<12}  {}", preset.name, mapping.about()));
    }
    Ok(())
}

fn test(mapping: &str, file: &Path, set: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let mapping = match Preset::named(mapping) {
        Some(preset) => Mapping::with_variables(preset.toml, set)?,
        None => {
            let known = PRESETS.map(|preset| preset.name).join(", ");
            let text = std::fs::read_to_string(mapping)
                .with_context(|| format!("{mapping} is no file that can be read, and no preset ({known})"))?;
            Mapping::with_variables(&text, set)?
        }
    };
    let recording = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    for Captured { line, topic, payload } in captured(&recording) {
        say(&format!("{line}: {topic}"));
        match mapping.read(topic, payload.as_bytes()) {
            None => say(&format!("  no topic of {}", mapping.name())),
            Some(meaning) => say(meaning.explain(voltree_actors::now()).trim_end()),
        }
    }
    Ok(())
}
