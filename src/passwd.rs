//! `voltree passwd`: from a password to the hash that a configuration may show around.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use anyhow::{Context as _, ensure};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use voltree_actors::access::PasswordHash;

use crate::cli::say;

/// Reads one line and prints its hash. A terminal is asked twice, and shows nothing of what is typed.
pub(crate) fn run() -> anyhow::Result<()> {
    let password = if std::io::stdin().is_terminal() { ask()? } else { read_line()? };
    ensure!(!password.is_empty(), "the password is empty: type one, or pipe it in");
    say(&PasswordHash::of(&password).context("hashing the password")?.to_string());
    Ok(())
}

fn ask() -> anyhow::Result<String> {
    let _quiet = Quiet::begin()?;
    let password = prompt("Password: ")?;
    ensure!(prompt("Once more: ")? == password, "the two differ: nothing was hashed");
    Ok(password)
}

fn prompt(text: &str) -> anyhow::Result<String> {
    write!(std::io::stderr(), "{text}")?;
    let line = read_line()?;
    writeln!(std::io::stderr())?;
    Ok(line)
}

fn read_line() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("reading the password")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A terminal that does not echo, until it goes out of scope.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> anyhow::Result<Self> {
        let before = tcgetattr(std::io::stdin()).context("asking the terminal for its settings")?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet).context("silencing the terminal")?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // Nothing is left to do for a terminal that is gone.
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0).ok();
    }
}
