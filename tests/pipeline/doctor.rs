//! `voltree doctor` as its user runs it: what is in the way is named, what isn't is not touched.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::support;
use crate::support::node::{Site, VOLTREE};

/// What the doctor said and how it ended.
struct Visit {
    findings: Vec<Value>,
    code: Option<i32>,
}

impl Visit {
    fn pay(args: &[&str]) -> Self {
        let output = Command::new(VOLTREE).arg("doctor").arg("--json").args(args).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let findings = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        Self { findings, code: output.status.code() }
    }

    /// The one finding of an area that speaks of this.
    fn about(&self, area: &str, words: &str) -> &Value {
        let speaks =
            |finding: &&Value| finding["area"] == area && finding["what"].as_str().unwrap().contains(words);
        let found: Vec<_> = self.findings.iter().filter(speaks).collect();
        assert_eq!(found.len(), 1, "{words}: {:#?}", self.findings);
        found[0]
    }

    fn problems(&self) -> Vec<&Value> {
        self.findings.iter().filter(|finding| finding["level"] == "problem").collect()
    }
}

/// A configuration like a site's, with these lines more.
fn config(dir: &Path, lines: &str) -> String {
    let file = dir.join("doctor.toml");
    let text = format!(
        "[node]\ndata_dir = {:?}\n[http]\nlisten = \"127.0.0.1:0\"\n{lines}",
        dir.join("data").to_str().unwrap()
    );
    std::fs::write(&file, text).unwrap();
    file.to_str().unwrap().to_owned()
}

const ANY_MQTT: &str = "[mqtt]\nlisten = \"127.0.0.1:0\"\n";

#[test]
fn a_machine_where_nothing_is_in_the_way_passes_and_is_left_as_it_was() {
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path(), ANY_MQTT);
    let visit = Visit::pay(&["--config", &config]);
    assert_eq!((visit.code, visit.problems()), (Some(0), vec![]));
    for area in ["config", "ports", "serial", "bluetooth", "node", "disk", "clock", "limits"] {
        assert!(visit.findings.iter().any(|finding| finding["area"] == area), "{area} is missing");
    }
    visit.about("disk", "syncing 4 KiB takes");
    let left: Vec<_> =
        std::fs::read_dir(temp.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["doctor.toml"]);
}

#[test]
fn a_port_that_is_taken_names_who_took_it() {
    let temp = tempfile::tempdir().unwrap();
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let config = config(temp.path(), &format!("[mqtt]\nlisten = \"{address}\"\n"));
    let visit = Visit::pay(&["--config", &config]);
    assert_eq!(visit.code, Some(1));
    let finding = visit.about("ports", &format!("MQTT can't listen on {address}"));
    assert_eq!(finding["level"], "problem");
    let me = format!("(pid {})", std::process::id());
    assert!(finding["what"].as_str().unwrap().contains(&me), "{finding}");
    assert!(finding["next_step"].as_str().unwrap().contains("mqtt.listen"), "{finding}");
}

#[test]
fn a_data_directory_that_is_a_file_is_a_problem() {
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path(), ANY_MQTT);
    let data = temp.path().join("data");
    std::fs::write(&data, "not a directory").unwrap();
    let visit = Visit::pay(&["--config", &config]);
    assert_eq!((visit.code, visit.problems().len()), (Some(1), 1));
    visit.about("disk", &format!("{} is no directory", data.display()));
    assert_eq!(std::fs::read_to_string(&data).unwrap(), "not a directory");
}

#[test]
fn a_data_directory_that_nobody_may_write_is_a_problem() {
    // A directory of the kernel's, so that it holds for root too.
    let visit = Visit::pay(&["--data", "/proc/self"]);
    assert_eq!(visit.code, Some(1));
    assert_eq!(visit.about("disk", "/proc/self")["level"], "problem");
}

#[test]
fn a_terminal_can_be_opened_and_what_is_not_there_is_told() {
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path(), ANY_MQTT);
    // The one who holds the terminal's other end counts as its keeper, so nobody else may inherit it.
    let flags =
        rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY | rustix::pty::OpenptFlags::CLOEXEC;
    let master = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let pty = rustix::pty::ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let link = temp.path().join("pack");
    std::os::unix::fs::symlink(&pty, &link).unwrap();
    let visit = Visit::pay(&["--config", &config, "--device", link.to_str().unwrap()]);
    assert_eq!((visit.code, visit.problems()), (Some(0), vec![]));
    visit.about("serial", &format!("{} ({pty}) can be opened for reading and writing", link.display()));

    let held = std::fs::OpenOptions::new().read(true).write(true).open(&pty).unwrap();
    let mut other = Command::new("sleep").arg("600").stdin(held).spawn().unwrap();
    let visit = Visit::pay(&["--config", &config, "--device", &pty]);
    other.kill().unwrap();
    other.wait().unwrap();
    visit.about("serial", &format!("{pty} is in use by sleep (pid {})", other.id()));
    assert_eq!(visit.code, Some(1));

    let visit = Visit::pay(&["--config", &config, "--device", "/dev/ttyUSB987"]);
    assert_eq!(visit.about("serial", "/dev/ttyUSB987 is not there")["level"], "problem");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_runs_is_named_and_not_disturbed() {
    let pack = support::pack(1);
    let site = Site::new().pack("pack-01", pack.path(), 1_000);
    let node = site.start().await;
    let mqtt = node.mqtt;
    let config = config(
        site.dir.path(),
        &format!(
            "[mqtt]\nlisten = \"{mqtt}\"\n[[device]]\nid = \"pack-01\"\ntype = \"daly_bms\"\nport = {:?}\n",
            pack.path().to_str().unwrap()
        ),
    );
    let pid = format!("with pid {}", node.pid());
    let state = || async {
        let data = node.query("{ devices { state } }", serde_json::json!({})).await;
        data["devices"][0]["state"].as_str().unwrap().to_owned()
    };
    support::until("the pack is online", support::node::BOUND, || async {
        let state = state().await;
        if state == "ONLINE" { Ok(()) } else { Err(state) }
    })
    .await;
    let visit = Visit::pay(&["--config", &config]);
    assert_eq!((visit.code, visit.problems()), (Some(0), vec![]));
    visit.about("serial", "is used by the node that is running");
    assert!(visit.about("node", "runs on")["what"].to_string().contains(&pid));
    visit.about("ports", &format!("MQTT on {mqtt} is served by the node that is running"));
    assert_eq!(state().await, "ONLINE");
    assert_eq!(node.stop().await, Some(0));
}

#[test]
fn a_configuration_that_cannot_be_used_is_a_problem_and_a_wrong_flag_a_mistake() {
    let temp = tempfile::tempdir().unwrap();
    let config = config(temp.path(), "typo = 1\n");
    let visit = Visit::pay(&["--config", &config, "--data", temp.path().to_str().unwrap()]);
    assert_eq!(visit.code, Some(1));
    visit.about("config", "http.typo: unknown key");
    let gone = Visit::pay(&["--config", "/nowhere/voltree.toml"]);
    gone.about("config", "/nowhere/voltree.toml could not be read: No such file");
    assert_eq!(Visit::pay(&["--no-such-flag"]).code, Some(64));
}
