//! One client's connection as a value: packets, commits and timeouts go in, [`Effect`]s come out in order.
//!
//! A publish is answered by PUBACK or PUBREC only after the caller says that its reading is committed, and answers leave in the
//! order of the publishes (MQTT 3.1.1, 4.6). While too many wait, [`Session::wants_read`] is false and the keep-alive
//! clock stands still, because then the silence is ours. The session never decides who may connect: it
//! asks with [`Effect::Admit`] and holds everything else back until [`Session::accept`] or [`Session::refuse`].

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rumqttc::{ConnAck, Connect, ConnectReturnCode, Packet, PubComp, PubRec, PubRel, Publish, QoS};

use super::codec::{
    ConnectProperties, DecodeError, Extras, Farewell, PublishProperties, Received, publish_size,
};
use super::topic::{Filter, publish_topic_valid};
use aliases::Aliases;
use incoming::{Arrival, Incoming};
use outgoing::Outgoing;
use pace::{Bucket, Pace};

pub use aliases::TOPIC_ALIAS_MAXIMUM;
pub use effect::{Admission, ConnectRequest, Credentials, Effect, Limits, WillTerms};
pub use outgoing::{NotDelivered, OpenDelivery};
pub use pace::Rate;
pub use reason::{CloseReason, Refusal, code as reason_code};
pub use subscribing::{NODE_TOPIC, Subscription};

mod aliases;
mod effect;
mod incoming;
mod outgoing;
mod pace;
mod reason;
mod subscribing;

#[derive(Debug)]
enum Phase {
    AwaitingConnect { deadline: Instant },
    Admitting,
    Open,
    Closed,
}

/// The state of one client's connection.
#[derive(Debug)]
pub struct Session {
    limits: Limits,
    phase: Phase,
    spare_client_id: String,
    /// Whether the client speaks 5.0.
    level_5: bool,
    /// Whether its id is the spare one.
    client_id_assigned: bool,
    keep_alive: Option<Duration>,
    /// When silence becomes too long. It means nothing while reading stands still.
    silent_until: Option<Instant>,
    /// Whether it left a last will that stands.
    has_will: bool,
    will_terms: WillTerms,
    /// How long the session outlives the connection; `None` for as long as the broker can.
    session_expiry: Option<Duration>,
    /// The largest packet that the client takes.
    max_packet: Option<usize>,
    aliases: Aliases,
    bucket: Bucket,
    /// Until when reading stands still because the client is too fast.
    slow_until: Option<Instant>,
    may_subscribe: Option<Vec<Filter>>,
    subscribed: BTreeSet<Filter>,
    /// What a client sent without waiting for our CONNACK, as the standard lets it.
    early: VecDeque<Received>,
    held: bool,
    next_ticket: u64,
    incoming: Incoming,
    outgoing: Outgoing,
}

impl Session {
    /// Begins with a connection just opened. `spare_client_id` is for a client that leaves the choice to us.
    pub fn new(limits: Limits, spare_client_id: impl Into<String>, now: Instant) -> Self {
        Self {
            limits,
            phase: Phase::AwaitingConnect { deadline: now + limits.connect_timeout },
            spare_client_id: spare_client_id.into(),
            level_5: false,
            client_id_assigned: false,
            keep_alive: None,
            silent_until: None,
            has_will: false,
            will_terms: WillTerms::default(),
            session_expiry: Some(Duration::ZERO),
            max_packet: None,
            aliases: Aliases::default(),
            bucket: Bucket::new(limits.rate),
            slow_until: None,
            may_subscribe: None,
            subscribed: BTreeSet::new(),
            early: VecDeque::new(),
            held: false,
            next_ticket: 1,
            incoming: Incoming::default(),
            outgoing: Outgoing::new(limits.max_in_flight),
        }
    }

    /// Whether the next packet should be decoded now. While false, bytes stay in the socket and TCP slows the client.
    pub fn wants_read(&self) -> bool {
        match self.phase {
            Phase::AwaitingConnect { .. } => true,
            Phase::Open => {
                !self.held && self.slow_until.is_none() && self.incoming.len() < self.limits.max_unacked
            }
            Phase::Admitting | Phase::Closed => false,
        }
    }

    /// When [`Session::on_timeout`] wants to be called; `None` when time changes nothing.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::AwaitingConnect { deadline } => Some(deadline),
            Phase::Open if self.slow_until.is_some() => self.slow_until,
            Phase::Open if self.wants_read() => self.silent_until,
            Phase::Open | Phase::Admitting | Phase::Closed => None,
        }
    }

    /// Closes if the time has come, or reads on if the client was too fast.
    pub fn on_timeout(&mut self, now: Instant) -> Vec<Effect> {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return Vec::new();
        }
        if self.slow_until.take().is_some() {
            self.heard(now);
            return Vec::new();
        }
        match self.phase {
            Phase::AwaitingConnect { .. } => self.close(CloseReason::ConnectTimeout),
            Phase::Admitting | Phase::Open | Phase::Closed => self.close(CloseReason::KeepAliveTimeout),
        }
    }

    /// Takes a packet that the client sent. The caller asks [`Session::wants_read`] before each, which bounds what may
    /// wait in here; a packet handed over all the same is never lost.
    pub fn on_packet(&mut self, received: impl Into<Received>, now: Instant) -> Vec<Effect> {
        let Received { packet, extras } = received.into();
        match self.phase {
            Phase::Closed => Vec::new(),
            Phase::AwaitingConnect { .. } => match packet {
                Packet::Connect(connect) => self.on_connect(connect, extras),
                Packet::ConnAck(_)
                | Packet::Publish(_)
                | Packet::PubAck(_)
                | Packet::PubRec(_)
                | Packet::PubRel(_)
                | Packet::PubComp(_)
                | Packet::Subscribe(_)
                | Packet::SubAck(_)
                | Packet::Unsubscribe(_)
                | Packet::UnsubAck(_)
                | Packet::PingReq
                | Packet::PingResp
                | Packet::Disconnect => self.close(CloseReason::FirstPacketNotConnect),
            },
            Phase::Admitting => {
                self.early.push_back(Received { packet, extras });
                Vec::new()
            }
            Phase::Open => self.on_open_packet(packet, extras, now),
        }
    }

    /// Takes the news that the client's bytes can't be read.
    pub fn on_bad_packet(&mut self, error: DecodeError) -> Vec<Effect> {
        let before_connect = matches!(self.phase, Phase::AwaitingConnect { .. });
        match error {
            DecodeError::UnsupportedProtocol { level } if before_connect => {
                let answer = connack(ConnectReturnCode::RefusedProtocolVersion, false);
                self.answer_and_close(answer, CloseReason::UnsupportedProtocol { level })
            }
            DecodeError::UnsupportedProtocol { .. }
            | DecodeError::TooLarge { .. }
            | DecodeError::Malformed { .. } => self.close(CloseReason::BadPacket(error)),
        }
    }

    /// Lets the client in, sends again what an earlier connection left open, and goes on with what came early.
    pub fn accept(&mut self, admission: Admission, now: Instant) -> Vec<Effect> {
        if !matches!(self.phase, Phase::Admitting) {
            return Vec::new();
        }
        self.phase = Phase::Open;
        self.may_subscribe = admission.may_subscribe;
        self.heard(now);
        let mut effects = vec![Effect::Send(connack(ConnectReturnCode::Success, admission.session_present))];
        self.incoming.resume(admission.unreleased);
        self.resume_subscriptions(admission.subscribed);
        let max_packet = self.max_packet;
        let (open, too_large): (Vec<_>, Vec<_>) =
            admission.open.into_iter().partition(|delivery| delivery.fits(max_packet));
        effects.extend(self.outgoing.resume(open));
        effects.extend(too_large.iter().map(|delivery| Effect::TooLarge { pkid: delivery.pkid() }));
        while let Some(packet) = self.early.pop_front() {
            effects.extend(self.on_packet(packet, now));
        }
        effects
    }

    /// Turns the client away with a reason that it can understand.
    pub fn refuse(&mut self, refusal: Refusal) -> Vec<Effect> {
        if !matches!(self.phase, Phase::Admitting) {
            return Vec::new();
        }
        self.answer_and_close(connack(refusal.code(), false), CloseReason::Refused(refusal))
    }

    /// Takes the news that a publish is stored, or rejected and counted: now it may be acknowledged. A client of 5.0 is
    /// told the reason code.
    pub fn on_committed(&mut self, ticket: u64, reason: u8, now: Instant) -> Vec<Effect> {
        if matches!(self.phase, Phase::Closed) {
            return Vec::new();
        }
        let was_reading = self.wants_read();
        let reason = if self.level_5 { reason } else { reason_code::SUCCESS };
        let answers = self.incoming.commit(ticket, reason);
        let effects = answers.map(|(packet, reason)| match reason {
            reason_code::SUCCESS => Effect::Send(packet),
            reason => Effect::Answer { packet, reasons: vec![reason] },
        });
        let effects = effects.collect();
        self.restart_silence_if_reading_resumes(was_reading, now);
        effects
    }

    /// Stops reading because something behind the session is full.
    pub fn hold(&mut self) {
        self.held = true;
    }

    /// Ends what [`Session::hold`] began.
    pub fn release(&mut self, now: Instant) {
        let was_reading = self.wants_read();
        self.held = false;
        self.restart_silence_if_reading_resumes(was_reading, now);
    }

    /// Makes the packet that delivers a message to the client.
    pub fn deliver(
        &mut self,
        topic: &str,
        payload: Bytes,
        qos: QoS,
        retain: bool,
        properties: Option<&PublishProperties>,
    ) -> Result<Packet, NotDelivered> {
        if !matches!(self.phase, Phase::Open) {
            return Err(NotDelivered::NotConnected);
        }
        publish_topic_valid(topic).map_err(NotDelivered::BadTopic)?;
        if let Some(most) = self.max_packet {
            let mut publish = Publish::from_bytes(topic, qos, payload.clone());
            publish.pkid = 1;
            if publish_size(&publish, properties) > most {
                return Err(NotDelivered::TooLarge);
            }
        }
        self.outgoing
            .deliver(topic, payload, qos, retain, properties)
            .map(Packet::Publish)
            .ok_or(NotDelivered::WindowFull)
    }

    /// Deliveries that the client has not finished with, in their order: the next connection's `open`.
    pub fn open_deliveries(&self) -> impl Iterator<Item = &OpenDelivery> {
        self.outgoing.in_flight()
    }

    /// Packet ids of QoS 2 that the client has not released: the next connection's `unreleased`.
    pub fn unreleased(&self) -> &BTreeSet<u16> {
        self.incoming.unreleased()
    }

    /// How many publishes wait for their commit.
    pub fn unacked(&self) -> usize {
        self.incoming.len()
    }

    /// Whether the client's last will stands: it does unless there is none, or the client said goodbye properly, never came
    /// in, or is back already on a new connection. A server that ends is no goodbye of the client's.
    pub const fn has_will(&self) -> bool {
        self.has_will
    }

    /// When the will is due, and what its publisher said of it in 5.0.
    pub fn will_terms(&self) -> &WillTerms {
        &self.will_terms
    }

    /// How long the session outlives the connection, as the client said last; `None` for as long as the broker can.
    pub fn session_expiry(&self) -> Option<Duration> {
        self.session_expiry
    }

    /// Whether reading stands still because the client is too fast.
    pub fn is_slowed(&self) -> bool {
        self.slow_until.is_some()
    }

    /// The id that we chose for the client, which 5.0 wants to be told.
    pub fn assigned_client_id(&self) -> Option<&str> {
        self.client_id_assigned.then_some(self.spare_client_id.as_str())
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed)
    }

    /// Ends the session for a reason of ours, or because the connection is lost.
    pub fn close(&mut self, reason: CloseReason) -> Vec<Effect> {
        if self.is_closed() {
            return Vec::new();
        }
        let is_no_loss = matches!(reason, CloseReason::Disconnected | CloseReason::TakenOver);
        let was_open = matches!(self.phase, Phase::Open);
        if is_no_loss || !was_open {
            self.has_will = false;
        }
        self.phase = Phase::Closed;
        let told = reason.disconnect_code().filter(|_| self.level_5 && was_open);
        told.map(Effect::Disconnect).into_iter().chain([Effect::Close(reason)]).collect()
    }

    fn answer_and_close(&mut self, answer: Packet, reason: CloseReason) -> Vec<Effect> {
        let mut effects = vec![Effect::Send(answer)];
        effects.extend(self.close(reason));
        effects
    }

    fn on_connect(&mut self, connect: Connect, extras: Extras) -> Vec<Effect> {
        let session_expiry = match extras {
            Extras::Connect(properties, will) => {
                self.level_5 = true;
                if let Err(refused) = self.begin_level_5(&properties) {
                    return refused;
                }
                let expiry = session_expiry(properties.session_expiry_interval.unwrap_or(0));
                self.will_terms = will.map_or_else(WillTerms::default, |said| WillTerms::new(*said, expiry));
                expiry
            }
            Extras::None | Extras::Publish(_) | Extras::Subscribe(_) | Extras::Disconnect(_) => {
                connect.clean_session.then_some(Duration::ZERO)
            }
        };
        self.session_expiry = session_expiry;
        self.client_id_assigned = connect.client_id.is_empty();
        if self.client_id_assigned && !connect.clean_session && !self.level_5 {
            let refusal = Refusal::ClientIdRejected;
            return self.answer_and_close(connack(refusal.code(), false), CloseReason::Refused(refusal));
        }
        if let Some(Err(error)) = connect.last_will.as_ref().map(|will| publish_topic_valid(&will.topic)) {
            return self.close(CloseReason::BadTopic(error));
        }
        let client_id =
            if connect.client_id.is_empty() { self.spare_client_id.clone() } else { connect.client_id };
        let credentials =
            connect.login.map(|login| Credentials { username: login.username, password: login.password });
        self.phase = Phase::Admitting;
        self.keep_alive =
            (connect.keep_alive > 0).then(|| Duration::from_secs(u64::from(connect.keep_alive)));
        self.has_will = connect.last_will.is_some();
        vec![Effect::Admit(ConnectRequest {
            client_id,
            clean_session: connect.clean_session,
            session_expiry,
            keep_alive: self.keep_alive,
            credentials,
            will: connect.last_will,
        })]
    }

    /// Takes what a client of 5.0 said about itself; or the answer to one that can't be served.
    fn begin_level_5(&mut self, properties: &ConnectProperties) -> Result<(), Vec<Effect>> {
        if properties.authentication_method.is_some() {
            let refusal = Refusal::NotAuthorized;
            return Err(self.answer_and_close(connack(refusal.code(), false), CloseReason::Refused(refusal)));
        }
        let receive_maximum = properties.receive_maximum.unwrap_or(u16::MAX);
        if receive_maximum == 0 {
            return Err(self.close(CloseReason::UnexpectedPacket));
        }
        self.outgoing.narrow(receive_maximum);
        if properties.max_packet_size == Some(0) {
            return Err(self.close(CloseReason::UnexpectedPacket));
        }
        self.max_packet =
            properties.max_packet_size.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok(())
    }

    fn on_open_packet(&mut self, packet: Packet, extras: Extras, now: Instant) -> Vec<Effect> {
        self.heard(now);
        match packet {
            Packet::Publish(publish) => match extras {
                Extras::Publish(properties) => self.on_publish_of_5(publish, properties, now),
                Extras::None | Extras::Connect(..) | Extras::Subscribe(_) | Extras::Disconnect(_) => {
                    self.on_publish(publish, None, now)
                }
            },
            Packet::PubAck(ack) => self.on_puback(ack.pkid),
            Packet::PubRec(rec) => self.on_pubrec(rec.pkid),
            Packet::PubRel(rel) => self.on_pubrel(rel.pkid),
            Packet::PubComp(comp) => self.on_pubcomp(comp.pkid),
            Packet::Subscribe(subscribe) => self.on_subscribe(subscribe, extras),
            Packet::Unsubscribe(unsubscribe) => self.on_unsubscribe(unsubscribe),
            Packet::PingReq => vec![Effect::Send(Packet::PingResp)],
            Packet::Disconnect => self.on_disconnect(if let Extras::Disconnect(said) = extras {
                said
            } else {
                Farewell::default()
            }),
            Packet::Connect(_) => self.close(CloseReason::SecondConnect),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                self.close(CloseReason::UnexpectedPacket)
            }
        }
    }

    fn on_disconnect(&mut self, farewell: Farewell) -> Vec<Effect> {
        if let Some(seconds) = farewell.session_expiry_s {
            // A session that was to end with the connection can't be made to last now (MQTT 5.0, 3.14.2.2.2).
            if seconds > 0 && self.session_expiry == Some(Duration::ZERO) {
                return self.close(CloseReason::UnexpectedPacket);
            }
            self.session_expiry = session_expiry(seconds);
        }
        self.close(if farewell.with_will {
            CloseReason::DisconnectedWithWill
        } else {
            CloseReason::Disconnected
        })
    }

    fn on_publish_of_5(
        &mut self,
        mut publish: Publish,
        mut properties: Box<PublishProperties>,
        now: Instant,
    ) -> Vec<Effect> {
        if !properties.subscription_identifiers.is_empty() {
            return self.close(CloseReason::UnexpectedPacket);
        }
        if let Some(alias) = properties.topic_alias.take() {
            match self.aliases.resolve(alias, std::mem::take(&mut publish.topic)) {
                Ok(topic) => publish.topic = topic,
                Err(reason) => return self.close(reason),
            }
        }
        self.on_publish(publish, Some(properties), now)
    }

    fn on_publish(
        &mut self,
        publish: Publish,
        properties: Option<Box<PublishProperties>>,
        now: Instant,
    ) -> Vec<Effect> {
        if let Err(error) = publish_topic_valid(&publish.topic) {
            return self.close(CloseReason::BadTopic(error));
        }
        match self.incoming.arrival(publish.qos, publish.pkid, publish.dup) {
            Arrival::New => {}
            Arrival::Waiting => return Vec::new(),
            Arrival::Answered => return vec![Effect::Send(Packet::PubRec(PubRec::new(publish.pkid)))],
        }
        let over_rate = match publish.qos {
            QoS::AtMostOnce => !self.bucket.try_take(now),
            QoS::AtLeastOnce | QoS::ExactlyOnce => match self.bucket.take(now) {
                Pace::Kept => false,
                Pace::Exceeded(until) => {
                    self.slow_until = Some(until);
                    false
                }
                Pace::Backlog => return self.close(CloseReason::Backlog),
            },
        };
        if publish.qos != QoS::AtMostOnce {
            self.incoming.push(self.next_ticket, publish.pkid, publish.qos);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        vec![Effect::Ingest {
            ticket,
            topic: publish.topic,
            payload: publish.payload,
            qos: publish.qos,
            dup: publish.dup,
            retain: publish.retain,
            pkid: publish.pkid,
            properties,
            over_rate,
        }]
    }

    /// An id that we don't know is a late answer to a delivery of an earlier connection and means nothing.
    fn on_puback(&mut self, pkid: u16) -> Vec<Effect> {
        if self.outgoing.acknowledge(pkid) { vec![Effect::Delivered { pkid }] } else { Vec::new() }
    }

    /// Whatever it is of, it is answered: a client that asks about a delivery that we have forgotten must come to an end.
    fn on_pubrec(&mut self, pkid: u16) -> Vec<Effect> {
        self.outgoing.release(pkid);
        vec![Effect::Send(Packet::PubRel(PubRel::new(pkid)))]
    }

    fn on_pubcomp(&mut self, pkid: u16) -> Vec<Effect> {
        if self.outgoing.complete(pkid) { vec![Effect::Delivered { pkid }] } else { Vec::new() }
    }

    /// A client may release only what we have taken over; an id that we don't know was released before.
    fn on_pubrel(&mut self, pkid: u16) -> Vec<Effect> {
        if self.incoming.release(pkid) {
            vec![Effect::Send(Packet::PubComp(PubComp::new(pkid)))]
        } else {
            self.close(CloseReason::UnexpectedPacket)
        }
    }

    /// The standard allows silence of one and a half times what the client promised.
    fn heard(&mut self, now: Instant) {
        self.silent_until = self.keep_alive.map(|promised| now + promised * 3 / 2);
    }

    /// Gives the whole period anew: what the client sent meanwhile may still lie unread in the socket.
    fn restart_silence_if_reading_resumes(&mut self, was_reading: bool, now: Instant) {
        if !was_reading && self.wants_read() {
            self.heard(now);
        }
    }
}

/// Not given means zero, and the largest number means for ever (MQTT 5.0, 3.1.2.11.2).
fn session_expiry(seconds: u32) -> Option<Duration> {
    (seconds != u32::MAX).then(|| Duration::from_secs(u64::from(seconds)))
}

fn connack(code: ConnectReturnCode, session_present: bool) -> Packet {
    Packet::ConnAck(ConnAck::new(code, session_present))
}

#[cfg(test)]
mod tests;
