//! Who comes, who goes, and what they want to hear: a session goes from connection to connection of its client, and lasts in
//! between if it is to.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rumqttc::QoS;
use voltree_model::Timestamp;
use voltree_protocols::mqtt::{Filter, NODE_TOPIC, Subscription};

use super::to_client::ToClient;
use super::{Broker, Deliveries, Delivery, Joined, Left, MOST_AWAY, TAKE_OVER_PATIENCE, Terms, sessions};
use crate::mqtt::keeper::KeeperMsg;
use crate::mqtt::messenger::MessengerMsg;

impl Broker {
    /// Lets a client in. One of the same id that is in already is sent away first, and leaves its session to this one.
    pub(in crate::mqtt) async fn join(&self, client_id: &str, connection: u64, terms: Terms) -> Joined {
        self.send_away(client_id).await;
        let (outbox, deliveries) = ToClient::new();
        let mut members = self.members.write();
        let before = members.get(client_id);
        let before_lasted = before.is_some_and(|before| before.lasting);
        let expired = before.and_then(|before| before.until).is_some_and(|until| until <= crate::now());
        let session_present = before_lasted && !expired && !terms.clean_start;
        let mut entries = Vec::new();
        if !session_present && let Some(before) = members.remove(client_id) {
            entries = sessions::forgotten(client_id, &before);
        }
        let member = members.get_or_insert(client_id);
        let left = std::mem::take(&mut member.left);
        let recorded = member.recorded.hand_over(&left);
        member.connection = connection;
        member.outbox = Some(outbox);
        member.lasting = terms.expiry != Some(Duration::ZERO);
        member.expiry = terms.expiry;
        member.until = None;
        let subscribed = member.filters.iter().map(|(filter, _)| filter.clone()).collect();
        entries.extend(sessions::session_change(client_id, member));
        self.offer_session(client_id, entries);
        drop(members);
        let taken_back = self.wills.client_is_back(client_id, session_present, crate::now());
        taken_back.into_iter().for_each(|changed| self.offer_will(changed));
        self.keeper.nudge(KeeperMsg::Wake);
        Joined { deliveries, session_present, left, recorded, subscribed }
    }

    /// Closes the outbox of the connection that has this id, which it takes as the order to go, and waits until it went.
    async fn send_away(&self, client_id: &str) {
        let gone = {
            let mut members = self.members.write();
            let Some(member) = members.get_mut(client_id) else { return };
            if member.outbox.take().is_none() {
                return;
            }
            Arc::clone(&member.gone)
        };
        // One that hangs loses what it had under way, and can't come between any more.
        tokio::time::timeout(TAKE_OVER_PATIENCE, gone.notified()).await.ok();
    }

    /// Lets a connection go, unless another took its session over. A session that is to last keeps what is left.
    pub(in crate::mqtt) fn leave(
        &self,
        client_id: &str,
        connection: u64,
        expiry: Option<Duration>,
        mut left: Left,
        mut deliveries: Deliveries,
    ) {
        let mut members = self.members.write();
        let Some(member) = members.get(client_id).filter(|member| member.connection == connection) else {
            return;
        };
        member.gone.notify_one();
        let stays = expiry != Some(Duration::ZERO)
            && member.lasting
            && members.all().filter(|(_, member)| member.connection == 0).take(MOST_AWAY).count() < MOST_AWAY;
        if !stays {
            let ended = members.remove(client_id).map(|member| sessions::forgotten(client_id, &member));
            self.offer_session(client_id, ended.unwrap_or_default());
            return;
        }
        let Some(member) = members.get_mut(client_id) else { return };
        // Nobody can add to the outbox while this lock is held.
        while let Ok(delivery) = deliveries.try_recv() {
            left.waiting.push_back(*delivery);
        }
        left.waiting.retain(|delivery| delivery.qos != QoS::AtMostOnce);
        // What came since its outbox was closed was laid by, and goes behind what was in there.
        let since = std::mem::take(&mut member.left.waiting).into_iter();
        left.waiting.extend(since.map(|delivery| Delivery { record: None, ..delivery }));
        member.left = left;
        member.expiry = expiry;
        member.outbox = None;
        member.connection = 0;
        let millis = member.expiry.map(|expiry| i64::try_from(expiry.as_millis()).unwrap_or(i64::MAX));
        member.until = millis.map(|ms| Timestamp::from_millis(crate::now().as_millis().saturating_add(ms)));
        let mut entries = sessions::taken_back(client_id, member, &self.journal.records());
        entries.extend(sessions::session_change(client_id, member));
        self.offer_session(client_id, entries);
    }

    /// Forgets sessions whose clients stayed away for longer than they said.
    pub(in crate::mqtt) fn forget_expired(&self, now: Timestamp) {
        let mut members = self.members.write();
        for (client_id, member) in members.remove_if(|member| member.until.is_some_and(|until| until <= now))
        {
            self.offer_session(&client_id, sessions::forgotten(&client_id, &member));
        }
    }

    /// Adds subscriptions; answers the retained messages that they are owed.
    pub(in crate::mqtt) fn subscribe(
        &self,
        client_id: &str,
        connection: u64,
        added: Vec<Subscription>,
    ) -> Vec<Delivery> {
        let retained = self.retained.read();
        // Retained messages are for each subscriber; a group that takes turns gets none (MQTT 5.0, 4.8.2).
        let own = added.iter().filter(|added| added.owed_retained && added.filter.group().is_none());
        let mut owed: Vec<_> =
            own.flat_map(|added| retained.matching(&added.filter, added.granted, crate::now())).collect();
        drop(retained);
        if added.iter().any(|added| added.filter.as_str() == NODE_TOPIC) {
            owed.push(self.introduction());
        }
        let mut members = self.members.write();
        let added = added.into_iter().map(|added| (added.filter, added.granted)).collect();
        if let Some(member) = members.subscribe(client_id, connection, added) {
            self.offer_session(client_id, sessions::session_change(client_id, member));
        }
        drop(members);
        self.messenger.nudge(MessengerMsg::Wake);
        owed
    }

    /// Who we are, for whoever asks.
    fn introduction(&self) -> Delivery {
        Delivery {
            topic: NODE_TOPIC.into(),
            payload: Bytes::copy_from_slice(self.node.as_bytes()),
            qos: QoS::AtMostOnce,
            retain: true,
            ids: Vec::new(),
            said: None,
            record: None,
        }
    }

    pub(in crate::mqtt) fn unsubscribe(&self, client_id: &str, connection: u64, removed: &[Filter]) {
        let mut members = self.members.write();
        if let Some(member) = members.unsubscribe(client_id, connection, removed) {
            self.offer_session(client_id, sessions::session_change(client_id, member));
        }
    }
}
