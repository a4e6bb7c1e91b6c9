//! `voltree simulate` as its user runs it: a process of its own, a port by name, and what it says of itself.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

use super::node::{BOUND, VOLTREE};
use super::until;

/// A running simulator; it ends with this.
pub(crate) struct Simulator {
    process: Child,
    _dir: tempfile::TempDir,
    port: PathBuf,
    /// The last line it said.
    said: Arc<Mutex<Value>>,
    listener: Option<std::thread::JoinHandle<()>>,
}

impl Simulator {
    /// Starts it with these arguments besides the port's, and waits until the port is there.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::of("daly", "--pty", args)
    }

    /// Starts one of this kind, with its port behind this option.
    pub(crate) fn of(kind: &str, wire: &str, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = dir.path().join("battery");
        let mut process = Command::new(VOLTREE)
            .args(["simulate", kind, "--json", "--status-every", "0.2", wire, port.to_str().unwrap()])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.next().is_some(), "the simulator said nothing");
        assert!(port.symlink_metadata().unwrap().is_symlink());
        let said = Arc::new(Mutex::new(Value::Null));
        let heard = Arc::clone(&said);
        let listener = std::thread::spawn(move || {
            for line in lines {
                *heard.lock() = serde_json::from_str(&line).unwrap();
            }
        });
        Self { process, _dir: dir, port, said, listener: Some(listener) }
    }

    pub(crate) fn port(&self) -> &Path {
        &self.port
    }

    /// Waits until what it says of itself is so.
    pub(crate) async fn until_said(&self, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        until(what, BOUND, || async {
            let said = self.said.lock().clone();
            if so(&said) { Ok(said) } else { Err(said.to_string()) }
        })
        .await
    }

    /// Ctrl-C; its last word and how it ended. The port is gone then.
    pub(crate) async fn stop(mut self) -> (Value, ExitStatus) {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let process = std::cell::RefCell::new(&mut self.process);
        let status = until("the simulator ends", BOUND, || async {
            process.borrow_mut().try_wait().unwrap().ok_or_else(|| "it runs".to_owned())
        })
        .await;
        self.listener.take().unwrap().join().unwrap();
        assert!(self.port.symlink_metadata().is_err(), "the link stayed behind");
        let said = self.said.lock().clone();
        (said, status)
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        // One that has ended already needs no killing.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
