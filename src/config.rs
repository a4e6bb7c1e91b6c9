//! The node's configuration: TOML, read once, valid by construction. All mistakes are reported together, each with its
//! key and what is wrong with it.

mod admission;
pub(crate) mod brokers;
mod device;
mod mappings;
mod reader;
mod retention;
pub(crate) mod tls;
mod users;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use voltree_actors::AlertLimits;
use voltree_actors::access::Access;
use voltree_actors::mqtt::outside::OutsideBroker;
use voltree_actors::registry::AdmissionRules;
use voltree_model::DeviceId;
use voltree_protocols::bms::{Driver, Wire};
use voltree_protocols::influx;
use voltree_protocols::link::{BAUDS, LinkAddress, Radio};
use voltree_protocols::mapping::{Mapping, Sparkplug};
use voltree_protocols::mqtt::Rate;
use voltree_runtime::telemetry::LogFormat;
use voltree_storage::Retention;

pub(crate) use self::reader::Mistake;
use self::reader::Section;
use self::tls::TlsListener;
use crate::environment::Environment;

/// A valid configuration.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Config {
    pub(crate) node_id: String,
    pub(crate) site: Option<String>,
    pub(crate) data_dir: PathBuf,
    pub(crate) log_level: String,
    pub(crate) log_format: LogFormat,
    pub(crate) http_listen: SocketAddr,
    pub(crate) http_hosts: Vec<String>,
    pub(crate) mqtt_listen: SocketAddr,
    pub(crate) mqtt_access: Access,
    pub(crate) mqtt_tls: Option<TlsListener>,
    /// How fast each MQTT client may publish; `None` at any rate.
    pub(crate) mqtt_rate: Option<Rate>,
    /// How long MQTT clients have to come back after the node was away, before their wills are published.
    pub(crate) will_patience: Duration,
    pub(crate) brokers: Vec<OutsideBroker>,
    pub(crate) influx: influx::Mapping,
    pub(crate) mappings: Vec<Mapping>,
    pub(crate) discovery_prefix: Option<String>,
    pub(crate) sparkplug: bool,
    pub(crate) admission: AdmissionRules,
    pub(crate) retention: Retention,
    pub(crate) alerts: AlertLimits,
    /// Connections over Bluetooth LE at once.
    pub(crate) ble_connections: usize,
    pub(crate) packs: Vec<PackConfig>,
}

/// A battery and where it is reached.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PackConfig {
    pub(crate) id: DeviceId,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) address: LinkAddress,
    pub(crate) poll_interval: Duration,
    pub(crate) driver: Driver,
    pub(crate) invert_current: bool,
    pub(crate) allow_write: bool,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("the configuration file {} could not be read", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("the configuration is no TOML: {0}")]
    Syntax(#[from] toml::de::Error),
    #[error("the configuration has {}:\n{}", count(.0.len()), lines(.0))]
    Mistakes(Vec<Mistake>),
}

fn count(mistakes: usize) -> String {
    if mistakes == 1 { "a mistake".to_owned() } else { format!("{mistakes} mistakes") }
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("  {mistake}")).collect::<Vec<_>>().join("\n")
}

impl Config {
    /// Reads and checks a file, then lets the environment override it. Relative paths in it are taken from where it is
    /// run.
    pub(crate) fn read(path: &Path, environment: &Environment<'_>) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::checked(&text, environment)
    }

    /// The defaults as the environment overrides them.
    pub(crate) fn from_environment(environment: &Environment<'_>) -> Result<Self, ConfigError> {
        Self::checked("", environment)
    }

    #[cfg(test)]
    pub(crate) fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::checked(text, &Environment { variables: Vec::new(), read: &|_| Ok(String::new()) })
    }

    fn checked(text: &str, environment: &Environment<'_>) -> Result<Self, ConfigError> {
        let table: toml::Table = text.parse()?;
        let mut root = Section::root(table);
        let mut config = Self::default();
        let mut mistakes = Vec::new();
        root.section("node", &mut mistakes, |node, mistakes| {
            config.node_id = node.text("id", mistakes).unwrap_or(config.node_id.clone());
            config.site = node.text("site", mistakes);
            if let Some(dir) = node.text("data_dir", mistakes) {
                config.data_dir = dir.into();
            }
        });
        root.section("log", &mut mistakes, |log, mistakes| {
            config.log_level = log.text("level", mistakes).unwrap_or(config.log_level.clone());
            let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
            config.log_format = log.choice("format", &formats, mistakes).unwrap_or_default();
        });
        root.section("http", &mut mistakes, |http, mistakes| {
            config.http_listen = http
                .parsed("listen", "an address such as 127.0.0.1:8000", mistakes)
                .unwrap_or(config.http_listen);
            config.http_hosts = http.list("hosts", mistakes);
        });
        root.section("mqtt", &mut mistakes, |mqtt, mistakes| {
            config.mqtt_listen = mqtt
                .parsed("listen", "an address such as 127.0.0.1:1883", mistakes)
                .unwrap_or(config.mqtt_listen);
            config.mqtt_tls = tls::read(mqtt, mistakes);
            let by_certificate = config.mqtt_tls.as_ref().is_some_and(|tls| tls.files.client_ca.is_some());
            config.mqtt_access = users::read(mqtt, by_certificate, mistakes);
            config.mqtt_rate = rate(mqtt, mistakes);
            let patience = mqtt.whole("will_patience_s", 0..=86_400, mistakes).map(Duration::from_secs);
            config.will_patience = patience.unwrap_or(config.will_patience);
            config.discovery_prefix = mqtt.checked("discovery_prefix", mappings::prefix, mistakes);
            let choices = [("heard", true), ("ignored", false)];
            config.sparkplug = mqtt.choice("sparkplug", &choices, mistakes).unwrap_or_default();
            config.brokers = brokers::read(mqtt, environment, &config.node_id, mistakes);
        });
        root.section("influx", &mut mistakes, |influx, mistakes| {
            let tags = influx.list("device_tags", mistakes);
            if !tags.is_empty() {
                config.influx.device_tags = tags;
            }
            let in_name = influx.choice("measurement", &[("prefix", true), ("ignore", false)], mistakes);
            config.influx.measurement_in_name = in_name.unwrap_or(config.influx.measurement_in_name);
        });
        root.section("devices", &mut mistakes, |section, mistakes| {
            admission::read(section, &mut config.admission, mistakes);
        });
        admission::know(&mut config.admission, &config.mqtt_access);
        root.section("retention", &mut mistakes, |section, mistakes| {
            retention::read(section, &mut config.retention, mistakes);
        });
        root.section("alerts", &mut mistakes, |alerts, mistakes| {
            read_alerts(alerts, &mut config.alerts, mistakes)
        });
        root.section("bluetooth", &mut mistakes, |bluetooth, mistakes| {
            let connections = bluetooth.whole("connections", 1..=32, mistakes);
            config.ble_connections =
                connections.and_then(|most| usize::try_from(most).ok()).unwrap_or(config.ble_connections);
        });
        for mut device in root.sections("device", &mut mistakes) {
            config.packs.extend(read_pack(&mut device, &mut mistakes));
            device.finish(&mut mistakes);
        }
        config.mappings = mappings::read(&mut root, &mut mistakes);
        let filters = config.mappings.iter().flat_map(Mapping::filters);
        let mut filters: Vec<_> = filters.map(|filter| filter.as_str().to_owned()).collect();
        filters.extend(config.discovery_prefix.as_ref().map(|prefix| format!("{prefix}/#")));
        filters.extend(config.sparkplug.then(|| Sparkplug::FILTER.to_owned()));
        brokers::hear(&mut config.brokers, &filters);
        root.finish(&mut mistakes);
        check_unique(&config.packs, &mut mistakes);
        environment.apply(&mut config, &mut mistakes);
        brokers::check_node(&config.brokers, config.node_id != Self::default().node_id, &mut mistakes);
        brokers::check(&config.brokers, config.mqtt_listen, &mut mistakes);
        if mistakes.is_empty() { Ok(config) } else { Err(ConfigError::Mistakes(mistakes)) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            node_id: "voltree".to_owned(),
            site: None,
            data_dir: PathBuf::from("voltree-data"),
            log_level: "info".to_owned(),
            log_format: LogFormat::Text,
            http_listen: SocketAddr::from(([127, 0, 0, 1], 8000)),
            http_hosts: Vec::new(),
            mqtt_listen: SocketAddr::from(([127, 0, 0, 1], 1883)),
            mqtt_access: Access::new(BTreeMap::new(), true),
            mqtt_tls: None,
            mqtt_rate: Some(Rate::default()),
            will_patience: Duration::from_secs(30),
            brokers: Vec::new(),
            influx: influx::Mapping::default(),
            mappings: Vec::new(),
            discovery_prefix: None,
            sparkplug: false,
            admission: admission::default(),
            retention: retention::default(),
            alerts: AlertLimits::default(),
            ble_connections: Radio::USUAL_CONNECTIONS,
            packs: Vec::new(),
        }
    }
}

/// How fast each client may publish; zero messages a second stand for no limit.
fn rate(mqtt: &mut Section, mistakes: &mut Vec<Mistake>) -> Option<Rate> {
    let mut whole = |key, range| mqtt.whole(key, range, mistakes).and_then(|n| u32::try_from(n).ok());
    let usual = Rate::default();
    let per_second = whole("rate_per_s", 0..=1_000_000).unwrap_or(usual.per_second);
    let burst = whole("burst", 1..=1_000_000).unwrap_or(usual.burst);
    (per_second > 0).then_some(Rate { per_second, burst })
}

fn read_alerts(section: &mut Section, limits: &mut AlertLimits, mistakes: &mut Vec<Mistake>) {
    let mut number = |key, range, value: &mut f64| {
        if let Some(number) = section.number(key, range, mistakes) {
            *value = number;
        }
    };
    number("cell_overvoltage_v", 1.0..=6.0, &mut limits.cell_overvoltage_v);
    number("cell_undervoltage_v", 0.5..=5.0, &mut limits.cell_undervoltage_v);
    number("overtemperature_c", 0.0..=150.0, &mut limits.overtemperature_c);
    let mut seconds = |key, value: &mut Duration| {
        if let Some(seconds) = section.whole(key, 1..=86_400, mistakes) {
            *value = Duration::from_secs(seconds);
        }
    };
    seconds("silent_after_s", &mut limits.silent_after);
    seconds("lateness_s", &mut limits.lateness);
}

fn read_pack(section: &mut Section, mistakes: &mut Vec<Mistake>) -> Option<PackConfig> {
    section.required(&["id", "type", "port"], mistakes);
    let driver = device::read_driver(section, mistakes);
    let invert_current = device::reads_inverted(section, mistakes);
    let id = section.checked("id", |text| DeviceId::new(text).map_err(|error| error.to_string()), mistakes);
    let name = section.text("name", mistakes);
    let labels = section.texts("labels", mistakes);
    let usual = driver.as_ref().map_or(9600, Driver::default_baud);
    let address = read_address(section, usual, mistakes);
    let allow_write = section.flag("allow_write", mistakes).unwrap_or(false);
    let poll = section.whole("poll_interval_ms", 200..=3_600_000, mistakes);
    let (mut driver, id, mut address) = (driver?, id?, address?);
    if address.carries(Wire::Can) {
        driver = driver.on_bus();
    }
    if let LinkAddress::Ble { .. } = address {
        match driver.clone().on_air() {
            Some(on_air) => driver = on_air,
            None => {
                section.mistake("port", &format!("{} is not spoken over Bluetooth", driver.kind()), mistakes)
            }
        }
        address.suit(&driver);
    }
    if !address.carries(driver.wire()) {
        section.mistake("port", &format!("{address} does not carry what {} speaks", driver.kind()), mistakes);
    }
    if let LinkAddress::ModbusTcp { unit: Some(unit), .. } = address {
        driver.set_unit(unit);
    }
    Some(PackConfig {
        name: name.unwrap_or_else(|| id.to_string()),
        id,
        labels,
        address,
        poll_interval: Duration::from_millis(poll.unwrap_or(1_000)),
        driver,
        invert_current,
        allow_write,
    })
}

fn read_address(section: &mut Section, usual_baud: u32, mistakes: &mut Vec<Mistake>) -> Option<LinkAddress> {
    let text = section.text("port", mistakes);
    let baud = section.whole("baud", 1..=u64::from(u32::MAX), mistakes);
    let baud = baud.and_then(|baud| u32::try_from(baud).ok());
    if baud.is_some_and(|baud| !BAUDS.contains(&baud)) {
        section.mistake("baud", &format!("must be one of {BAUDS:?}"), mistakes);
    }
    let text = text?;
    if baud.is_some() && (LinkAddress::says_baud(&text) || !may_have_baud(&text)) {
        section.mistake("baud", &format!("is the port's own affair in {text:?}"), mistakes);
    }
    match LinkAddress::parse(&text, baud.unwrap_or(usual_baud)) {
        Ok(address) => Some(address),
        Err(error) => {
            section.mistake("port", &error.to_string(), mistakes);
            None
        }
    }
}

/// Only serial ports have a speed that is ours to set.
fn may_have_baud(port: &str) -> bool {
    !port.contains("://") || port.starts_with("serial://")
}

/// Two devices under one id would mix their histories; two on one line without numbers would read each other's answers.
fn check_unique(packs: &[PackConfig], mistakes: &mut Vec<Mistake>) {
    for (index, pack) in packs.iter().enumerate() {
        let before = &packs[..index];
        if before.iter().any(|other| other.id == pack.id) {
            mistakes.push(Mistake::new(
                format!("device[{index}].id"),
                format!("{} is taken by an earlier device", pack.id),
            ));
        }
        for other in before.iter().filter(|other| other.address.same_wire(&pack.address)) {
            if let Err(why) = may_share(pack, other) {
                mistakes.push(Mistake::new(format!("device[{index}].port"), why));
                break;
            }
        }
    }
}

/// Whether two devices can be on one line: at one speed, and each with an address of its own.
fn may_share(pack: &PackConfig, other: &PackConfig) -> Result<(), String> {
    let (port, first) = (&pack.address, &other.id);
    if pack.address != other.address {
        return Err(format!("{port} is used at another speed by {first}"));
    }
    match (pack.driver.line_address(), other.driver.line_address()) {
        (Some(address), Some(others)) if address != others || pack.driver.kind() != other.driver.kind() => {
            Ok(())
        }
        (Some(address), Some(_)) => Err(format!("{first} on {port} has the number {address} too")),
        _ => Err(format!(
            "{port} is used by {first}, and one of them has no number by which to tell them apart"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use voltree_actors::mqtt::Bridge;
    use voltree_actors::mqtt::outside::Protocol;
    use voltree_model::Secret;

    fn mistakes(text: &str) -> Vec<String> {
        match Config::parse(text) {
            Err(ConfigError::Mistakes(mistakes)) => mistakes.iter().map(ToString::to_string).collect(),
            other => panic!("expected mistakes, got {other:?}"),
        }
    }

    #[test]
    fn the_example_that_ships_is_valid() {
        let config = Config::parse(include_str!("../deploy/voltree.toml")).unwrap();
        assert_eq!(config.packs.len(), 1);
        assert_eq!(config.packs[0].poll_interval, Duration::from_secs(1));
    }

    #[test]
    fn the_defaults_that_the_example_shows_are_the_defaults() {
        let shown: String = include_str!("../deploy/voltree.toml")
            .lines()
            .filter(|line| {
                !["hosts =", "devices =", "max_mib =", "discovery_prefix ="]
                    .iter()
                    .any(|key| line.contains(key))
            })
            .map(|line| {
                line.strip_prefix("# ")
                    .filter(|rest| rest.contains(" = ") || rest.starts_with('['))
                    .unwrap_or(line)
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let config = Config::parse(&shown).unwrap();
        let example = Config::parse(include_str!("../deploy/voltree.toml")).unwrap();
        let with_label = PackConfig { labels: config.packs[0].labels.clone(), ..example.packs[0].clone() };
        let broker = brokers::broker("house", "192.168.1.10".to_owned(), "garage");
        let [zigbee2mqtt] = config.mappings.as_slice() else { panic!("one preset is shown") };
        let mut broker = broker;
        broker.topics.extend(zigbee2mqtt.filters().map(ToString::to_string));
        broker.topics.dedup();
        let bridge = config.brokers[0].bridge.clone();
        assert!(!bridge.is_closed() && !bridge.prefix.is_empty());
        assert_eq!(bridge.most_waiting, Bridge::MOST_WAITING);
        let login = Some(("voltree".to_owned(), Secret::new("")));
        let with_login = OutsideBroker { login, bridge, protocol: Protocol::V5, ..broker };
        let mqtt_access = config.mqtt_access.clone();
        assert!(!mqtt_access.is_local_only());
        let mqtt_tls = config.mqtt_tls.clone();
        assert!(mqtt_tls.is_some());
        assert_eq!(
            config,
            Config {
                packs: vec![with_label],
                brokers: vec![with_login],
                mappings: config.mappings.clone(),
                mqtt_access,
                mqtt_tls,
                admission: config.admission.clone(),
                ..example
            }
        );
        assert!(!config.packs[0].labels.is_empty());
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        assert_eq!(Config::parse("").unwrap(), Config::default());
    }

    #[test]
    fn how_lines_name_devices_and_series_can_be_said() {
        let config = Config::parse("[influx]\ndevice_tags = [\"dev\"]\nmeasurement = \"ignore\"\n").unwrap();
        let expected = influx::Mapping { device_tags: vec!["dev".to_owned()], measurement_in_name: false };
        assert_eq!(config.influx, expected);
        let found = mistakes("[influx]\nmeasurement = \"drop\"\ntags = []\n");
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|mistake| mistake.starts_with("influx.")), "{found:?}");
    }

    #[test]
    fn all_mistakes_are_reported_together_with_their_keys() {
        let found = mistakes(
            "typo = 1\n[http]\nlisten = \"nowhere\"\nport = 3\n[alerts]\ncell_overvoltage_v = \"high\"\n\
             [[device]]\nid = \"a b\"\ntype = \"daly_bms\"\nbaud = 1200\n",
        );
        let expected = [
            "http.listen: \"nowhere\" is not an address such as 127.0.0.1:8000",
            "http.port: unknown key",
            "alerts.cell_overvoltage_v: must be a number",
            "device[0].port: is missing",
            "device[0].id: a device id may not contain ' '",
            "device[0].baud: must be one of [9600, 19200, 38400, 57600, 115200]",
            "typo: unknown key",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_device_may_keep_longer_than_the_others_and_shares_what_it_does_not_say() {
        let text =
            "[retention]\nraw_days = 30\nmax_mib = 100\ndevices = [{ id = \"bank\", rollup_1m_days = 900 }]";
        let retention = Config::parse(text).unwrap().retention;
        let bank = retention.devices[&DeviceId::new("bank").unwrap()];
        assert_eq!((retention.default.raw, bank.raw, bank.minutes), (30, 30, 900));
        assert_eq!(retention.max_bytes, Some(100 * 1024 * 1024));
        let found =
            mistakes("[retention]\nraw_days = 0\ndevices = [{ raw_days = 5 }, { id = \"a\", typo = 1 }]");
        let expected = [
            "retention.raw_days: must be a whole number between 1 and 36525",
            "retention.devices[0].id: is missing",
            "retention.devices[1].typo: unknown key",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_device_may_be_reached_over_the_network() {
        let config = |kind: &str, port: &str, more: &str| {
            Config::parse(&format!("[[device]]\nid = \"a\"\ntype = {kind:?}\nport = {port:?}\n{more}"))
        };
        let found = config("sunspec_bms", "modbus-tcp://inverter.lan?unit=7", "").unwrap();
        let Driver::Sunspec(sunspec) = &found.packs[0].driver else { panic!("{found:?}") };
        assert_eq!(
            (sunspec.unit, found.packs[0].address.to_string()),
            (7, "modbus-tcp://inverter.lan:502".into())
        );
        let said = |kind, port, more| config(kind, port, more).unwrap_err().to_string();
        assert!(said("jk_bms", "modbus-tcp://h", "").contains("does not carry what jk_bms speaks"));
        assert!(said("jk_bms", "tcp://h", "").contains("device[0].port: \"tcp://h\" lacks a port"));
        assert!(
            said("jk_bms", "tcp://h:5", "baud = 9600").contains("device[0].baud: is the port's own affair")
        );
    }

    #[test]
    fn two_devices_may_not_share_an_id_or_a_port() {
        let device = "[[device]]\nid = \"a\"\ntype = \"daly_bms\"\nport = \"/dev/ttyUSB0\"\n";
        let found = mistakes(&device.repeat(2));
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[1], "device[1].port: a on /dev/ttyUSB0 has the number 1 too");
    }

    #[test]
    fn boards_with_numbers_may_share_a_line() {
        let on_line = |kind: &str, second: &str| {
            let device = |id: &str, keys: &str| {
                format!("[[device]]\nid = {id:?}\ntype = {kind:?}\nport = \"/dev/ttyUSB0\"\n{keys}\n")
            };
            Config::parse(&(device("a", "") + &device("b", second))).map_err(|error| error.to_string())
        };
        assert_eq!(on_line("daly_bms", "board = 2").unwrap().packs.len(), 2);
        assert!(
            on_line("daly_bms", "board = 2\nbaud = 19200").unwrap_err().contains("at another speed by a")
        );
        assert!(on_line("jk_bms", "").unwrap_err().contains("no number by which to tell them apart"));
    }
}
