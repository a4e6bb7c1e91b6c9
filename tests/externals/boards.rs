//! `voltree simulate` read by libraries that know nothing of us: cantools, cbor2 and pysunspec2 of PyPI.
//!
//! The DBC file beside this holds the messages of foxBMS 2 that the test looks at, as its release 1.11 places them.

use serde_json::Value;

use crate::dalybms::{python_with, run_script};
use crate::support::simulator::Simulator;

fn close(theirs: &Value, ours: &Value, within: f64) {
    let (Some(theirs), Some(ours)) = (theirs.as_f64(), ours.as_f64()) else {
        panic!("{theirs} and {ours} are no numbers");
    };
    assert!((theirs - ours).abs() <= within, "the library read {theirs}, the simulator holds {ours}");
}

fn extreme(cells: &Value, pick: fn(f64, f64) -> f64) -> Value {
    let cells = cells.as_array().unwrap().iter().filter_map(Value::as_f64);
    cells.reduce(pick).unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn cantools_reads_what_the_simulated_foxbms_broadcasts() {
    let Some(python) = python_with("cantools, serial", "cantools pyserial") else { return };
    let simulator = Simulator::of("foxbms", "--slcan", &["--profile", "rest", "--cells", "13"]);
    let dbc = format!("{}/tests/externals/foxbms.dbc", env!("CARGO_MANIFEST_DIR"));
    let read = run_script(&python, "read_with_cantools.py", &[simulator.port().to_str().unwrap(), &dbc]);
    let (said, _) = simulator.stop().await;
    let pack = &said["boards"][0];
    close(&read["BatteryVoltage"], &pack["volts"], 0.051);
    close(&read["Current"], &pack["amps"], 0.06);
    close(&read["MinimumSoc"], &pack["soc_percent"], 0.051);
    let (theirs, ours) = (read["cells"].as_array().unwrap(), pack["cell_volts"].as_array().unwrap());
    assert_eq!(theirs.len(), ours.len());
    theirs.iter().zip(ours).for_each(|(theirs, ours)| close(theirs, ours, 0.0006));
}

#[tokio::test(flavor = "multi_thread")]
async fn cbor2_reads_the_report_of_the_simulated_libre_solar_board() {
    let Some(python) = python_with("cbor2, serial", "cbor2 pyserial") else { return };
    let simulator = Simulator::of("libre-solar", "--slcan", &["--profile", "rest", "--cells", "8"]);
    let read = run_script(&python, "read_with_cbor2.py", &[simulator.port().to_str().unwrap()]);
    let (said, _) = simulator.stop().await;
    let (pack, values) = (&said["boards"][0], &read["values"]);
    assert_eq!(read["subset"], 0x31);
    close(&values["0x71"], &pack["volts"], 0.001);
    close(&values["0x7c"], &pack["soc_percent"], 0.06);
    let (theirs, ours) = (values["0x80"].as_array().unwrap(), pack["cell_volts"].as_array().unwrap());
    theirs.iter().zip(ours).for_each(|(theirs, ours)| close(theirs, ours, 0.0006));
    assert!(theirs[ours.len()..].iter().all(|free| free.as_f64() == Some(0.0)), "{theirs:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn pysunspec2_reads_the_models_of_the_simulated_battery() {
    let Some(python) = python_with("sunspec2, serial", "pysunspec2 pyserial") else { return };
    let simulator = Simulator::of("sunspec", "--pty", &["--profile", "rest", "--unit", "9"]);
    let read = run_script(&python, "read_with_sunspec2.py", &[simulator.port().to_str().unwrap(), "9"]);
    let (said, _) = simulator.stop().await;
    let pack = &said["boards"][0];
    close(&read["volts"], &pack["volts"], 0.0051);
    close(&read["soc"], &pack["soc_percent"], 0.051);
    close(&read["max_cell"], &extreme(&pack["cell_volts"], f64::max), 0.0006);
    close(&read["min_cell"], &extreme(&pack["cell_volts"], f64::min), 0.0006);
    close(&read["max_module_temperature"], &extreme(&pack["celsius"], f64::max), 0.051);
    assert_eq!((&read["base"], &read["strings"]), (&40_000.into(), &1.into()));
}
