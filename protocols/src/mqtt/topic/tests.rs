use proptest::prelude::*;

use super::*;

fn filter(text: &str) -> Filter {
    Filter::parse(text).unwrap()
}

fn id(text: &str) -> DeviceId {
    DeviceId::new(text).unwrap()
}

#[test]
fn every_contract_topic_reads_and_prints_the_same() {
    let topics = [
        ("devices/pack-1/telemetry", DeviceTopic::Telemetry(id("pack-1"))),
        ("devices/pack-1/status", DeviceTopic::Status(id("pack-1"))),
        ("devices/pack-1/commands", DeviceTopic::Commands(id("pack-1"))),
        ("devices/pack-1/commands/ack", DeviceTopic::CommandAck(id("pack-1"))),
        ("devices/pack-1/config", DeviceTopic::Config(id("pack-1"))),
    ];
    for (text, topic) in topics {
        assert_eq!(DeviceTopic::parse(text).unwrap(), topic);
        assert_eq!(topic.to_string(), text);
        assert_eq!(topic.device().as_str(), "pack-1");
    }
}

#[test]
fn a_topic_that_only_resembles_the_contract_is_told_apart() {
    for text in [
        "devices",
        "devices/a",
        "devices/a/",
        "devices/a/telemetry/",
        "devices/a/telemetry/x",
        "Devices/a/telemetry",
        "/devices/a/telemetry",
        "devices/a/commands/ack/x",
        "devices/a/commands/nack",
        "devices/a/Status",
        "é/x",
    ] {
        assert_eq!(DeviceTopic::parse(text), Err(TopicError::NotADeviceTopic), "{text}");
    }
    for text in ["devices//telemetry", "devices/a b/telemetry", "devices/é/config"] {
        assert!(matches!(DeviceTopic::parse(text), Err(TopicError::BadDeviceId(_))), "{text}");
    }
}

#[test]
fn a_message_goes_to_a_plain_topic_only() {
    assert_eq!(publish_topic_valid("é/x"), Ok(()));
    assert_eq!(publish_topic_valid("/"), Ok(()));
    assert_eq!(publish_topic_valid(&"x".repeat(65_535)), Ok(()));
    assert_eq!(publish_topic_valid(""), Err(TopicError::Empty));
    assert_eq!(publish_topic_valid("a\0b"), Err(TopicError::Nul));
    assert_eq!(publish_topic_valid("a/+/b"), Err(TopicError::Wildcard { found: '+' }));
    assert_eq!(publish_topic_valid("a#"), Err(TopicError::Wildcard { found: '#' }));
    assert_eq!(publish_topic_valid(&"x".repeat(65_536)), Err(TopicError::TooLong { bytes: 65_536 }));
}

#[test]
fn wildcards_stand_alone_in_their_level() {
    for good in ["#", "+", "/", "a/#", "+/+", "/+", "a/+/b/#", "é/+", "$SYS/#", "a//b"] {
        assert!(Filter::parse(good).is_ok(), "{good}");
    }
    for bad in ["a#", "a/#/b", "a+", "+a/b", "##", "#/", "a/b#", "++"] {
        assert!(matches!(Filter::parse(bad), Err(TopicError::MisplacedWildcard { .. })), "{bad}");
    }
    assert_eq!(Filter::parse(""), Err(TopicError::Empty));
    assert_eq!(Filter::parse("a\0"), Err(TopicError::Nul));
}

#[test]
fn the_examples_of_the_standard_match_as_it_says() {
    for (pattern, topic, expected) in [
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/ranking", true),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true),
        ("sport/tennis/player1/#", "sport/tennis/player10", false),
        ("sport/#", "sport", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("#", "$SYS/broker/uptime", false),
        ("+/monitor/Clients", "$SYS/monitor/Clients", false),
        ("$SYS/#", "$SYS/broker/uptime", true),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
        ("ACCOUNTS", "Accounts", false),
        ("é/x", "é/x", true),
        ("+/x", "é/x", true),
    ] {
        assert_eq!(filter(pattern).matches(topic), expected, "{pattern} on {topic}");
    }
}

#[test]
fn a_shared_subscription_is_its_filter_with_a_group() {
    let shared = filter("$share/readers/devices/+/telemetry");
    assert_eq!(shared.group(), Some("readers"));
    assert_eq!(shared.plain(), filter("devices/+/telemetry"));
    assert!(shared.matches("devices/a/telemetry") && !shared.matches("$share/readers/devices/a/telemetry"));
    assert!(filter("devices/#").covers(&shared), "who may hear it alone may share it");
    assert!(!filter("other/#").covers(&shared) && !filter("#").covers(&filter("$share/g/$SYS/#")));
    assert_eq!(filter("$share/g//a").plain(), filter("/a"));
    for bad in ["$share/", "$share/g", "$share/g/", "$share//a", "$share/+/a", "$share/g#/a"] {
        assert_eq!(Filter::parse(bad), Err(TopicError::BadShare), "{bad}");
    }
    assert_eq!(filter("$share").group(), None);
}

#[test]
fn a_permission_covers_what_lies_within_it() {
    for (outer, inner, expected) in [
        ("devices/a/#", "devices/a/commands", true),
        ("devices/a/#", "devices/a/#", true),
        ("devices/a/#", "devices/a", true),
        ("devices/a/#", "devices/a/+/x", true),
        ("devices/a/#", "devices/b/commands", false),
        ("devices/a/#", "devices/+/commands", false),
        ("devices/a/#", "#", false),
        ("devices/+/commands", "devices/a/commands", true),
        ("devices/+/commands", "devices/+/commands", true),
        ("devices/+", "devices/#", false),
        ("devices/a/commands", "devices/a/commands/ack", false),
        ("#", "$SYS/x", false),
        ("#", "+/x", true),
    ] {
        assert_eq!(filter(outer).covers(&filter(inner)), expected, "{outer} over {inner}");
    }
}

/// The rule of the standard put as a recursion over whole levels: slow, and plain to check by reading.
fn reference(filter: &[&str], topic: &[&str], at_start: bool) -> bool {
    let hidden = at_start && topic.first().is_some_and(|t| t.starts_with('$'));
    match (filter, topic) {
        ([], []) => true,
        (["#"], _) => !hidden,
        (["+", filter_rest @ ..], [_, topic_rest @ ..]) => {
            !hidden && reference(filter_rest, topic_rest, false)
        }
        ([f, filter_rest @ ..], [t, topic_rest @ ..]) => f == t && reference(filter_rest, topic_rest, false),
        _ => false,
    }
}

fn some_level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", "a", "b", "é", "$SYS", "ab"])
}

fn some_topic() -> impl Strategy<Value = String> {
    prop::collection::vec(some_level(), 1..5)
        .prop_map(|l| l.join("/"))
        .prop_filter("empty", |t| !t.is_empty())
}

fn some_filter() -> impl Strategy<Value = Filter> {
    let level = prop_oneof![2 => some_level(), 1 => Just("+")];
    (prop::collection::vec(level, 1..5), any::<bool>()).prop_filter_map("empty", |(mut levels, open)| {
        if open {
            levels.push("#");
        }
        Filter::parse(levels.join("/")).ok()
    })
}

proptest! {
    #[test]
    fn matching_agrees_with_the_reference(filter in some_filter(), topic in some_topic()) {
        let filter_levels: Vec<_> = filter.as_str().split('/').collect();
        let topic_levels: Vec<_> = topic.split('/').collect();
        prop_assert_eq!(filter.matches(&topic), reference(&filter_levels, &topic_levels, true));
    }

    #[test]
    fn a_filter_made_from_a_topic_matches_it(
        levels in prop::collection::vec("[a-zé]{0,3}", 2..6),
        plus in prop::collection::vec(any::<bool>(), 6),
        cut in prop::option::of(1_usize..6),
    ) {
        let topic = levels.join("/");
        let mut pattern: Vec<&str> =
            levels.iter().zip(plus).map(|(level, plus)| if plus { "+" } else { level.as_str() }).collect();
        if let Some(cut) = cut {
            pattern.truncate(cut);
            pattern.push("#");
        }
        prop_assert!(filter(&pattern.join("/")).matches(&topic));
    }

    #[test]
    fn what_a_covered_filter_matches_the_covering_one_matches(
        outer in some_filter(), inner in some_filter(), topic in some_topic(),
    ) {
        if outer.covers(&inner) && inner.matches(&topic) {
            prop_assert!(outer.matches(&topic));
        }
    }

    #[test]
    fn any_text_is_parsed_and_matched_without_a_panic(a in any::<String>(), b in any::<String>()) {
        let topic = DeviceTopic::parse(&a);
        prop_assert!(topic.is_err() || topic.unwrap().to_string() == a);
        if let Ok(filter) = Filter::parse(a.clone()) {
            // A text without wildcards is a filter for itself alone.
            prop_assert!(a.contains(['+', '#']) || filter.matches(&a));
            prop_assert!(filter.matches(&b) || a != b || a.contains(['+', '#']));
        }
        prop_assert_eq!(publish_topic_valid(&b).is_ok(), !b.is_empty() && !b.contains(['+', '#', '\0']));
    }
}

#[test]
fn a_shared_subscription_matches_and_is_judged_by_the_filter_behind_its_group() {
    let shared = Filter::parse("$share/workers/devices/+/telemetry").unwrap();
    assert_eq!(shared.group(), Some("workers"));
    assert!(shared.matches("devices/pack-1/telemetry"));
    assert!(!shared.matches("$share/workers/devices/pack-1/telemetry"));
    assert!(Filter::parse("devices/#").unwrap().covers(&shared));
    assert!(!Filter::parse("devices/pack-1/#").unwrap().covers(&shared));
    let all = Filter::parse("$share/workers/#").unwrap();
    assert!(!all.matches("$SYS/uptime"), "a wildcard hides the broker's own topics here too");
    assert_eq!(Filter::parse("devices/#").unwrap().group(), None);
    for bad in ["$share/", "$share/workers", "$share/workers/", "$share//a", "$share/+/a", "$share/a#/b"] {
        assert_eq!(Filter::parse(bad), Err(TopicError::BadShare), "{bad}");
    }
}
