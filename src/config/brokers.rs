//! The brokers of others that a node listens to: the sections `[[mqtt.broker]]`.
//!
//! Passwords come from a file or the environment, never from the configuration itself, so that it can be shown around.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use voltree_actors::mqtt::outside::OutsideBroker;
use voltree_model::Secret;
use voltree_protocols::mqtt::Filter;

use super::reader::{Mistake, Section};
use crate::environment::Environment;

const DEFAULT_PORT: u16 = 1883;
const DEFAULT_TOPICS: [&str; 3] = ["devices/+/telemetry", "devices/+/status", "devices/+/commands/ack"];

/// A broker of this name and host, with everything else as it is unless told otherwise.
pub(crate) fn broker(name: &str, host: String, node: &str) -> OutsideBroker {
    OutsideBroker {
        name: name.to_owned(),
        host,
        port: DEFAULT_PORT,
        client_id: format!("voltree-{node}-{name}"),
        login: None,
        topics: DEFAULT_TOPICS.map(str::to_owned).to_vec(),
    }
}

/// Adds what mappings need to hear to every broker that was not told what to hear.
pub(super) fn hear(brokers: &mut [OutsideBroker], filters: &[String]) {
    for broker in brokers.iter_mut().filter(|broker| broker.topics == DEFAULT_TOPICS) {
        for filter in filters {
            if !broker.topics.iter().any(|known| known == filter) {
                broker.topics.push(filter.clone());
            }
        }
    }
}

/// Reads every section.
pub(super) fn read(
    mqtt: &mut Section,
    environment: &Environment<'_>,
    node: &str,
    mistakes: &mut Vec<Mistake>,
) -> Vec<OutsideBroker> {
    let mut brokers = Vec::new();
    for mut section in mqtt.sections("broker", mistakes) {
        brokers.extend(read_one(&mut section, environment, node, mistakes));
        section.finish(mistakes);
    }
    brokers
}

fn read_one(
    section: &mut Section,
    environment: &Environment<'_>,
    node: &str,
    mistakes: &mut Vec<Mistake>,
) -> Option<OutsideBroker> {
    section.required(&["name", "host"], mistakes);
    let name = section.checked("name", actor_name, mistakes);
    let host = section.text("host", mistakes);
    let port = section.whole("port", 1..=65_535, mistakes).and_then(|port| u16::try_from(port).ok());
    let client_id = section.text("client_id", mistakes);
    let user = section.text("user", mistakes);
    let password = section.checked("password_file", |path| read_secret(path, environment), mistakes);
    let topics = section.list("topics", mistakes);
    for topic in &topics {
        if let Err(error) = filter(topic) {
            section.mistake("topics", &format!("{topic:?}: {error}"), mistakes);
        }
    }
    let mut read = broker(&name?, host?, node);
    read.port = port.unwrap_or(read.port);
    read.client_id = client_id.unwrap_or(read.client_id);
    read.login = user.map(|user| (user, password.unwrap_or_else(|| Secret::new(""))));
    if !topics.is_empty() {
        read.topics = topics;
    }
    Some(read)
}

fn actor_name(text: &str) -> Result<String, String> {
    let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) && text.len() <= 64;
    if fits { Ok(text.to_owned()) } else { Err("may have up to 64 of A-Z a-z 0-9 _ . -".to_owned()) }
}

fn read_secret(path: &str, environment: &Environment<'_>) -> Result<Secret, String> {
    let read = (environment.read)(Path::new(path));
    read.map(|text| Secret::new(text.trim_end()))
        .map_err(|error| format!("{path} could not be read: {error}"))
}

/// A filter, or one behind `$share/GROUP/`, by which several clients share the messages.
fn filter(text: &str) -> Result<(), String> {
    let filter = match text.strip_prefix("$share/").map(|rest| rest.split_once('/')) {
        None => text,
        Some(Some((group, filter))) if !group.is_empty() => filter,
        Some(_) => return Err("a shared subscription is written $share/GROUP/FILTER".to_owned()),
    };
    Filter::parse(filter).map(drop).map_err(|error| error.to_string())
}

/// Two clients of one name would throw each other out for ever; a node that hears itself would store everything twice.
pub(super) fn check(brokers: &[OutsideBroker], own: SocketAddr, mistakes: &mut Vec<Mistake>) {
    for (index, broker) in brokers.iter().enumerate() {
        let mut mistake = |key: &str, reason: String| {
            mistakes.push(Mistake::new(format!("mqtt.broker[{index}].{key}"), reason));
        };
        let before = &brokers[..index];
        if before.iter().any(|other| other.name == broker.name) {
            mistake("name", format!("{} is taken by an earlier broker", broker.name));
        }
        let same = |other: &&OutsideBroker| {
            (&other.host, other.port, &other.client_id) == (&broker.host, broker.port, &broker.client_id)
        };
        if let Some(other) = before.iter().find(same) {
            mistake("client_id", format!("{} has the same one at the same broker", other.name));
        }
        if is_own(broker, own) {
            mistake("host", format!("{}:{} is this node's own listener", broker.host, broker.port));
        }
    }
}

fn is_own(broker: &OutsideBroker, own: SocketAddr) -> bool {
    let address: Option<IpAddr> = broker.host.parse().ok();
    let loopback = broker.host == "localhost" || address.is_some_and(|ip| ip.is_loopback());
    let reaches =
        address == Some(own.ip()) || (loopback && (own.ip().is_loopback() || own.ip().is_unspecified()));
    reaches && broker.port == own.port()
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, ConfigError};

    fn mistakes(text: &str) -> Vec<String> {
        match Config::parse(text) {
            Err(ConfigError::Mistakes(mistakes)) => mistakes.iter().map(ToString::to_string).collect(),
            other => panic!("expected mistakes, got {other:?}"),
        }
    }

    #[test]
    fn a_broker_needs_a_name_and_a_host_and_hears_the_contracts_topics() {
        let config =
            Config::parse("[node]\nid = \"n\"\n[[mqtt.broker]]\nname = \"b\"\nhost = \"h\"\n").unwrap();
        let [broker] = config.brokers.as_slice() else { panic!("{config:?}") };
        assert_eq!(
            (broker.port, broker.client_id.as_str(), broker.login.is_none()),
            (1883, "voltree-n-b", true)
        );
        assert_eq!(broker.topics, ["devices/+/telemetry", "devices/+/status"]);
    }

    #[test]
    fn mistakes_of_brokers_are_named_by_key() {
        let found = mistakes(
            "[[mqtt.broker]]\nname = \"a b\"\npassword = \"x\"\n[[mqtt.broker]]\nname = \"c\"\nhost = \"localhost\"\n\
             topics = [\"a/#/b\", \"$share/x\", \"$share/g/a/+\"]\n[[mqtt.broker]]\nname = \"c\"\nhost = \"localhost\"\n",
        );
        let expected = [
            "mqtt.broker[0].host: is missing",
            "mqtt.broker[0].name: may have up to 64 of A-Z a-z 0-9 _ . -",
            "mqtt.broker[0].password: unknown key",
            "mqtt.broker[1].topics: \"a/#/b\": the wildcard '#' must fill its level, and '#' must come last",
            "mqtt.broker[1].topics: \"$share/x\": a shared subscription is written $share/GROUP/FILTER",
            "mqtt.broker[0].host: localhost:1883 is this node's own listener",
            "mqtt.broker[1].name: c is taken by an earlier broker",
            "mqtt.broker[1].client_id: c has the same one at the same broker",
            "mqtt.broker[1].host: localhost:1883 is this node's own listener",
        ];
        assert_eq!(found, expected);
    }
}
