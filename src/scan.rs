//! `voltree scan ble`: the batteries in the air, what they likely speak, and a configuration for each.
//!
//! Only listens; connects to nothing. What a name says is a guess and is printed as one.

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use voltree_protocols::link::gatt::{BleAddress, Gatt};
use voltree_protocols::link::{Radio, Sighting};

use crate::cli::say;

/// Where to look.
#[derive(Debug, Args)]
pub(crate) struct ScanOptions {
    #[command(subcommand)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum Place {
    /// Listen for batteries on Bluetooth LE.
    Ble {
        /// The adapter, as hci0 [default: BlueZ's first].
        #[arg(long, value_name = "NAME")]
        adapter: Option<String>,
        /// How long to listen.
        #[arg(long, value_name = "SECONDS", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=300))]
        seconds: u64,
    },
}

/// Listens and prints.
pub(crate) fn run(options: &ScanOptions) -> anyhow::Result<()> {
    let Place::Ble { adapter, seconds } = &options.place;
    let runtime = tokio::runtime::Runtime::new().context("starting the async runtime")?;
    let radio = Radio::default();
    let heard = runtime.block_on(radio.listen(adapter.as_deref(), Duration::from_secs(*seconds)))?;
    let batteries: Vec<_> =
        heard.iter().filter_map(|(address, sighting)| Some((address, sighting, likely(sighting)?))).collect();
    say(&format!("# {} device(s) heard, {} of them likely batteries", heard.len(), batteries.len()));
    for (address, sighting, kind) in batteries {
        let name = sighting.name.as_deref().unwrap_or("without a name");
        let rssi = sighting.rssi.map(|dbm| format!(", {dbm} dBm")).unwrap_or_default();
        say(&format!("# {name}{rssi}: likely {kind}\n{}", configuration(*address, kind)));
    }
    Ok(())
}

/// Makers' numbers that Daly's modules carry.
const DALY_MAKERS: [u16; 5] = [0x0102, 0x0104, 0x0302, 0x0303, 0x0402];
/// And JK's.
const JK_MAKERS: [u16; 2] = [0x0B65, 0x4B4A];

/// The type that it likely is. Makers share services, so a name or a maker's number must agree with one.
fn likely(sighting: &Sighting) -> Option<&'static str> {
    let named = |starts: &[&str]| {
        sighting.name.as_ref().is_some_and(|name| starts.iter().any(|start| name.starts_with(start)))
    };
    let has = |gatt: Gatt| sighting.services.contains(&gatt.service);
    let made_by = |makers: &[u16]| sighting.makers.iter().any(|maker| makers.contains(maker));
    if named(&["DL-", "JHB-"]) || (has(Gatt::DALY) && made_by(&DALY_MAKERS)) {
        Some("daly_bms")
    } else if named(&["JK-", "JK_"]) || (has(Gatt::JK) && made_by(&JK_MAKERS)) {
        Some("jk_bms")
    } else if named(&["JBD-", "SX1", "xiaoxiang"]) || (has(Gatt::JBD) && sighting.makers.is_empty()) {
        Some("jbd_bms")
    } else if named(&["LibreSolar"]) || has(Gatt::LIBRE_SOLAR) {
        Some("libre_solar")
    } else {
        None
    }
}

fn configuration(address: BleAddress, kind: &str) -> String {
    let maker = kind.trim_end_matches("_bms");
    let [.., a, b, c] = address.0;
    format!(
        "[[device]]\nid = \"{maker}-{a:02x}{b:02x}{c:02x}\"\ntype = {kind:?}\nport = \"ble://{address}\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn sighting(name: &str, gatt: Option<Gatt>, makers: &[u16]) -> Sighting {
        Sighting {
            name: Some(name.to_owned()),
            services: gatt.map(|gatt| gatt.service).into_iter().collect(),
            makers: makers.to_vec(),
            rssi: Some(-60),
        }
    }

    #[test]
    fn makers_are_told_by_name_service_and_number() {
        let cases = [
            (sighting("DL-41181201189F", Some(Gatt::DALY), &[0x0102]), Some("daly_bms")),
            (sighting("DL-new", Some(Gatt::JBD), &[]), Some("daly_bms")),
            (sighting("my battery", Some(Gatt::JK), &[0x4B4A]), Some("jk_bms")),
            (sighting("LibreSolar BMS-C1", None, &[]), Some("libre_solar")),
            (sighting("charger", Some(Gatt::LIBRE_SOLAR), &[]), Some("libre_solar")),
            (sighting("JBD-SP25S", Some(Gatt::JBD), &[]), Some("jbd_bms")),
            (sighting("thermometer", Some(Gatt::JK), &[0x004C]), None),
        ];
        for (sighting, kind) in cases {
            assert_eq!(likely(&sighting), kind, "{sighting:?}");
        }
    }

    #[test]
    fn what_is_printed_can_be_pasted() {
        let address: BleAddress = "C8:47:80:0A:0B:FF".parse().unwrap();
        for kind in ["daly_bms", "jk_bms", "jbd_bms", "libre_solar"] {
            let config = Config::parse(&configuration(address, kind)).unwrap();
            assert_eq!(config.packs[0].address.to_string(), "ble://C8:47:80:0A:0B:FF");
            assert_eq!(config.packs[0].driver.kind(), kind);
        }
    }
}
