//! `voltree decode`: what recorded frames say.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use voltree_protocols::decode;

use crate::cli::say;

/// How frames are handed over.
#[derive(Debug, Args)]
pub(crate) struct DecodeOptions {
    #[arg(long, help = format!("The protocol the frames are in: {}", decode::protocol_names()))]
    protocol: String,
    /// The dialect of CAN frames, where a protocol has several (foxbms: v1_7, v1_11).
    #[arg(long, value_name = "NAME", requires = "hex")]
    dialect: Option<String>,
    #[command(flatten)]
    input: Input,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Input {
    /// Bytes in hexadecimal; spaces and colons are ignored. Several frames may follow each other. CAN frames are
    /// written with their id, as in 220#0A3C000900000005.
    #[arg(long, value_name = "BYTES")]
    hex: Option<String>,
    /// A JSON file of recordings, each with a name and frames_hex.
    #[arg(long, value_name = "VECTORS.json")]
    file: Option<PathBuf>,
}

/// Prints one JSON line for each recording.
pub(crate) fn run(options: &DecodeOptions) -> anyhow::Result<()> {
    let lines = match (&options.input.hex, &options.input.file) {
        (Some(hex), _) => {
            let decoded = decode::decode_text(&options.protocol, hex, options.dialect.as_deref())?;
            vec![serde_json::json!({ "name": "hex", "decoded": decoded }).to_string()]
        }
        (None, Some(file)) => {
            let text =
                std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
            let lines = decode::decode_vectors(&options.protocol, &text)?;
            lines.iter().map(serde_json::to_string).collect::<Result<_, _>>()?
        }
        (None, None) => Vec::new(),
    };
    lines.iter().for_each(|line| say(line));
    Ok(())
}
