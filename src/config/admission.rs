//! Who may become a device by publishing: the section `[devices]`.

use voltree_actors::access::Access;
use voltree_actors::registry::{AdmissionRules, IdPattern, Unknown};

use super::reader::{Mistake, Section};

/// Whoever is unknown waits for an operator: a node that takes in every name that somebody publishes under would let any
/// client fill its disk.
pub(super) fn default() -> AdmissionRules {
    AdmissionRules { unknown: Unknown::Quarantine, ..AdmissionRules::default() }
}

/// Reads the section.
pub(super) fn read(section: &mut Section, rules: &mut AdmissionRules, mistakes: &mut Vec<Mistake>) {
    let choices = [("quarantine", Unknown::Quarantine), ("adopt", Unknown::Adopt), ("deny", Unknown::Deny)];
    rules.unknown = section.choice("unknown", &choices, mistakes).unwrap_or(rules.unknown);
    rules.adopt = patterns(section, "adopt", mistakes);
    rules.deny = patterns(section, "deny", mistakes);
}

fn patterns(section: &mut Section, key: &str, mistakes: &mut Vec<Mistake>) -> Vec<IdPattern> {
    let mut patterns = Vec::new();
    for text in section.list(key, mistakes) {
        match IdPattern::parse(&text) {
            Ok(pattern) => patterns.push(pattern),
            Err(why) => section.mistake(key, &format!("{text:?}: {why}"), mistakes),
        }
    }
    patterns
}

/// A device that has a user of its own needs nobody to adopt it.
pub(super) fn know(rules: &mut AdmissionRules, access: &Access) {
    rules.adopt.extend(access.devices().map(|id| IdPattern::exactly(&id)));
}

#[cfg(test)]
mod tests {
    use voltree_actors::registry::Unknown;

    use crate::config::{Config, ConfigError};

    #[test]
    fn the_unknown_wait_unless_it_is_said_otherwise() {
        let unknown = |text: &str| Config::parse(text).unwrap().admission.unknown;
        assert_eq!(unknown(""), Unknown::Quarantine);
        assert_eq!(unknown("[devices]\nunknown = \"adopt\""), Unknown::Adopt);
        let rules = Config::parse("[devices]\nadopt = [\"pack-*\"]\ndeny = [\"x\"]").unwrap().admission;
        assert_eq!((rules.adopt.len(), rules.deny.len()), (1, 1));
    }

    #[test]
    fn mistakes_are_named_by_key() {
        let text = "[devices]\nunknown = \"maybe\"\nadopt = [\"a/b\"]\ntypo = 1\n";
        let Err(ConfigError::Mistakes(found)) = Config::parse(text) else { panic!("no mistakes") };
        let found: Vec<_> = found.iter().map(ToString::to_string).collect();
        let expected = [
            "devices.unknown: \"maybe\" is none of: quarantine, adopt, deny",
            "devices.adopt: \"a/b\": a pattern of device ids may not contain '/'",
            "devices.typo: unknown key",
        ];
        assert_eq!(found, expected);
    }
}
