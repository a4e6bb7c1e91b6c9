//! `voltree simulate daly` read by a client that knows nothing of us: PyPI's dalybms.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::external;
use crate::support::simulator::Simulator;

/// A Python that has these modules, or `None` with a word about the skip; where externals are required, a failure.
/// `VOLTREE_PYTHON` names one that is not the first on the path.
pub(crate) fn python_with(modules: &str, packages: &str) -> Option<PathBuf> {
    let python = std::env::var_os("VOLTREE_PYTHON").map(PathBuf::from).or_else(|| external("python3"))?;
    let found = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    if found.is_ok_and(|found| found.status.success()) {
        return Some(python);
    }
    assert!(
        std::env::var_os("VOLTREE_REQUIRE_EXTERNALS").is_none(),
        "{} can't import {modules}: pip install {packages}, or name another in VOLTREE_PYTHON",
        python.display()
    );
    println!("skipped: {} can't import {modules}", python.display());
    None
}

fn python() -> Option<PathBuf> {
    python_with("dalybms, serial", "dalybms pyserial")
}

/// What a script of this directory prints.
pub(crate) fn run_script(python: &Path, script: &str, args: &[&str]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/externals").join(script);
    let read = Command::new(python).arg(script).args(args).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    serde_json::from_slice(&read.stdout).unwrap()
}

/// What dalybms reads from a port.
fn read(python: &Path, port: &Path) -> Value {
    run_script(python, "read_with_dalybms.py", &[port.to_str().unwrap()])
}

fn close(theirs: &Value, ours: &Value, within: f64) {
    let (theirs, ours) = (theirs.as_f64().unwrap(), ours.as_f64().unwrap());
    assert!((theirs - ours).abs() <= within, "dalybms read {theirs}, the simulator holds {ours}");
}

fn all_close(theirs: &Value, ours: &Value, within: f64) {
    let (theirs, ours) = (theirs.as_array().unwrap(), ours.as_array().unwrap());
    assert_eq!(theirs.len(), ours.len());
    theirs.iter().zip(ours).for_each(|(theirs, ours)| close(theirs, ours, within));
}

/// At rest nothing changes between the read and the simulator's last word, so only the wire's scale is between them.
#[tokio::test(flavor = "multi_thread")]
async fn dalybms_reads_what_the_simulator_holds() {
    let Some(python) = python() else { return };
    let simulator =
        Simulator::start(&["--profile", "rest", "--cells", "13", "--sensors", "3", "--start-soc", "81.3"]);
    let read = read(&python, simulator.port());
    let (said, _) = simulator.stop().await;
    let board = &said["boards"][0];
    all_close(&read["cell_voltages"], &board["cell_volts"], 0.0006);
    all_close(&read["temperatures"], &board["celsius"], 0.51);
    close(&read["soc"]["total_voltage"], &board["volts"], 0.051);
    close(&read["soc"]["current"], &board["amps"], 0.051);
    close(&read["soc"]["soc_percent"], &board["soc_percent"], 0.051);
    close(&read["soc"]["soc_percent"], &Value::from(81.3), 0.051);
    assert_eq!(
        (read["status"]["cells"].as_u64(), read["status"]["temperature_sensors"].as_u64()),
        (Some(13), Some(3))
    );
    assert_eq!(read["mosfet_status"]["mode"], "stationary");
    assert_eq!(read["mosfet_status"]["charging_mosfet"], true);
    assert_eq!(read["errors"], serde_json::json!([]));
    assert_eq!(
        said["requests"], said["answers"],
        "every request of theirs was understood and answered: {said}"
    );
}

/// Frost: the board refuses charge, and another client hears why.
#[tokio::test(flavor = "multi_thread")]
async fn dalybms_hears_that_a_protection_tripped() {
    let Some(python) = python() else { return };
    let simulator = Simulator::start(&["--profile", "rest", "--ambient", "-15", "--speed", "60"]);
    simulator
        .until_said("the charge switch is open", |said| said["boards"][0]["charge_closed"] == false)
        .await;
    let read = read(&python, simulator.port());
    assert_eq!(read["mosfet_status"]["charging_mosfet"], false);
    assert_eq!(read["mosfet_status"]["discharging_mosfet"], true);
    assert!(read["errors"].as_array().is_some_and(|errors| !errors.is_empty()), "{read}");
    simulator.stop().await;
}
