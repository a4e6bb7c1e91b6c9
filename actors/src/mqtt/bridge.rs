//! What passes between this node's broker and an outside one, and how a message that comes back is known. Pure.
//!
//! A message never goes back to the broker that it came from. Besides that each node leaves its name on what it forwards
//! over MQTT 5.0, so that a message which comes round over any number of brokers is known by its first node. Over 3.1.1,
//! which has no room for names, a node only knows the messages that it sent last.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use voltree_protocols::mqtt::{Filter, PublishProperties};

/// The user property in which each node that passes a message on leaves its name.
const VIA: &str = "voltree-via";
/// How many messages that may come back over 3.1.1 are remembered.
const MOST_ECHOES: usize = 20_000;
/// And for how long.
const ECHO_PATIENCE: Duration = Duration::from_secs(60);

/// Which messages pass, in which direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    /// What of this node's own broker goes there.
    pub forward: Vec<Filter>,
    /// What is brought from there to this node's own subscribers.
    pub fetch: Vec<Filter>,
    /// What these topics begin with there, and not here.
    pub prefix: String,
    /// How many messages may wait for the broker.
    pub most_waiting: usize,
}

impl Bridge {
    /// How many messages wait at most, unless it is said.
    pub const MOST_WAITING: usize = 10_000;

    /// Whether nothing passes.
    pub fn is_closed(&self) -> bool {
        self.forward.is_empty() && self.fetch.is_empty()
    }

    pub(super) fn forwards(&self, topic: &str) -> bool {
        self.forward.iter().any(|filter| filter.matches(topic))
    }

    pub(super) fn fetches(&self, topic: &str) -> bool {
        self.fetch.iter().any(|filter| filter.matches(topic))
    }

    /// What a topic of ours is called there.
    pub(super) fn there(&self, topic: &str) -> String {
        format!("{}{topic}", self.prefix)
    }

    /// What a topic of theirs is called here, if it is brought here.
    pub(super) fn here<'a>(&self, topic: &'a str) -> Option<&'a str> {
        topic.strip_prefix(&self.prefix).filter(|topic| self.fetches(topic))
    }
}

impl Default for Bridge {
    fn default() -> Self {
        let (forward, fetch, prefix) = (Vec::new(), Vec::new(), String::new());
        Self { forward, fetch, prefix, most_waiting: Self::MOST_WAITING }
    }
}

/// Whom a message is from that an outside broker brought. No client can have such an id, as none may have a NUL.
pub(super) fn publisher(broker: &str) -> String {
    format!("\0{broker}")
}

pub(super) fn is_outside(publisher: &str) -> bool {
    house(publisher).is_some()
}

/// The outside broker that a message is from.
pub(super) fn house(publisher: &str) -> Option<&str> {
    publisher.strip_prefix('\0')
}

/// What is said of a message that this node passes on.
pub(super) fn passed_on(said: PublishProperties, node: &str) -> PublishProperties {
    let mut said = said;
    said.user_properties.push((VIA.to_owned(), node.to_owned()));
    said
}

/// Whether this node passed a message on already.
pub(super) fn came_by(said: &PublishProperties, node: &str) -> bool {
    said.user_properties.iter().any(|(name, value)| name == VIA && value == node)
}

/// The messages that were sent last and may come back.
#[derive(Debug, Default)]
pub(super) struct Echoes {
    sent: VecDeque<(u64, Instant)>,
}

impl Echoes {
    pub(super) fn sent(&mut self, topic: &str, payload: &[u8], now: Instant) {
        self.forget(now);
        if self.sent.len() >= MOST_ECHOES {
            self.sent.pop_front();
        }
        self.sent.push_back((mark(topic, payload), now));
    }

    /// Whether this is one of them. Each comes back once; another one just like it is somebody else's.
    pub(super) fn came_back(&mut self, topic: &str, payload: &[u8], now: Instant) -> bool {
        self.forget(now);
        let wanted = mark(topic, payload);
        let index = self.sent.iter().position(|(mark, _)| *mark == wanted);
        index.and_then(|index| self.sent.remove(index)).is_some()
    }

    fn forget(&mut self, now: Instant) {
        while self.sent.front().is_some_and(|(_, at)| now.saturating_duration_since(*at) > ECHO_PATIENCE) {
            self.sent.pop_front();
        }
    }
}

fn mark(topic: &str, payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (topic, payload).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use voltree_runtime::clock;

    use super::*;

    fn filters(texts: &[&str]) -> Vec<Filter> {
        texts.iter().map(|text| Filter::parse(*text).unwrap()).collect()
    }

    #[test]
    fn topics_have_their_prefix_there_and_not_here() {
        let bridge = Bridge {
            forward: filters(&["devices/+/telemetry"]),
            fetch: filters(&["devices/+/commands"]),
            prefix: "sites/north/".to_owned(),
            ..Bridge::default()
        };
        assert!(bridge.forwards("devices/a/telemetry") && !bridge.forwards("devices/a/commands"));
        assert_eq!(bridge.there("devices/a/telemetry"), "sites/north/devices/a/telemetry");
        assert_eq!(bridge.here("sites/north/devices/a/commands"), Some("devices/a/commands"));
        assert_eq!(bridge.here("sites/south/devices/a/commands"), None);
        assert_eq!(bridge.here("sites/north/devices/a/telemetry"), None, "only what is to be brought");
        assert_eq!(bridge.here("devices/a/commands"), None);
    }

    #[test]
    fn a_message_comes_back_once_and_in_time() {
        let (mut echoes, now) = (Echoes::default(), clock::monotonic().into_std());
        echoes.sent("a", b"on", now);
        assert!(!echoes.came_back("a", b"off", now) && !echoes.came_back("b", b"on", now));
        assert!(echoes.came_back("a", b"on", now));
        assert!(!echoes.came_back("a", b"on", now), "somebody else said the same");
        echoes.sent("a", b"on", now);
        assert!(!echoes.came_back("a", b"on", now + ECHO_PATIENCE * 2));
    }

    #[test]
    fn a_message_is_known_by_every_node_that_it_came_by() {
        let said = passed_on(passed_on(PublishProperties::default(), "a"), "b");
        assert!(came_by(&said, "a") && came_by(&said, "b") && !came_by(&said, "c"));
    }

    #[test]
    fn no_more_is_remembered_than_may_be() {
        let (mut echoes, now) = (Echoes::default(), clock::monotonic().into_std());
        for number in 0..=MOST_ECHOES {
            echoes.sent("a", &number.to_be_bytes(), now);
        }
        assert!(!echoes.came_back("a", &0_usize.to_be_bytes(), now));
        assert!(echoes.came_back("a", &MOST_ECHOES.to_be_bytes(), now));
    }
}
