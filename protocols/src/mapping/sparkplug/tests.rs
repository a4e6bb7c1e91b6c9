use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_768_473_000_000);

/// A payload encoded by hand: field numbers and wire types as the specification's .proto gives them.
fn bytes(hex_text: &str) -> Vec<u8> {
    hex::decode(hex_text.split_whitespace().collect::<String>()).unwrap()
}

/// timestamp 1768473000000, seq 0; bdSeq (UInt64) = 7; "V" alias 1 Float 52.5 with engUnit "V"; "T" alias 2 Int8 -5.
fn node_birth() -> Vec<u8> {
    bytes(
        "08 c0 f0 d1 89 bc 33 \
         12 0b 0a 05 62 64 53 65 71 20 08 58 07 \
         12 1e 0a 01 56 10 01 20 09 4a 10 0a 07 65 6e 67 55 6e 69 74 12 05 08 0c 42 01 56 65 00 00 52 42 \
         12 0a 0a 01 54 10 02 20 01 50 fb 01 \
         18 00",
    )
}

/// seq as given; alias 1 = 53.0.
fn data(seq: u8) -> Vec<u8> {
    let mut payload = bytes("08 c1 f0 d1 89 bc 33 12 07 10 01 65 00 00 54 42 18");
    if seq >= 0x80 {
        payload.extend([seq, 1]);
    } else {
        payload.push(seq);
    }
    payload
}

/// bdSeq as given.
fn death(number: u8) -> Vec<u8> {
    [bytes("12 0b 0a 05 62 64 53 65 71 20 08 58"), vec![number]].concat()
}

fn told(sparkplug: &mut Sparkplug, topic: &str, payload: &[u8]) -> (String, bool) {
    let spoken = sparkplug.read(topic, payload, NOW).unwrap();
    (spoken.meaning.explain(NOW), spoken.request.is_some())
}

#[test]
fn births_name_aliases_and_data_use_them() {
    let mut sparkplug = Sparkplug::default();
    let (birth, asked) = told(&mut sparkplug, "spBv1.0/site/NBIRTH/gw", &node_birth());
    let expected = "  site.gw is online\n  site.gw at 2026-01-15T10:30:00Z\n    V = 52.5 V\n    T = -5\n";
    assert_eq!((birth.as_str(), asked), (expected, false));
    let (read, asked) = told(&mut sparkplug, "spBv1.0/site/NDATA/gw", &data(1));
    assert_eq!((read.as_str(), asked), ("  site.gw at 2026-01-15T10:30:00.001Z\n    V = 53 V\n", false));
}

#[test]
fn a_gap_in_the_sequence_asks_for_a_rebirth_once_and_the_sequence_wraps() {
    let mut sparkplug = Sparkplug::default();
    told(&mut sparkplug, "spBv1.0/site/NBIRTH/gw", &node_birth());
    for seq in (1..=255).chain([0, 1]) {
        assert!(!told(&mut sparkplug, "spBv1.0/site/NDATA/gw", &data(seq)).1, "{seq}");
    }
    let spoken = sparkplug.read("spBv1.0/site/NDATA/gw", &data(3), NOW).unwrap();
    let (topic, payload) = spoken.request.unwrap();
    assert_eq!(topic, "spBv1.0/site/NCMD/gw");
    let expected = "08 c0 f0 d1 89 bc 33 12 1a 0a 14 4e 6f 64 65 20 43 6f 6e 74 72 6f 6c 2f 52 65 62 69 72 74 68 20 0b 70 01";
    assert_eq!(payload, bytes(expected));
    assert!(!told(&mut sparkplug, "spBv1.0/site/NDATA/gw", &data(9)).1, "not for every message");
    let later = NOW.plus(ASK_AGAIN);
    assert!(sparkplug.read("spBv1.0/site/NDATA/gw", &data(12), later).unwrap().request.is_some());
    assert!(!told(&mut sparkplug, "spBv1.0/site/NBIRTH/gw", &node_birth()).1);
}

#[test]
fn whoever_was_never_born_says_nothing_and_is_asked() {
    let mut sparkplug = Sparkplug::default();
    let (told_of, asked) = told(&mut sparkplug, "spBv1.0/site/DDATA/gw/pack", &data(4));
    assert_eq!((told_of.as_str(), asked), ("  known, and nothing to keep\n", true));
}

#[test]
fn a_death_takes_the_devices_with_it_and_an_older_will_takes_nobody() {
    let mut sparkplug = Sparkplug::default();
    told(&mut sparkplug, "spBv1.0/site/NBIRTH/gw", &node_birth());
    let device_birth = bytes("08 c0 f0 d1 89 bc 33 12 0b 0a 03 53 6f 43 10 05 20 07 50 37 18 01");
    let (birth, asked) = told(&mut sparkplug, "spBv1.0/site/DBIRTH/gw/pack", &device_birth);
    let expected = "  site.gw.pack is online\n  site.gw.pack at 2026-01-15T10:30:00Z\n    SoC = 55\n";
    assert_eq!((birth.as_str(), asked), (expected, false));
    assert_eq!(told(&mut sparkplug, "spBv1.0/site/NDEATH/gw", &death(6)).0, "  known, and nothing to keep\n");
    let expected = "  site.gw is offline\n  site.gw.pack is offline\n";
    assert_eq!(told(&mut sparkplug, "spBv1.0/site/NDEATH/gw", &death(7)), (expected.to_owned(), false));
    let after = told(&mut sparkplug, "spBv1.0/site/NDATA/gw", &data(2));
    assert_eq!(
        after,
        ("  known, and nothing to keep\n".to_owned(), true),
        "after a death nothing is current"
    );
}

#[test]
fn what_is_no_payload_is_turned_away_by_name_of_its_sender() {
    let mut sparkplug = Sparkplug::default();
    let spoken = sparkplug.read("spBv1.0/site/NDATA/gw", &[0xFF, 0x01], NOW).unwrap();
    let turned = spoken.meaning.readings[0].clone().unwrap_err();
    assert_eq!(turned.rejection.reason, RejectReason::BadPayload);
    assert_eq!(turned.device.unwrap().as_str(), "site.gw");
    assert!(sparkplug.read("devices/a/telemetry", &[], NOW).is_none());
    assert_eq!(sparkplug.read("spBv1.0/STATE/host", b"{}", NOW), Some(Spoken::default()));
}

proptest! {
    #[test]
    fn no_payload_panics(noise in prop::collection::vec(any::<u8>(), 0..80), at in 0_usize..60, bit in 0_u32..8) {
        let mut sparkplug = Sparkplug::default();
        let mut birth = node_birth();
        if let Some(byte) = birth.get_mut(at) {
            *byte ^= 1 << bit;
        }
        for payload in [&noise, &birth] {
            for verb in ["NBIRTH", "NDATA", "NDEATH"] {
                sparkplug.read(&format!("spBv1.0/g/{verb}/e"), payload, NOW);
            }
        }
    }
}
