//! What a publisher said in properties of MQTT 5.0, for whoever hears its message: now, later, or after a restart.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use voltree_model::Timestamp;
use voltree_protocols::mqtt::PublishProperties;

use crate::mqtt::bridge;

/// A message's properties, and when they say that it is worth nothing any more.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::mqtt) struct Said {
    properties: PublishProperties,
    expires_at: Option<Timestamp>,
}

/// What of it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::mqtt) struct KeptSaid {
    payload_format: Option<u8>,
    content_type: Option<String>,
    response_topic: Option<String>,
    correlation_data: Option<Vec<u8>>,
    user_properties: Vec<(String, String)>,
    expires_at_ms: Option<i64>,
}

impl Said {
    pub(in crate::mqtt) fn of(properties: PublishProperties, now: Timestamp) -> Self {
        let seconds = properties.message_expiry_interval.map(i64::from);
        let expires_at = seconds.map(|seconds| Timestamp::from_millis(now.as_millis() + seconds * 1_000));
        Self { properties, expires_at }
    }

    /// Whether it is worth nothing any more (MQTT 5.0, 3.3.2.3.3).
    pub(in crate::mqtt) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// The properties for one who hears it now by subscriptions with these marks; `None` when it has expired.
    pub(in crate::mqtt) fn at(&self, now: Timestamp, ids: &[u32]) -> Option<PublishProperties> {
        if self.has_expired(now) {
            return None;
        }
        let mut properties = self.properties.clone();
        if let Some(expires_at) = self.expires_at {
            let left = u32::try_from(expires_at.as_millis() - now.as_millis()).unwrap_or(u32::MAX);
            properties.message_expiry_interval = Some(left.div_ceil(1_000));
        }
        properties.subscription_identifiers = marks(ids);
        Some(properties)
    }

    /// Whether this node passed it on already.
    pub(in crate::mqtt) fn came_by(&self, node: &str) -> bool {
        bridge::came_by(&self.properties, node)
    }

    pub(in crate::mqtt) fn kept(&self) -> KeptSaid {
        let said = &self.properties;
        KeptSaid {
            payload_format: said.payload_format_indicator,
            content_type: said.content_type.clone(),
            response_topic: said.response_topic.clone(),
            correlation_data: said.correlation_data.as_ref().map(|data| data.to_vec()),
            user_properties: said.user_properties.clone(),
            expires_at_ms: self.expires_at.map(Timestamp::as_millis),
        }
    }
}

/// The properties of a message of which its publisher said nothing.
pub(in crate::mqtt) fn only_marks(ids: &[u32]) -> Option<PublishProperties> {
    let subscription_identifiers = marks(ids);
    (!ids.is_empty()).then(|| PublishProperties { subscription_identifiers, ..PublishProperties::default() })
}

fn marks(ids: &[u32]) -> Vec<usize> {
    ids.iter().filter_map(|id| usize::try_from(*id).ok()).collect()
}

impl From<KeptSaid> for Said {
    fn from(kept: KeptSaid) -> Self {
        let expires_at = kept.expires_at_ms.map(Timestamp::from_millis);
        let properties = PublishProperties {
            payload_format_indicator: kept.payload_format,
            content_type: kept.content_type,
            response_topic: kept.response_topic,
            correlation_data: kept.correlation_data.map(Bytes::from),
            user_properties: kept.user_properties,
            ..PublishProperties::default()
        };
        Self { properties, expires_at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_is_the_same_after_it_was_kept_and_expires_when_it_would_have() {
        let now = Timestamp::from_millis(1_000_000);
        let properties = PublishProperties {
            payload_format_indicator: Some(1),
            message_expiry_interval: Some(10),
            content_type: Some("text/plain".to_owned()),
            response_topic: Some("answers".to_owned()),
            correlation_data: Some(Bytes::from_static(b"7")),
            user_properties: vec![("site".to_owned(), "north".to_owned())],
            ..PublishProperties::default()
        };
        let said = Said::from(Said::of(properties.clone(), now).kept());
        let later = Timestamp::from_millis(1_003_500);
        let expected = PublishProperties {
            message_expiry_interval: Some(7),
            subscription_identifiers: vec![3],
            ..properties
        };
        assert_eq!(said.at(later, &[3]), Some(expected));
        assert_eq!(said.at(Timestamp::from_millis(1_010_000), &[]), None);
    }
}
