//! The clients that have a session, and their subscriptions as a tree, which always say the same.

use std::collections::HashMap;

use rumqttc::QoS;
use voltree_protocols::mqtt::{Filter, Granted, Subscriptions};

use super::{Delivery, Member};

/// All sessions.
#[derive(Debug, Default)]
pub(super) struct Members {
    by_id: HashMap<String, Box<Member>>,
    subscriptions: Subscriptions,
}

/// What became of a message for one client.
pub(super) enum Handed {
    /// It is with its connection.
    Taken,
    /// As much waits for it as may.
    NoRoom,
    /// Its client is away; the message waits for it if it is of QoS 1 or 2.
    Away(Option<Delivery>),
}

impl Members {
    /// These sessions, with their subscriptions.
    pub(super) fn new(by_id: HashMap<String, Member>) -> Self {
        let mut subscriptions = Subscriptions::default();
        for (client_id, member) in &by_id {
            member.filters.iter().for_each(|(filter, terms)| subscriptions.insert(client_id, filter, *terms));
        }
        let by_id = by_id.into_iter().map(|(id, member)| (id, Box::new(member))).collect();
        Self { by_id, subscriptions }
    }

    pub(super) fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&String, &Member)> {
        self.by_id.iter().map(|(id, member)| (id, member.as_ref()))
    }

    pub(super) fn get(&self, client_id: &str) -> Option<&Member> {
        self.by_id.get(client_id).map(Box::as_ref)
    }

    /// Not to change subscriptions through.
    pub(super) fn get_mut(&mut self, client_id: &str) -> Option<&mut Member> {
        self.by_id.get_mut(client_id).map(Box::as_mut)
    }

    /// The session of this client, a new one if it has none; not to change subscriptions through.
    pub(super) fn get_or_insert(&mut self, client_id: &str) -> &mut Member {
        self.by_id.entry(client_id.to_owned()).or_default()
    }

    pub(super) fn remove(&mut self, client_id: &str) -> Option<Member> {
        let member = self.by_id.remove(client_id)?;
        member.filters.iter().for_each(|(filter, _)| self.subscriptions.remove(client_id, filter));
        Some(*member)
    }

    /// Removes all sessions of which that is true.
    pub(super) fn remove_if(&mut self, goes: impl Fn(&Member) -> bool) -> Vec<(String, Member)> {
        let going = self.by_id.iter().filter(|(_, member)| goes(member)).map(|(id, _)| id.clone());
        let going: Vec<_> = going.collect();
        going.into_iter().filter_map(|id| self.remove(&id).map(|member| (id, member))).collect()
    }

    /// Adds or replaces subscriptions of the session while this connection has it; the session, if that must be kept.
    pub(super) fn subscribe(
        &mut self,
        client_id: &str,
        connection: u64,
        added: Vec<(Filter, Granted)>,
    ) -> Option<&mut Member> {
        let member = self.by_id.get_mut(client_id).filter(|member| member.connection == connection)?;
        added.iter().for_each(|(filter, terms)| self.subscriptions.insert(client_id, filter, *terms));
        member.filters.retain(|(known, _)| added.iter().all(|(new, _)| new != known));
        member.filters.extend(added);
        member.lasting.then_some(member)
    }

    /// Removes subscriptions of the session while this connection has it; the session, if that must be kept.
    pub(super) fn unsubscribe(
        &mut self,
        client_id: &str,
        connection: u64,
        removed: &[Filter],
    ) -> Option<&mut Member> {
        let member = self.by_id.get_mut(client_id).filter(|member| member.connection == connection)?;
        removed.iter().for_each(|filter| self.subscriptions.remove(client_id, filter));
        member.filters.retain(|(known, _)| !removed.contains(known));
        member.lasting.then_some(member)
    }

    /// Hands a message to the connection of a client, if it has one.
    pub(super) fn hand(&self, client_id: &str, delivery: Delivery) -> Handed {
        let Some(member) = self.by_id.get(client_id) else { return Handed::Away(None) };
        match &member.outbox {
            Some(outbox) => match outbox.hand(delivery) {
                true => Handed::Taken,
                false => Handed::NoRoom,
            },
            None => Handed::Away(Some(delivery).filter(|delivery| delivery.qos != QoS::AtMostOnce)),
        }
    }
}
