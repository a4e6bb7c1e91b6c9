//! The brokers of others that a node listens to: the sections `[[mqtt.broker]]`.
//!
//! Passwords come from a file or the environment, never from the configuration itself, so that it can be shown around.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use voltree_actors::mqtt::Bridge;
use voltree_actors::mqtt::outside::{OutsideBroker, Protocol};
use voltree_model::Secret;
use voltree_protocols::mqtt::{Filter, publish_topic_valid};

use super::reader::{Mistake, Section};
use crate::environment::Environment;

const DEFAULT_PORT: u16 = 1883;
const PROTOCOLS: [(&str, Protocol); 2] = [("3.1.1", Protocol::V3), ("5.0", Protocol::V5)];
const DEFAULT_TOPICS: [&str; 3] = ["devices/+/telemetry", "devices/+/status", "devices/+/commands/ack"];

/// A broker of this name and host, with everything else as it is unless told otherwise.
pub(crate) fn broker(name: &str, host: String, node: &str) -> OutsideBroker {
    OutsideBroker {
        name: name.to_owned(),
        host,
        port: DEFAULT_PORT,
        protocol: Protocol::V3,
        client_id: format!("voltree-{node}-{name}"),
        login: None,
        topics: DEFAULT_TOPICS.map(str::to_owned).to_vec(),
        connections: 1,
        bridge: Bridge::default(),
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
    let told_topics = section.has("topics");
    let topics = section.list("topics", mistakes);
    for topic in &topics {
        if let Err(error) = filter(topic) {
            section.mistake("topics", &format!("{topic:?}: {error}"), mistakes);
        }
    }
    let bridge = read_bridge(section, mistakes);
    let protocol = section.choice("protocol", &PROTOCOLS, mistakes);
    let connections = read_connections(section, &topics, mistakes);
    let mut read = broker(&name?, host?, node);
    read.port = port.unwrap_or(read.port);
    read.client_id = client_id.unwrap_or(read.client_id);
    read.login = user.map(|user| (user, password.unwrap_or_else(|| Secret::new(""))));
    if !topics.is_empty() || (told_topics && !bridge.is_closed()) {
        read.topics = topics;
    }
    read.protocol = protocol.unwrap_or(if bridge.is_closed() { Protocol::V3 } else { Protocol::V5 });
    read.connections = connections.unwrap_or(read.connections);
    read.bridge = bridge;
    Some(read)
}

/// What passes between the broker's subscribers and this node's.
fn read_bridge(section: &mut Section, mistakes: &mut Vec<Mistake>) -> Bridge {
    let forward = read_filters(section, "forward", mistakes);
    let fetch = read_filters(section, "fetch", mistakes);
    let has_prefix = section.has("prefix");
    let prefix = section.checked("prefix", topic_prefix, mistakes).unwrap_or_default();
    if has_prefix && forward.is_empty() && fetch.is_empty() {
        section.mistake("prefix", "means nothing without forward or fetch", mistakes);
    }
    let has_queue = section.has("forward_queue");
    let most_waiting = section.whole("forward_queue", 1..=1_000_000, mistakes);
    if has_queue && forward.is_empty() {
        section.mistake("forward_queue", "means nothing without forward", mistakes);
    }
    let most_waiting = most_waiting.and_then(|most| usize::try_from(most).ok());
    Bridge { forward, fetch, prefix, most_waiting: most_waiting.unwrap_or(Bridge::MOST_WAITING) }
}

fn read_filters(section: &mut Section, key: &str, mistakes: &mut Vec<Mistake>) -> Vec<Filter> {
    let mut filters = Vec::new();
    for text in section.list(key, mistakes) {
        match Filter::parse(text.as_str()) {
            Ok(filter) if filter.group().is_none() => filters.push(filter),
            Ok(_) => section.mistake(key, &format!("{text:?}: what is passed on can't be shared"), mistakes),
            Err(error) => section.mistake(key, &format!("{text:?}: {error}"), mistakes),
        }
    }
    filters
}

fn topic_prefix(text: &str) -> Result<String, String> {
    publish_topic_valid(text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

/// Several connections would all hear the same, if they did not share it.
fn read_connections(section: &mut Section, topics: &[String], mistakes: &mut Vec<Mistake>) -> Option<u16> {
    let connections = section.whole("connections", 1..=64, mistakes)?;
    if connections > 1 && !topics.iter().any(|topic| topic.starts_with("$share/")) {
        let reason = "more than one need topics that they share: topics = [\"$share/GROUP/FILTER\"]";
        section.mistake("connections", reason, mistakes);
    }
    u16::try_from(connections).ok()
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

/// Nodes know their own messages by their names.
pub(super) fn check_node(brokers: &[OutsideBroker], named: bool, mistakes: &mut Vec<Mistake>) {
    if !named && brokers.iter().any(|broker| !broker.bridge.is_closed()) {
        let reason = "is needed where a broker has forward or fetch, and must be another on each node";
        mistakes.push(Mistake::new("node.id".to_owned(), reason.to_owned()));
    }
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
    use super::*;
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
        assert_eq!(broker.topics, DEFAULT_TOPICS);
    }

    #[test]
    fn a_broker_that_messages_are_passed_on_to_is_spoken_to_in_5_0_unless_told_otherwise() {
        let with = |more: &str| {
            let text = format!("[node]\nid = \"n\"\n[[mqtt.broker]]\nname = \"b\"\nhost = \"h\"\n{more}");
            Config::parse(&text).unwrap().brokers.remove(0)
        };
        let bridged = with("forward = [\"devices/#\"]\nfetch = \"a/+\"\nprefix = \"n/\"\ntopics = []\n");
        assert_eq!((bridged.protocol, bridged.topics.len()), (Protocol::V5, 0));
        let Bridge { forward, fetch, prefix, most_waiting } = bridged.bridge;
        let texts = |filters: Vec<Filter>| filters.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!((texts(forward), texts(fetch)), (vec!["devices/#".to_owned()], vec!["a/+".to_owned()]));
        assert_eq!((prefix.as_str(), most_waiting), ("n/", 10_000));
        let old = with("forward = [\"a\"]\nprotocol = \"3.1.1\"\nforward_queue = 7\n");
        assert_eq!((old.protocol, old.bridge.most_waiting, old.topics.len()), (Protocol::V3, 7, 3));
        let shared = with("topics = [\"$share/g/a\"]\nconnections = 4\n");
        assert_eq!((shared.protocol, shared.connections), (Protocol::V3, 4));
    }

    #[test]
    fn mistakes_of_bridges_are_named_by_key() {
        let unnamed = "[[mqtt.broker]]\nname = \"a\"\nhost = \"h\"\nforward = [\"a\"]\n";
        let reason =
            "node.id: is needed where a broker has forward or fetch, and must be another on each node";
        assert_eq!(mistakes(unnamed), [reason]);
        let found = mistakes(
            "[[mqtt.broker]]\nname = \"a\"\nhost = \"h\"\nforward = [\"a/#/b\", \"$share/g/a\"]\nprotocol = \"4\"\n\
             prefix = \"a/+/\"\nconnections = 2\n[[mqtt.broker]]\nname = \"b\"\nhost = \"h\"\nprefix = \"x\"\n\
             forward_queue = 0\nconnections = 65\n",
        );
        let expected = [
            "mqtt.broker[0].forward: \"a/#/b\": the wildcard '#' must fill its level, and '#' must come last",
            "mqtt.broker[0].forward: \"$share/g/a\": what is passed on can't be shared",
            "mqtt.broker[0].prefix: a message can't be published to a topic with the wildcard '+'",
            "mqtt.broker[0].prefix: means nothing without forward or fetch",
            "mqtt.broker[0].protocol: \"4\" is none of: 3.1.1, 5.0",
            "mqtt.broker[0].connections: more than one need topics that they share: topics = [\"$share/GROUP/FILTER\"]",
            "mqtt.broker[1].prefix: means nothing without forward or fetch",
            "mqtt.broker[1].forward_queue: must be a whole number between 1 and 1000000",
            "mqtt.broker[1].forward_queue: means nothing without forward",
            "mqtt.broker[1].connections: must be a whole number between 1 and 64",
        ];
        assert_eq!(found, expected);
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
