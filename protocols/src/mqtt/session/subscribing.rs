//! SUBSCRIBE and UNSUBSCRIBE: what is granted, what is not and why, and whether retained messages are owed.
//!
//! The session knows which filters are its client's, so that it can tell a new one from a known one; who else subscribed
//! is not its business.

use std::collections::BTreeSet;

use rumqttc::{Packet, SubAck, Subscribe, SubscribeReasonCode, UnsubAck, Unsubscribe};

use super::{Effect, Session, reason_code};
use crate::mqtt::codec::{Extras, SubscribeExtras};
use crate::mqtt::subscriptions::{Granted, RetainHandling};
use crate::mqtt::topic::Filter;

/// What whoever subscribes to it here is told is the name of this node: so another one knows that it talks to its like.
pub const NODE_TOPIC: &str = "$voltree/node";

/// A filter that was granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// What the client wants to hear.
    pub filter: Filter,
    /// On which terms.
    pub granted: Granted,
    /// Whether the messages that are retained are owed to it.
    pub owed_retained: bool,
}

impl Session {
    pub(super) fn on_subscribe(&mut self, subscribe: Subscribe, extras: Extras) -> Vec<Effect> {
        let SubscribeExtras { id, options } =
            if let Extras::Subscribe(said) = extras { *said } else { SubscribeExtras::default() };
        let mut granted = Vec::new();
        let mut reasons = Vec::with_capacity(subscribe.filters.len());
        for (index, requested) in subscribe.filters.into_iter().enumerate() {
            let filter = match self.judge(requested.path) {
                Ok(filter) => filter,
                Err(reason) => {
                    reasons.push(reason);
                    continue;
                }
            };
            let options = options.get(index).copied().unwrap_or_default();
            if options.no_local && filter.group().is_some() {
                // The standard forbids it (MQTT 5.0, 3.8.3.1): nobody could say what it means.
                return self.close(super::CloseReason::UnexpectedPacket);
            }
            let is_new = self.subscribed.insert(filter.clone());
            let owed_retained = match options.retained {
                RetainHandling::Always => true,
                RetainHandling::IfNew => is_new,
                RetainHandling::Never => false,
            };
            reasons.push(requested.qos as u8);
            let (no_local, retain_as_published) = (options.no_local, options.retain_as_published);
            let terms = Granted { qos: requested.qos, no_local, retain_as_published, id };
            granted.push(Subscription { filter, granted: terms, owed_retained });
        }
        let codes = reasons.iter().map(|reason| match rumqttc::qos(*reason) {
            Ok(qos) => SubscribeReasonCode::Success(qos),
            Err(_) => SubscribeReasonCode::Failure,
        });
        let answer = Packet::SubAck(SubAck::new(subscribe.pkid, codes.collect()));
        let mut effects = vec![self.answer(answer, reasons)];
        if !granted.is_empty() {
            effects.push(Effect::Subscribed { filters: granted });
        }
        effects
    }

    /// The filter if the client may have it, or why not.
    fn judge(&self, path: String) -> Result<Filter, u8> {
        let filter = Filter::parse(path).map_err(|_| reason_code::TOPIC_FILTER_INVALID)?;
        if !self.may_subscribe(&filter) {
            return Err(reason_code::NOT_AUTHORIZED);
        }
        if self.subscribed.len() >= self.limits.max_subscriptions && !self.subscribed.contains(&filter) {
            return Err(reason_code::QUOTA_EXCEEDED);
        }
        Ok(filter)
    }

    fn may_subscribe(&self, filter: &Filter) -> bool {
        // That this is a Voltree is no secret.
        filter.as_str() == NODE_TOPIC
            || self
                .may_subscribe
                .as_ref()
                .is_none_or(|allowed| allowed.iter().any(|outer| outer.covers(filter)))
    }

    /// UNSUBACK is owed for whatever was named, so a filter that can't exist is answered like one that didn't.
    pub(super) fn on_unsubscribe(&mut self, unsubscribe: Unsubscribe) -> Vec<Effect> {
        let mut filters = Vec::with_capacity(unsubscribe.topics.len());
        let mut reasons = Vec::with_capacity(unsubscribe.topics.len());
        for topic in unsubscribe.topics {
            let Ok(filter) = Filter::parse(topic) else {
                reasons.push(reason_code::TOPIC_FILTER_INVALID);
                continue;
            };
            let had = self.subscribed.remove(&filter);
            reasons.push(if had { reason_code::SUCCESS } else { reason_code::NO_SUBSCRIPTION_EXISTED });
            filters.push(filter);
        }
        let mut effects = vec![self.answer(Packet::UnsubAck(UnsubAck::new(unsubscribe.pkid)), reasons)];
        if !filters.is_empty() {
            effects.push(Effect::Unsubscribed { filters });
        }
        effects
    }

    /// A client of 3.1.1 can't be told reasons.
    fn answer(&self, packet: Packet, reasons: Vec<u8>) -> Effect {
        if self.level_5 { Effect::Answer { packet, reasons } } else { Effect::Send(packet) }
    }

    /// Takes over the filters that the client's session has.
    pub(super) fn resume_subscriptions(&mut self, filters: BTreeSet<Filter>) {
        self.subscribed = filters;
    }
}
