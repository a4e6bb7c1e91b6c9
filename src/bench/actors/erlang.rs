//! The other side: the same workloads on Erlang/OTP, from the scripts beside this file.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;

const SCRIPTS: [(&str, &str); 3] = [
    ("anchor.erl", include_str!("erlang/anchor.erl")),
    ("anchor_sup.erl", include_str!("erlang/anchor_sup.erl")),
    ("anchor_w.erl", include_str!("erlang/anchor_w.erl")),
];

/// Erlang with the compiled scripts; dropping it removes them.
#[derive(Debug)]
pub(super) struct Anchor {
    dir: PathBuf,
    version: String,
}

impl Drop for Anchor {
    fn drop(&mut self) {
        // What is left behind is a few kilobytes in the directory for such things.
        std::fs::remove_dir_all(&self.dir).ok();
    }
}

impl Anchor {
    /// Compiles the scripts, if Erlang is there.
    pub(super) fn find() -> anyhow::Result<Option<Self>> {
        let print = "io:put_chars(erlang:system_info(otp_release)), halt().";
        let asked = Command::new("erl").args(["-noshell", "-eval", print]).stderr(Stdio::null()).output();
        let Ok(asked) = asked else { return Ok(None) };
        let version = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        let dir = std::env::temp_dir().join(format!("voltree-bench-{}", std::process::id()));
        std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        let anchor = Self { dir, version };
        for (name, script) in SCRIPTS {
            let file = anchor.dir.join(name);
            std::fs::write(&file, script).with_context(|| format!("writing {}", file.display()))?;
        }
        let names = SCRIPTS.map(|(name, _)| name);
        let compiled = Command::new("erlc").args(names).current_dir(&anchor.dir).output();
        let compiled = compiled.context("running erlc; Debian has it in erlang-base")?;
        let said = String::from_utf8_lossy(&compiled.stdout);
        anyhow::ensure!(compiled.status.success(), "erlc failed: {said}");
        Ok(Some(anchor))
    }

    /// Which release this is.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Runs one of the scripts' tests on two schedulers.
    pub(super) fn run(&self, test: &str) -> anyhow::Result<Vec<(String, f64)>> {
        let mut command = Command::new("erl");
        command
            .args(["+S", "2:2", "+P", "1000000", "-noshell", "-noinput", "-run", "anchor", "main", test])
            .current_dir(&self.dir)
            .stderr(Stdio::null());
        super::figures(&mut command)
    }
}
