//! The options by which a command logs in to an MQTT broker.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use voltree_model::Secret;

/// Who a command is to the broker. A password never stands in the command line, where every user of the machine sees it.
#[derive(Debug, Clone, Args)]
pub(crate) struct LoginOptions {
    /// Log in to the broker under this name.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    user: Option<String>,
    /// The file that holds the password.
    #[arg(long, value_name = "FILE", requires = "user")]
    password_file: Option<PathBuf>,
}

impl LoginOptions {
    /// Name and password, if a name was given.
    pub(crate) fn read(&self) -> anyhow::Result<Option<(String, Secret)>> {
        let (Some(user), Some(file)) = (&self.user, &self.password_file) else { return Ok(None) };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("reading the password from {}", file.display()))?;
        Ok(Some((user.clone(), Secret::new(text.trim_end()))))
    }
}
