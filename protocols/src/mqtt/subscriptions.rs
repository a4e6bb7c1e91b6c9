//! Who subscribed to what, as a tree of topic levels: finding whom a message is for costs its levels, not its subscribers.
//!
//! A subscription to `$share/NAME/FILTER` makes its client one of a group, of which each message goes to one (MQTT 5.0, 4.8.2;
//! older clients of other brokers know it too). Which one is not decided here.

use std::collections::HashMap;

use rumqttc::QoS;

use super::topic::Filter;

/// All subscriptions of a broker.
#[derive(Debug, Default)]
pub struct Subscriptions {
    root: Level,
}

#[derive(Debug, Default)]
struct Level {
    below: HashMap<Box<str>, Level>,
    own: Vec<Subscriber>,
    groups: Vec<Group>,
}

/// When a subscription is owed the messages that are retained (MQTT 5.0, 3.8.3.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RetainHandling {
    /// Each time it is made, as in 3.1.1.
    #[default]
    Always,
    /// When its client did not have it yet.
    IfNew,
    /// Never.
    Never,
}

/// What a client was granted with a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// The highest QoS it wants.
    pub qos: QoS,
    /// What the client publishes itself is not for it.
    pub no_local: bool,
    /// Messages keep the retain flag that they were published with.
    pub retain_as_published: bool,
    /// What messages that come this way are marked with.
    pub id: Option<u32>,
}

impl From<QoS> for Granted {
    fn from(qos: QoS) -> Self {
        Self { qos, no_local: false, retain_as_published: false, id: None }
    }
}

/// A client with what it was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscriber {
    /// Which client.
    pub client_id: Box<str>,
    /// What it was granted.
    pub granted: Granted,
}

/// A client that a message is for, with what all its filters that match say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient<'a> {
    /// Which client.
    pub client_id: &'a str,
    /// The highest QoS that any of its filters was granted.
    pub qos: QoS,
    /// Whether one of them wants the retain flag kept.
    pub retain_as_published: bool,
    /// The marks of all of them.
    pub ids: Vec<u32>,
}

#[derive(Debug)]
struct Group {
    name: Box<str>,
    members: Vec<Subscriber>,
}

/// Whom a message is for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Recipients<'a> {
    /// Clients that each get it once.
    pub own: Vec<Recipient<'a>>,
    /// Groups of which one client each gets it.
    pub groups: Vec<&'a [Subscriber]>,
}

impl Subscriptions {
    /// Adds a subscription; a known one of the same client and filter is replaced.
    pub fn insert(&mut self, client_id: &str, filter: &Filter, granted: impl Into<Granted>) {
        let granted = granted.into();
        let level =
            filter.levels().fold(&mut self.root, |level, name| level.below.entry(name.into()).or_default());
        let subscribers = match filter.group() {
            None => &mut level.own,
            Some(name) => level.group(name),
        };
        match subscribers.iter_mut().find(|subscriber| &*subscriber.client_id == client_id) {
            Some(known) => known.granted = granted,
            None => subscribers.push(Subscriber { client_id: client_id.into(), granted }),
        }
    }

    /// Removes a subscription, if there is one.
    pub fn remove(&mut self, client_id: &str, filter: &Filter) {
        self.root.remove(client_id, filter.group(), &mut filter.levels());
    }

    /// Whom a message that `publisher`, if it is a client, published to `topic` is for.
    pub fn matching(&self, topic: &str, publisher: Option<&str>) -> Recipients<'_> {
        let mut found = Found::default();
        // Topics that begin with `$` belong to the broker and are not for filters that begin with a wildcard.
        self.root.find(Some(topic), !topic.starts_with('$'), &mut found);
        found.own.retain(|subscriber| {
            !subscriber.granted.no_local || publisher.is_none_or(|id| id != &*subscriber.client_id)
        });
        found.own.sort_unstable_by_key(|subscriber| &*subscriber.client_id);
        let mut own: Vec<Recipient<'_>> = Vec::with_capacity(found.own.len());
        for Subscriber { client_id, granted } in found.own {
            match own.last_mut().filter(|last| last.client_id == &**client_id) {
                Some(last) => last.add(granted),
                None => own.push(Recipient::of(client_id, granted)),
            }
        }
        Recipients { own, groups: found.groups }
    }
}

impl<'a> Recipient<'a> {
    fn of(client_id: &'a str, granted: &Granted) -> Self {
        let Granted { qos, retain_as_published, id, .. } = *granted;
        Self { client_id, qos, retain_as_published, ids: id.into_iter().collect() }
    }

    fn add(&mut self, granted: &Granted) {
        if granted.qos as u8 > self.qos as u8 {
            self.qos = granted.qos;
        }
        self.retain_as_published |= granted.retain_as_published;
        self.ids.extend(granted.id.filter(|id| !self.ids.contains(id)));
    }
}

/// The subscriptions along a topic.
#[derive(Default)]
struct Found<'a> {
    own: Vec<&'a Subscriber>,
    groups: Vec<&'a [Subscriber]>,
}

impl Level {
    fn group(&mut self, name: &str) -> &mut Vec<Subscriber> {
        let known = self.groups.iter().position(|group| &*group.name == name);
        let index = known.unwrap_or_else(|| {
            self.groups.push(Group { name: name.into(), members: Vec::new() });
            self.groups.len() - 1
        });
        &mut self.groups[index].members
    }

    fn remove<'a>(
        &mut self,
        client_id: &str,
        group: Option<&str>,
        levels: &mut impl Iterator<Item = &'a str>,
    ) {
        if let Some(name) = levels.next() {
            if let Some(below) = self.below.get_mut(name) {
                below.remove(client_id, group, levels);
                if below.is_empty() {
                    self.below.remove(name);
                }
            }
            return;
        }
        let others = |subscriber: &Subscriber| &*subscriber.client_id != client_id;
        match group {
            None => self.own.retain(others),
            Some(name) => self.group(name).retain(others),
        }
        self.groups.retain(|group| !group.members.is_empty());
    }

    fn is_empty(&self) -> bool {
        self.below.is_empty() && self.own.is_empty() && self.groups.is_empty()
    }

    /// `topic` is what is left of it below this level.
    fn find<'a>(&'a self, topic: Option<&str>, wildcards: bool, found: &mut Found<'a>) {
        // `sport/#` speaks of `sport` too, so `#` matches even where the topic has ended.
        if let Some(rest) = self.below.get("#").filter(|_| wildcards) {
            rest.take(found);
        }
        let Some(topic) = topic else { return self.take(found) };
        let (name, rest) = topic.split_once('/').map_or((topic, None), |(name, rest)| (name, Some(rest)));
        if let Some(below) = self.below.get(name) {
            below.find(rest, true, found);
        }
        if let Some(below) = self.below.get("+").filter(|_| wildcards) {
            below.find(rest, true, found);
        }
    }

    fn take<'a>(&'a self, found: &mut Found<'a>) {
        found.own.extend(&self.own);
        found.groups.extend(self.groups.iter().map(|group| group.members.as_slice()));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const NAMES: [&str; 5] = ["", "a", "b", "é", "$SYS"];

    fn topic() -> impl Strategy<Value = String> {
        let levels = proptest::collection::vec(proptest::sample::select(&NAMES[..]), 1..4);
        levels
            .prop_map(|levels| levels.join("/"))
            .prop_filter("a topic has a character", |topic| !topic.is_empty())
    }

    fn filter() -> impl Strategy<Value = Filter> {
        let level = proptest::sample::select(&["", "a", "b", "é", "$SYS", "+"][..]);
        let plain = (proptest::collection::vec(level, 0..4), any::<bool>()).prop_filter_map(
            "a filter",
            |(levels, all)| {
                let levels: Vec<_> = levels.into_iter().chain(all.then_some("#")).collect();
                Filter::parse(levels.join("/")).ok()
            },
        );
        let group = proptest::option::weighted(0.3, proptest::sample::select(&["g", "h"][..]));
        (plain, group).prop_map(|(plain, group)| match group {
            None => plain,
            Some(group) => Filter::parse(format!("$share/{group}/{plain}")).unwrap(),
        })
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(&'static str, Filter, u8),
        Remove(&'static str, Filter),
    }

    fn step() -> impl Strategy<Value = Step> {
        let client = || proptest::sample::select(&["x", "y", "z"][..]);
        prop_oneof![
            3 => (client(), filter(), 0_u8..3).prop_map(|(client, filter, qos)| Step::Insert(client, filter, qos)),
            1 => (client(), filter()).prop_map(|(client, filter)| Step::Remove(client, filter)),
        ]
    }

    #[test]
    fn a_message_that_several_filters_of_a_client_match_comes_once_with_all_their_marks() {
        let mut tree = Subscriptions::default();
        let granted = |qos, id| Granted { id: Some(id), ..Granted::from(qos) };
        tree.insert("x", &Filter::parse("a/#").unwrap(), granted(QoS::AtMostOnce, 7));
        tree.insert("x", &Filter::parse("a/b").unwrap(), granted(QoS::ExactlyOnce, 9));
        let kept = Granted { retain_as_published: true, ..Granted::from(QoS::AtLeastOnce) };
        tree.insert("x", &Filter::parse("+/b").unwrap(), kept);
        let found = tree.matching("a/b", Some("y"));
        let [Recipient { client_id: "x", qos: QoS::ExactlyOnce, retain_as_published: true, ids }] =
            &found.own[..]
        else {
            panic!("{found:?}")
        };
        assert_eq!(ids.iter().copied().collect::<std::collections::BTreeSet<_>>(), [7, 9].into());
    }

    #[test]
    fn no_local_keeps_a_clients_own_messages_from_it_and_from_nobody_else() {
        let mut tree = Subscriptions::default();
        let deaf = Granted { no_local: true, ..Granted::from(QoS::AtLeastOnce) };
        tree.insert("x", &Filter::parse("a").unwrap(), deaf);
        tree.insert("y", &Filter::parse("a").unwrap(), QoS::AtLeastOnce);
        let heard = |publisher| {
            tree.matching("a", publisher).own.iter().map(|r| r.client_id.to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(heard(Some("x")), ["y"]);
        assert_eq!(heard(Some("y")), ["x", "y"]);
        assert_eq!(heard(None), ["x", "y"]);
    }

    proptest! {
        #[test]
        fn the_tree_finds_whom_a_look_at_every_filter_finds(
            steps in proptest::collection::vec(step(), 0..40),
            topic in topic(),
        ) {
            let mut tree = Subscriptions::default();
            let mut list = BTreeMap::new();
            for step in &steps {
                match step {
                    Step::Insert(client, filter, qos) => {
                        tree.insert(client, filter, rumqttc::qos(*qos).unwrap());
                        list.insert((filter.clone(), *client), *qos);
                    }
                    Step::Remove(client, filter) => {
                        tree.remove(client, filter);
                        list.remove(&(filter.clone(), *client));
                    }
                }
            }
            let (mut own, mut groups) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new());
            for ((filter, client), qos) in &list {
                let plain = filter.plain();
                if !plain.matches(&topic) {
                    continue;
                }
                match filter.group() {
                    None => {
                        let most = own.entry(*client).or_insert(*qos);
                        *most = (*most).max(*qos);
                    }
                    Some(group) => groups.entry((group.to_owned(), plain)).or_default().push((*client, *qos)),
                }
            }
            let found = tree.matching(&topic, None);
            let found_own: BTreeMap<_, _> = found.own.iter().map(|r| (r.client_id, r.qos as u8)).collect();
            prop_assert_eq!(found_own.len(), found.own.len(), "each client once");
            prop_assert_eq!(found_own, own);
            let sorted = |members: Vec<(&str, u8)>| {
                let mut members: Vec<_> = members.into_iter().map(|(client, qos)| (client.to_owned(), qos)).collect();
                members.sort();
                members
            };
            let mut found_groups: Vec<_> = found
                .groups
                .iter()
                .map(|members| sorted(members.iter().map(|s| (&*s.client_id, s.granted.qos as u8)).collect()))
                .collect();
            found_groups.sort();
            let mut groups: Vec<_> = groups.into_values().map(sorted).collect();
            groups.sort();
            prop_assert_eq!(found_groups, groups);
            for (filter, client) in list.keys() {
                tree.remove(client, filter);
            }
            prop_assert!(tree.root.is_empty(), "nothing is left of what was removed");
        }
    }
}
