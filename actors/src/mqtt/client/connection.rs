//! A client's socket with its session: waits for what happens next, decodes, answers.
//!
//! Publishes that were read together are taken in together, and while the journal is busy reading waits for commits, so
//! that everything that is done once for a read is done for more messages. An idle connection holds no buffer.

mod writing;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use futures::{FutureExt, StreamExt};
use rumqttc::{Packet, QoS};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::watch;
use voltree_model::{RejectReason, Timestamp};
use voltree_protocols::mqtt::{
    Admission, CloseReason, ConnectRequest, Effect, Limits, PacketCodec, Refusal, Session,
};
use voltree_runtime::clock;

use self::writing::report;
use super::hush;
use super::pace::ReadPace;
use crate::access::{Denied, Identity};
use crate::fault_points::NODE_CLOCK;
use crate::metrics;
use crate::mqtt::broker::{Broker, Deliveries, Delivery, Joined, Left, Said, Terms};
use crate::mqtt::entrance::Wire;
use crate::mqtt::ingest::{Commit, Incoming, ingest_all};

/// The longest a turn waits for something to happen, so that a quiet connection is told from a frozen actor.
const TURN: Duration = Duration::from_secs(30);
/// How much is read at once.
const READ_BYTES: usize = 16 * 1024;
/// While the journal is busy a client is not read again before its last publishes are committed, but in any case after
/// this long.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// What a turn is about.
pub(super) enum Happening {
    Read(std::io::Result<usize>),
    /// Publishes with their reason codes; nothing if that can't be promised.
    Committed(Option<Vec<(u64, u8)>>),
    Delivery(Option<Delivery>),
    Stopping,
    Nothing,
}

/// A client's socket and session.
pub(super) struct Connection {
    stream: Wire,
    pub(super) peer: Option<SocketAddr>,
    /// The name in the client's certificate, where it had to show one.
    pub(super) certificate: Option<String>,
    incoming: BytesMut,
    outgoing: BytesMut,
    codec: PacketCodec,
    pub(super) session: Session,
    /// Publishes that were decoded and are not taken in yet.
    offered: Vec<(u64, Incoming)>,
    /// In the order of their publishes, which is that of the answers.
    commits: VecDeque<Commit>,
    pub(super) member: Option<Membership>,
    identity: Identity,
    /// Messages for the client that the window has no room for yet.
    pub(super) waiting: VecDeque<Delivery>,
    /// Some of it only waits for the outgoing buffer to be written.
    more_to_write: bool,
    pace: ReadPace,
    /// Its bytes stay in the socket.
    paused: Option<Pause>,
    /// The system does not tell of them meanwhile.
    hushed: bool,
    stopping: watch::Receiver<bool>,
    pub(super) closing: Option<CloseReason>,
}

/// How long reading waits.
#[derive(Debug, Clone, Copy)]
struct Pause {
    at_least_until: Instant,
    /// The same while there are publishes that are not committed.
    until: Instant,
}

impl Pause {
    fn end(self, waits: bool) -> Instant {
        if waits { self.until } else { self.at_least_until }
    }
}

/// A client that was let in.
pub(super) struct Membership {
    broker: Arc<Broker>,
    pub(super) client_id: Arc<str>,
    session: u64,
    deliveries: Deliveries,
    /// After how many finished messages the journal has none of them any more.
    recorded: usize,
    _counted: Counted,
}

struct Counted;

impl Counted {
    fn new() -> Self {
        metrics::mqtt_connections(1.0);
        Self
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::mqtt_connections(-1.0);
    }
}

/// However the actor ended, its client's session and will go to whom they belong.
impl Drop for Connection {
    fn drop(&mut self) {
        let Some(member) = self.member.take() else { return };
        if self.session.has_will() {
            member.broker.bequeath(member.session);
        } else {
            member.broker.will_is_void(member.session);
        }
        let left = Left {
            open: self.session.open_deliveries().cloned().collect(),
            unreleased: self.session.unreleased().clone(),
            waiting: std::mem::take(&mut self.waiting),
        };
        let expiry = self.session.session_expiry();
        member.broker.leave(&member.client_id, member.session, expiry, left, member.deliveries);
    }
}

impl Connection {
    pub(super) fn new(stream: Wire, number: u64, broker: &Broker) -> Self {
        let (limits, stopping) = (Limits { rate: broker.rate, ..Limits::default() }, broker.stopping());
        Self {
            stream,
            peer: None,
            certificate: None,
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
            codec: PacketCodec::default(),
            session: Session::new(limits, format!("voltree-{number}"), now()),
            offered: Vec::new(),
            commits: VecDeque::new(),
            member: None,
            identity: Identity::Anonymous,
            waiting: VecDeque::new(),
            more_to_write: false,
            pace: ReadPace::default(),
            paused: None,
            hushed: false,
            stopping,
            closing: None,
        }
    }

    pub(super) async fn next(&mut self) -> Happening {
        if std::mem::take(&mut self.more_to_write) {
            return Happening::Nothing;
        }
        loop {
            let at = now();
            let waits = !self.commits.is_empty();
            self.paused = self.paused.filter(|pause| at < pause.end(waits));
            if let Err(error) = self.hush(self.paused.is_some_and(|pause| at < pause.at_least_until)) {
                return Happening::Read(Err(error));
            }
            let reads = self.session.wants_read() && self.paused.is_none();
            let due = self.session.poll_timeout();
            let wake = due.into_iter().chain(self.paused.map(|pause| pause.end(waits))).min();
            let timeout = wake.map_or(TURN, |wake| wake.saturating_duration_since(at).min(TURN));
            let happening = async {
                tokio::select! {
                    Some(kept) = next_commit(&mut self.commits), if waits => Happening::Committed(kept),
                    read = read(&mut self.stream, &mut self.incoming), if reads => Happening::Read(read),
                    delivery = next_delivery(&mut self.member), if self.waiting.is_empty() => Happening::Delivery(delivery),
                    _ = self.stopping.wait_for(|stopping| *stopping) => Happening::Stopping,
                }
            };
            match tokio::time::timeout(timeout, happening).await {
                Ok(happening) => return happening,
                // Nothing is due but reading.
                Err(_) if self.paused.is_some() && due.is_none_or(|due| now() < due) => {}
                Err(_) => return Happening::Nothing,
            }
        }
    }

    /// Has the system tell of what arrives, or not.
    fn hush(&mut self, hushed: bool) -> std::io::Result<()> {
        if hushed != std::mem::replace(&mut self.hushed, hushed)
            && let Wire::Left(stream) = &self.stream
        {
            hush::tell_of(stream, if hushed { READ_BYTES } else { 1 })?;
        }
        Ok(())
    }

    /// Leaves the next bytes in the socket after a read that brought so many publishes, if the node is busy.
    fn pause(&mut self, broker: &Broker, publishes: usize) {
        let (busy, now) = (broker.journal.is_busy(), now());
        let at_least = self.pace.after(publishes, busy, now);
        self.paused =
            busy.then(|| Pause { at_least_until: now + at_least, until: now + at_least.max(LONGEST_PAUSE) });
    }

    /// Takes what else was committed by now, which mostly was so together, so that one write answers all of it.
    pub(super) async fn take_commits(&mut self, broker: &Arc<Broker>, number: u64) {
        while let Some(Some(kept)) = next_commit(&mut self.commits).now_or_never() {
            let effects = self.committed(kept);
            self.carry_out(effects, broker, number).await;
        }
    }

    pub(super) fn committed(&mut self, kept: Option<Vec<(u64, u8)>>) -> Vec<Effect> {
        // The promise can't be kept, so the client must send again: only closing tells it so.
        let Some(kept) = kept else { return self.session.close(CloseReason::ConnectionLost) };
        let now = now();
        kept.into_iter().flat_map(|(ticket, reason)| self.session.on_committed(ticket, reason, now)).collect()
    }

    /// Takes in what was decoded since the last time, all at once.
    pub(super) async fn take_in(&mut self, broker: &Arc<Broker>) {
        if self.offered.is_empty() {
            return;
        }
        self.pause(broker, self.offered.len());
        self.count();
        let now = Timestamp::from_millis(broker.registry.faults().now_ms(NODE_CLOCK));
        let commits = ingest_all(broker, std::mem::take(&mut self.offered), now);
        // Only who publishes needs room for this.
        self.commits.extend(Box::pin(commits).await);
    }

    fn count(&self) {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let count = self.offered.iter().filter(|(_, publish)| publish.qos == qos).count();
            if count > 0 {
                metrics::mqtt_messages(qos, u64::try_from(count).unwrap_or(u64::MAX));
            }
        }
    }

    /// Decodes what has been read, as far as the session wants it now.
    pub(super) async fn decode(&mut self, broker: &Arc<Broker>, number: u64) {
        while self.closing.is_none() && self.session.wants_read() {
            let effects = match self.codec.receive(&mut self.incoming) {
                Ok(Some(packet)) => self.session.on_packet(packet, now()),
                Ok(None) => break,
                Err(error) => self.session.on_bad_packet(error),
            };
            if self.session.is_slowed() {
                metrics::mqtt_slowed();
            }
            self.carry_out(effects, broker, number).await;
        }
        if self.incoming.is_empty() {
            // An idle connection keeps no buffer.
            self.incoming = BytesMut::new();
        }
    }

    pub(super) async fn carry_out(&mut self, effects: Vec<Effect>, broker: &Arc<Broker>, number: u64) {
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Admit(request) => {
                    effects.extend(Box::pin(self.admit(request, broker, number)).await);
                }
                Effect::Send(packet) => self.send(packet),
                Effect::Answer { packet, reasons } => {
                    report(self.codec.encode_reasons(packet, &reasons, &mut self.outgoing));
                }
                Effect::Repeat { publish, properties } => {
                    self.send_said(Packet::Publish(publish), Some(*properties));
                }
                Effect::TooLarge { pkid } => {
                    metrics::mqtt_undelivered();
                    self.finished();
                    tracing::debug!(
                        client = number,
                        pkid,
                        "an open delivery is larger than the client takes now"
                    );
                }
                Effect::Ingest { ticket, topic, payload, qos, retain, properties, over_rate, .. } => {
                    let refused = self.refused(&topic, over_rate);
                    let publisher = self.member.as_ref().map(|member| Arc::clone(&member.client_id));
                    let said = properties.map(|properties| Arc::new(Said::of(*properties, crate::now())));
                    let incoming =
                        Incoming { topic, payload, qos, retain, relay: true, said, publisher, refused };
                    self.offered.push((ticket, incoming));
                }
                Effect::Subscribed { filters } => {
                    // What it published before is to be found among what is retained.
                    self.take_in(broker).await;
                    if let Some(member) = &self.member {
                        let retained = broker.subscribe(&member.client_id, member.session, filters);
                        self.waiting.extend(retained);
                    }
                }
                Effect::Unsubscribed { filters } => {
                    self.take_in(broker).await;
                    if let Some(member) = &self.member {
                        broker.unsubscribe(&member.client_id, member.session, &filters);
                    }
                }
                Effect::Delivered { .. } => self.finished(),
                Effect::Disconnect(reason) => self.codec.encode_disconnect(reason, &mut self.outgoing),
                Effect::Close(reason) => self.closing = Some(reason),
            }
        }
    }

    /// Why a publish to this topic is turned away, if it is.
    fn refused(&mut self, topic: &str, over_rate: bool) -> Option<RejectReason> {
        if !self.identity.may_publish(topic) {
            return Some(RejectReason::NotAuthorized);
        }
        over_rate.then_some(RejectReason::Rate)
    }

    async fn admit(&mut self, request: ConnectRequest, broker: &Arc<Broker>, number: u64) -> Vec<Effect> {
        let will = request.will.as_ref().map(|will| will.topic.as_str());
        let identity = match broker.judge(request.credentials, self.certificate.take(), self.peer).await {
            Ok(identity) if will.is_none_or(|topic| identity.may_publish(topic)) => identity,
            Ok(_) => return self.refuse(Refusal::NotAuthorized, "no right to the topic of its will", number),
            Err(denied @ Denied::BadCredentials) => {
                return self.refuse(Refusal::BadCredentials, &denied.to_string(), number);
            }
            Err(denied @ (Denied::NameNeeded | Denied::UnknownCertificate)) => {
                return self.refuse(Refusal::NotAuthorized, &denied.to_string(), number);
            }
        };
        let key = identity.session_key(&request.client_id);
        let terms = Terms { clean_start: request.clean_session, expiry: request.session_expiry };
        let joined = broker.join(&key, number, terms).await;
        if let Some(will) = request.will {
            let name = if self.session.assigned_client_id().is_some() { "" } else { &key };
            broker.entrust(name, number, will, self.session.will_terms().clone());
        }
        let Joined { deliveries, session_present, left, recorded, subscribed } = joined;
        self.member = Some(Membership {
            deliveries,
            broker: Arc::clone(broker),
            client_id: key.into(),
            session: number,
            recorded,
            _counted: Counted::new(),
        });
        self.waiting = left.waiting;
        let Left { open, unreleased, .. } = left;
        let may_subscribe = match &identity {
            Identity::Anonymous => None,
            Identity::User(_, rights) => Some(rights.subscribe.clone()),
        };
        self.identity = identity;
        let admission = Admission { session_present, open, unreleased, may_subscribe, subscribed };
        self.session.accept(admission, now())
    }

    fn refuse(&mut self, refusal: Refusal, why: &str, number: u64) -> Vec<Effect> {
        metrics::mqtt_refused();
        tracing::warn!(client = number, peer = ?self.peer, why, "an MQTT client was turned away");
        self.session.refuse(refusal)
    }
}

thread_local! {
    /// What is read goes through here, so that no connection keeps a buffer while it waits.
    static READ: RefCell<[u8; READ_BYTES]> = const { RefCell::new([0; READ_BYTES]) };
}

/// Reads what is there, or waits for something; nothing is lost if it is cancelled.
async fn read(stream: &mut Wire, incoming: &mut BytesMut) -> std::io::Result<usize> {
    std::future::poll_fn(|context| {
        READ.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer))?;
            incoming.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    })
    .await
}

/// What became of the oldest publishes that are not committed; nothing if there are none. Nothing is lost if it is cancelled.
async fn next_commit(commits: &mut VecDeque<Commit>) -> Option<Option<Vec<(u64, u8)>>> {
    let committed = commits.front_mut()?.await;
    commits.pop_front();
    Some(committed)
}

/// The next message for this client; never, before it was let in.
async fn next_delivery(member: &mut Option<Membership>) -> Option<Delivery> {
    match member {
        Some(member) => member.deliveries.next().await.map(|delivery| *delivery),
        None => std::future::pending().await,
    }
}

/// Now, as the session counts time.
pub(super) fn now() -> Instant {
    clock::monotonic().into_std()
}
