//! `voltree probe`: what hangs on a serial port. Asks in one protocol after the other, each at the speeds it comes in,
//! until something answers with a reading that holds together, and prints a configuration for it.
//!
//! Only reads are sent, each of them a question that its own boards expect; nothing is ever written to a device.

use anyhow::Context as _;
use clap::Args;
use voltree_model::PackReading;
use voltree_protocols::bms::Driver;
use voltree_protocols::bms::daly_bluetooth::RegisterConfig;
use voltree_protocols::bms::daly_uart::{CurrentSign, DalyConfig};
use voltree_protocols::bms::foxbms::FoxbmsConfig;
use voltree_protocols::bms::jbd::JbdConfig;
use voltree_protocols::bms::libre_solar::ThingsetCanConfig;
use voltree_protocols::bms::sunspec::SunspecConfig;
use voltree_protocols::bms::telecom::{Maker, TelecomConfig};
use voltree_protocols::link::{AnyLink, CycleError, LinkAddress, run_cycle};

use crate::cli::say;

/// What is probed.
#[derive(Debug, Args)]
pub(crate) struct ProbeOptions {
    /// The serial port, or what a configuration says as `port`: tcp://HOST:PORT, modbus-tcp://HOST,
    /// slcan:///dev/ttyACM0?bitrate=250000, socketcand://HOST/can0, can://can0. Nobody else may be using it.
    #[arg(value_name = "PORT")]
    port: String,
}

/// Something to ask, at one speed.
struct Candidate {
    driver: Driver,
    baud: u32,
    /// The keys that differ from the type's defaults.
    keys: String,
}

/// Looks for a device and prints its configuration.
pub(crate) fn run(options: &ProbeOptions) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new().context("starting the async runtime")?;
    let port = options.port.as_str();
    let candidates = candidates_on(port)?;
    for candidate in &candidates {
        say(&format!(
            "# asking for {} at {} baud{}",
            candidate.driver.kind(),
            candidate.baud,
            candidate.keys()
        ));
        if let Some(reading) = runtime.block_on(ask(port, candidate))? {
            say(&format!("# {}", summary(&reading)));
            say(&configuration(port, candidate));
            return Ok(());
        }
    }
    anyhow::bail!(
        "nothing on {port} answered in any of the protocols asked for; check that RX and TX (or A and B) are not \
         swapped, that the battery is awake, and that its address is the factory's"
    )
}

/// What can hang there. Behind a gateway the speed is not ours to try.
fn candidates_on(port: &str) -> anyhow::Result<Vec<Candidate>> {
    let mut kept: Vec<Candidate> = Vec::new();
    for candidate in candidates() {
        let address = LinkAddress::parse(port, candidate.baud)?;
        let fits = address.carries(candidate.driver.wire());
        let again = !matches!(address, LinkAddress::Serial { .. })
            && kept.iter().any(|other| other.driver == candidate.driver);
        if fits && !again {
            kept.push(candidate);
        }
    }
    Ok(kept)
}

/// The likeliest first. Seplos and Pylontech share their frames and are told apart by whether values hold together.
fn candidates() -> Vec<Candidate> {
    let telecom = |maker, address| Driver::Telecom(TelecomConfig { maker, address });
    let sunspec = Driver::Sunspec(SunspecConfig { unit: 1, current_sign: CurrentSign::Auto });
    let mut candidates = Vec::new();
    let mut add = |driver: &Driver, bauds: &[u32], keys: &str| {
        candidates.extend(bauds.iter().map(|baud| Candidate {
            driver: driver.clone(),
            baud: *baud,
            keys: keys.to_owned(),
        }));
    };
    add(&Driver::Daly(DalyConfig::default()), &[9600], "");
    add(&Driver::Jbd(JbdConfig::default()), &[9600], "");
    add(&Driver::Jk, &[115_200], "");
    let registers = RegisterConfig::default();
    add(&Driver::DalyRegisters(registers), &[9600], "protocol = \"registers\"\n");
    add(&Driver::LibreSolar, &[115_200], "");
    add(&telecom(Maker::Seplos, 0), &[19_200, 9600], "");
    add(&telecom(Maker::Seplos, 1), &[19_200, 9600], "address = 1\n");
    add(&telecom(Maker::Pylontech, 2), &[115_200, 9600], "");
    add(&sunspec, &[9600, 19_200], "");
    add(&Driver::DalyCan(DalyConfig::default()), &[115_200], "");
    add(&Driver::Foxbms(FoxbmsConfig::default()), &[115_200], "");
    add(&Driver::LibreSolarCan(ThingsetCanConfig::default()), &[115_200], "");
    candidates
}

impl Candidate {
    fn keys(&self) -> String {
        if self.keys.is_empty() { String::new() } else { format!(", {}", self.keys.trim_end()) }
    }
}

/// Runs one poll; `None` where nothing usable came back. Only a port that can't be used ends the search.
async fn ask(port: &str, candidate: &Candidate) -> anyhow::Result<Option<PackReading>> {
    let address = LinkAddress::parse(port, candidate.baud)?;
    let polled = async {
        let mut link = AnyLink::open(&address).await?;
        run_cycle(&mut link, &mut *candidate.driver.poll()).await
    };
    match polled.await {
        Ok(reading) => Ok(Some(reading).filter(holds_together)),
        Err(CycleError::Poll(_)) => Ok(None),
        Err(error @ CycleError::Link(_)) => Err(error).with_context(|| format!("probing {port}")),
    }
}

/// A voltage that was believed and that the cells add up to, where there are cells.
fn holds_together(reading: &PackReading) -> bool {
    let Some(volts) = reading.pack_voltage else { return false };
    let cells: Option<Vec<f64>> =
        reading.cell_voltages.iter().map(|cell| cell.map(|mv| f64::from(mv.0) / 1000.0)).collect();
    match cells.filter(|cells| !cells.is_empty()) {
        Some(cells) => (cells.iter().sum::<f64>() - volts.0).abs() < 0.1 * volts.0,
        None => true,
    }
}

fn summary(reading: &PackReading) -> String {
    let number = |value: Option<f64>, unit: &str| value.map(|value| format!("{value:.1} {unit}"));
    let cells = reading.cell_voltages.len();
    let parts = [
        number(reading.pack_voltage.map(|volts| volts.0), "V"),
        number(reading.pack_current.map(|amps| amps.0), "A"),
        number(reading.soc.map(|soc| soc.0), "%"),
        (cells > 0).then(|| format!("{cells} cells")),
    ];
    format!("it answers: {}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn configuration(port: &str, candidate: &Candidate) -> String {
    let driver = &candidate.driver;
    let baud = match candidate.baud {
        baud if baud == driver.default_baud() || port.contains("://") => String::new(),
        baud => format!("baud = {baud}\n"),
    };
    let kind = driver.kind();
    format!("[[device]]\nid = \"battery-1\"\ntype = {kind:?}\nport = {port:?}\n{baud}{}", candidate.keys)
}

#[cfg(test)]
mod tests {
    use voltree_model::{Millivolts, Volts};
    use voltree_protocols::bms::Wire;

    use super::*;
    use crate::config::Config;

    #[test]
    fn what_is_printed_can_be_pasted_and_means_the_device_that_was_asked() {
        for candidate in candidates() {
            if candidate.driver.wire() == Wire::Can {
                let config = Config::parse(&configuration("can://can0", &candidate)).unwrap();
                assert_eq!(config.packs[0].driver, candidate.driver);
                continue;
            }
            let config = Config::parse(&configuration("/dev/ttyUSB0", &candidate)).unwrap();
            let pack = &config.packs[0];
            assert_eq!(
                (&pack.driver, &pack.address),
                (
                    &candidate.driver,
                    &LinkAddress::Serial { path: "/dev/ttyUSB0".into(), baud: candidate.baud }
                )
            );
        }
    }

    #[test]
    fn cells_that_do_not_add_up_are_another_protocols() {
        let reading = |volts, mv| PackReading {
            pack_voltage: Some(Volts(volts)),
            cell_voltages: vec![Some(Millivolts(mv)); 16],
            ..PackReading::default()
        };
        assert!(holds_together(&reading(52.8, 3300)));
        assert!(!holds_together(&reading(20.0, 3300)));
        assert!(!holds_together(&PackReading::default()));
    }
}
