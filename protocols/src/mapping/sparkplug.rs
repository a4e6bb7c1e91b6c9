//! Sparkplug B: edge nodes and their devices, told apart by birth and death, their values by alias.
//!
//! A value by alias means something only after a birth, so a host that missed one asks for it again: when a number of the
//! sequence is missing, and when somebody speaks who was never born. It asks an edge node once in a while and not for every
//! message. After a death nothing of the node is current.

mod payload;

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;
use voltree_model::{DeviceId, RejectReason, Timestamp};

use self::payload::{BOOLEAN, INT8, INT16, INT32, INT64, Kind, Metric, Payload};
use super::draft::{Draft, Meaning, Turned, Value, device_id};

/// How long to wait for a birth before it is asked for again.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// How many edge nodes, and how many metrics of each, are known at once.
const MOST_NODES: usize = 2_000;
const MOST_METRICS: usize = 10_000;
const NAMESPACE: &str = "spBv1.0";
const REBIRTH: &str = "Node Control/Rebirth";

/// Every edge node that was heard.
#[derive(Debug, Default)]
pub struct Sparkplug {
    nodes: BTreeMap<(String, String), Node>,
}

/// What a message means, and what must be published because of it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Spoken {
    /// What it means.
    pub meaning: Meaning,
    /// A topic and a payload, at QoS 0 and never retained.
    pub request: Option<(String, Vec<u8>)>,
}

#[derive(Debug, Default)]
struct Node {
    born: bool,
    seq: Option<u64>,
    birth_number: Option<u64>,
    asked_at: Option<Timestamp>,
    aliases: BTreeMap<u64, Known>,
    /// By device, empty for the node itself, and name.
    named: BTreeMap<(String, String), Known>,
    devices: BTreeMap<String, bool>,
}

/// What a birth said of a metric.
#[derive(Debug, Clone, PartialEq)]
struct Known {
    name: String,
    datatype: u32,
    unit: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Birth,
    Data,
    Death,
}

/// Who speaks: an edge node, or a device behind it.
struct Speaker<'a> {
    group: &'a str,
    edge: &'a str,
    device: Option<&'a str>,
}

impl Sparkplug {
    /// The filter that hears all of it.
    pub const FILTER: &'static str = "spBv1.0/#";

    /// Reads a message; nothing if the topic is none of Sparkplug's.
    pub fn read(&mut self, topic: &str, payload: &[u8], now: Timestamp) -> Option<Spoken> {
        let levels: Vec<&str> = topic.split('/').collect();
        let (verb, speaker) = match levels.as_slice() {
            [NAMESPACE, group, verb, edge] => (*verb, Speaker { group, edge, device: None }),
            [NAMESPACE, group, verb, edge, device] => (*verb, Speaker { group, edge, device: Some(device) }),
            [NAMESPACE, ..] => return Some(Spoken::default()),
            _ => return None,
        };
        let verb = match (verb, speaker.device) {
            ("NBIRTH", None) | ("DBIRTH", Some(_)) => Verb::Birth,
            ("NDATA", None) | ("DDATA", Some(_)) => Verb::Data,
            ("NDEATH", None) | ("DDEATH", Some(_)) => Verb::Death,
            // Commands and the states of hosts are not for us.
            _ => return Some(Spoken::default()),
        };
        Some(self.spoken(verb, &speaker, payload, now))
    }

    fn spoken(&mut self, verb: Verb, speaker: &Speaker<'_>, bytes: &[u8], now: Timestamp) -> Spoken {
        let turned = |detail: &str| {
            let turned = Turned::new(speaker.id().map(|(id, _)| id), RejectReason::BadPayload, detail);
            Spoken { meaning: Meaning { readings: vec![Err(turned)], ..Meaning::default() }, request: None }
        };
        let payload = match Payload::decode(bytes) {
            Ok(payload) => payload,
            Err(error) => return turned(&format!("no Sparkplug payload: {error}")),
        };
        let Some((device, name)) = speaker.id() else { return turned("its names make no device id") };
        let key = (speaker.group.to_owned(), speaker.edge.to_owned());
        if !self.nodes.contains_key(&key) && self.nodes.len() >= MOST_NODES {
            return turned("too many edge nodes");
        }
        let node = self.nodes.entry(key).or_default();
        let mut whole = verb == Verb::Death && speaker.device.is_none();
        whole |= node.in_sequence(verb, speaker, &payload);
        let mut meaning = Meaning::default();
        match verb {
            Verb::Birth => {
                whole &= node.birth(speaker, &payload);
                meaning.presence.push((device.clone(), true));
            }
            Verb::Death => meaning.presence = node.death(speaker, &payload, &device),
            Verb::Data => whole &= node.knows(speaker),
        }
        if verb != Verb::Death {
            let (readings, understood) = node.values(speaker, &payload, &device, &name);
            meaning.readings = readings.into_iter().map(Ok).collect();
            whole &= understood;
        }
        let request = if whole { None } else { node.ask(speaker, now) };
        Spoken { meaning, request }
    }
}

impl Node {
    /// Whether a message follows the last one. A birth of the node begins anew.
    fn in_sequence(&mut self, verb: Verb, speaker: &Speaker<'_>, payload: &Payload) -> bool {
        let Some(seq) = payload.seq else { return verb == Verb::Death };
        let expected = self.seq.map(|last| (last + 1) % 256);
        self.seq = Some(seq);
        (verb == Verb::Birth && speaker.device.is_none()) || expected == Some(seq)
    }

    /// Learns what aliases mean; false if a device was born whose node was not.
    fn birth(&mut self, speaker: &Speaker<'_>, payload: &Payload) -> bool {
        let device = speaker.device.unwrap_or_default().to_owned();
        if speaker.device.is_none() {
            let seq = self.seq;
            *self = Self { born: true, seq, ..Self::default() };
            self.birth_number = birth_number(payload);
        } else {
            self.devices.insert(device.clone(), true);
        }
        for metric in &payload.metrics {
            let Some(name) = metric.name.clone() else { continue };
            let unit = metric.properties.as_ref().and_then(payload::PropertySet::unit).map(str::to_owned);
            let known = Known { name: name.clone(), datatype: metric.datatype.unwrap_or_default(), unit };
            if self.named.len() >= MOST_METRICS {
                break;
            }
            if let Some(alias) = metric.alias {
                self.aliases.insert(alias, known.clone());
            }
            self.named.insert((device.clone(), name), known);
        }
        self.born
    }

    /// Who is gone. The will of a connection that was followed by another says nothing of the living one.
    fn death(
        &mut self,
        speaker: &Speaker<'_>,
        payload: &Payload,
        device: &DeviceId,
    ) -> Vec<(DeviceId, bool)> {
        if let Some(name) = speaker.device {
            self.devices.insert(name.to_owned(), false);
            return vec![(device.clone(), false)];
        }
        if self.born && birth_number(payload).is_some() && birth_number(payload) != self.birth_number {
            return Vec::new();
        }
        self.born = false;
        let devices = std::mem::take(&mut self.devices);
        let behind = devices.keys().filter_map(|device| speaker.behind(device).id());
        std::iter::once(device.clone()).chain(behind.map(|(id, _)| id)).map(|id| (id, false)).collect()
    }

    fn knows(&self, speaker: &Speaker<'_>) -> bool {
        let device = speaker.device.map(|device| self.devices.get(device).copied().unwrap_or(false));
        self.born && device.unwrap_or(true)
    }

    /// The values by time, and whether all of them could be told apart. Whoever is not born says nothing.
    fn values(
        &self,
        speaker: &Speaker<'_>,
        payload: &Payload,
        device: &DeviceId,
        name: &str,
    ) -> (Vec<Draft>, bool) {
        let mut drafts: BTreeMap<Option<Timestamp>, Draft> = BTreeMap::new();
        let mut understood = true;
        if !self.knows(speaker) {
            return (Vec::new(), false);
        }
        for metric in &payload.metrics {
            let Some(known) = self.known(speaker, metric) else {
                understood = false;
                continue;
            };
            if known.name == "bdSeq"
                || known.name.starts_with("Node Control/")
                || metric.is_null == Some(true)
            {
                continue;
            }
            let at = metric.timestamp.or(payload.timestamp).and_then(millis);
            let draft = drafts.entry(at).or_insert_with(|| Draft::new(device.clone(), name.to_owned(), at));
            let datatype = metric.datatype.unwrap_or(known.datatype);
            draft.put(&known.name, known.unit.as_deref(), value(metric.value.as_ref(), datatype));
        }
        (drafts.into_values().filter(|draft| !draft.is_empty()).collect(), understood)
    }

    fn known(&self, speaker: &Speaker<'_>, metric: &Metric) -> Option<&Known> {
        let device = speaker.device.unwrap_or_default();
        match &metric.name {
            Some(name) => self.named.get(&(device.to_owned(), name.clone())),
            None => self.aliases.get(&metric.alias?),
        }
    }

    fn ask(&mut self, speaker: &Speaker<'_>, now: Timestamp) -> Option<(String, Vec<u8>)> {
        if self.asked_at.is_some_and(|at| now.since(at) < ASK_AGAIN) {
            return None;
        }
        self.asked_at = Some(now);
        let rebirth = Metric {
            name: Some(REBIRTH.to_owned()),
            datatype: Some(BOOLEAN),
            value: Some(Kind::Boolean(true)),
            ..Metric::default()
        };
        let timestamp = u64::try_from(now.as_millis()).ok();
        let payload = Payload { timestamp, metrics: vec![rebirth], seq: None };
        Some((format!("{NAMESPACE}/{}/NCMD/{}", speaker.group, speaker.edge), payload.encode_to_vec()))
    }
}

impl<'a> Speaker<'a> {
    fn behind(&'a self, device: &'a str) -> Self {
        Self { device: Some(device), ..*self }
    }

    /// Its id here, and its name. Parts that hold a dot themselves are kept apart by a checksum.
    fn id(&self) -> Option<(DeviceId, String)> {
        let parts: Vec<&str> = [self.group, self.edge].into_iter().chain(self.device).collect();
        let divider = if parts.iter().any(|part| part.contains('.')) { "/" } else { "." };
        let name = self.device.unwrap_or(self.edge).to_owned();
        Some((device_id(&parts.join(divider)).ok()?, name))
    }
}

fn birth_number(payload: &Payload) -> Option<u64> {
    let metric = payload.metrics.iter().find(|metric| metric.name.as_deref() == Some("bdSeq"))?;
    match metric.value.as_ref()? {
        Kind::Int(number) => Some(u64::from(*number)),
        Kind::Long(number) => Some(*number),
        Kind::Float(_) | Kind::Double(_) | Kind::Boolean(_) | Kind::Text(_) | Kind::Bytes(_) => None,
    }
}

fn millis(timestamp: u64) -> Option<Timestamp> {
    i64::try_from(timestamp).ok().filter(|millis| *millis > 0).map(Timestamp::from_millis)
}

/// Signed integers travel as unsigned ones.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the declared type says how many bits count, and series are floats"
)]
fn value(value: Option<&Kind>, datatype: u32) -> Result<Value, RejectReason> {
    Ok(match value.ok_or(RejectReason::BadValue)? {
        Kind::Int(bits) => Value::Number(match datatype {
            INT8 => f64::from((*bits as u8).cast_signed()),
            INT16 => f64::from((*bits as u16).cast_signed()),
            INT32 => f64::from(bits.cast_signed()),
            _ => f64::from(*bits),
        }),
        Kind::Long(bits) if datatype == INT64 => Value::Number(bits.cast_signed() as f64),
        Kind::Long(bits) => Value::Number(*bits as f64),
        Kind::Float(number) => Value::Number(f64::from(*number)),
        Kind::Double(number) => Value::Number(*number),
        Kind::Boolean(flag) => Value::Number(f64::from(u8::from(*flag))),
        Kind::Text(text) => Value::Text(text.clone()),
        Kind::Bytes(_) => return Err(RejectReason::BadValue),
    })
}

#[cfg(test)]
mod tests;
