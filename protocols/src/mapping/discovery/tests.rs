use std::fmt::Write as _;

use proptest::prelude::*;
use voltree_model::Timestamp;

use super::*;
use crate::mapping::captured;

const NOW: Timestamp = Timestamp::from_millis(1_768_473_000_000);

/// What a recording becomes, announcements and all.
fn told(text: &str) -> String {
    let mut discovery = Discovery::new("homeassistant");
    let mut told = String::new();
    for message in captured(text) {
        writeln!(told, "{}", message.topic).unwrap();
        if discovery.is_announcement(message.topic) {
            match discovery.announce(message.topic, message.payload.as_bytes()) {
                Ok(Announced { added, removed, unread }) => {
                    added.iter().for_each(|(id, name)| writeln!(told, "  new: {id} ({name})").unwrap());
                    removed.iter().for_each(|id| writeln!(told, "  gone: {id}").unwrap());
                    unread
                        .iter()
                        .for_each(|(key, why)| writeln!(told, "  {key} can't be read: {why}").unwrap());
                }
                Err(error) => writeln!(told, "  {error}").unwrap(),
            }
            continue;
        }
        match discovery.read(message.topic, message.payload.as_bytes()) {
            None => writeln!(told, "  nobody announced it").unwrap(),
            Some(meaning) => told.push_str(&meaning.explain(NOW)),
        }
    }
    writeln!(told, "{} entities, topics:", discovery.count()).unwrap();
    discovery.topics().for_each(|topic| writeln!(told, "  {topic}").unwrap());
    told
}

#[test]
fn recorded_announcements_and_states_are_read_as_before() {
    let file = format!("{}/tests/mappings/discovery.txt", env!("CARGO_MANIFEST_DIR"));
    insta::assert_snapshot!(told(&std::fs::read_to_string(file).unwrap()));
}

#[test]
fn two_entities_of_one_name_are_two_metrics_and_an_announcement_again_changes_nothing() {
    let text = "homeassistant/sensor/n/state/config\t{\"stat_t\":\"n/a\",\"dev\":{\"ids\":\"n\"}}\n\
                homeassistant/switch/n/state/config\t{\"stat_t\":\"n/b\",\"dev\":{\"ids\":\"n\"}}\n\
                homeassistant/sensor/n/state/config\t{\"stat_t\":\"n/a\",\"dev\":{\"ids\":\"n\"}}\n\
                n/a\t1\nn/b\tON\n";
    insta::assert_snapshot!(told(text));
}

#[test]
fn nobody_can_announce_without_end() {
    let mut discovery = Discovery::new("h");
    for n in 0..MOST_ENTITIES {
        let payload = format!("{{\"stat_t\":\"s/{n}\"}}");
        discovery.announce(&format!("h/sensor/{n}/config"), payload.as_bytes()).unwrap();
    }
    let more = discovery.announce("h/sensor/more/config", b"{\"stat_t\":\"s/x\"}");
    assert_eq!(more, Err(AnnouncementError::TooMany));
    assert_eq!(discovery.count(), MOST_ENTITIES);
}

proptest! {
    #[test]
    fn no_announcement_panics(payload in ".{0,80}", key in "(stat_t|dev|cmps|avty|~|o|val_tpl|ids)", value in "(\"a\"|1|null|\\[\\]|\\{\\}|\\[\\[1\\]\\])") {
        let mut discovery = Discovery::new("homeassistant");
        discovery.announce("homeassistant/device/a/config", payload.as_bytes()).ok();
        let odd = format!("{{\"stat_t\":\"x\",\"~\":\"b\",\"{key}\":{value}}}");
        discovery.announce("homeassistant/sensor/a/config", odd.as_bytes()).ok();
        discovery.read("x", payload.as_bytes());
    }
}
