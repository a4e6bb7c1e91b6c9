//! GraphQL over WebSocket: one task per connection that reads, runs subscriptions and writes.
//!
//! A client that does not read fast enough makes its own subscriptions fall behind and nobody else's: they are
//! polled only when the last message is on its way. What the messages mean is in `session`, which does no IO.

mod session;

use std::collections::HashMap;
use std::convert::Infallible;
use std::future::ready;
use std::time::Duration;

use async_graphql::{Request, Response as Answer};
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::future::{AbortHandle, Abortable};
use futures::stream::{BoxStream, SelectAll, once};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, interval_at, sleep_until, timeout};
use voltree_runtime::clock;

use self::session::{CloseReason, Session, Step};
use super::{Served, graphiql, graphql, refusal};
use crate::schema::Schema;

const PROTOCOL: &str = "graphql-transport-ws";
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;
/// How long a client may take to introduce itself.
const INIT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a client is asked whether it is there; one that says nothing for two rounds is gone.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long one message may take to leave.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

const HELP: &str = "This is Voltree's GraphQL endpoint.\n\n\
    Ask:   POST a JSON object with \"query\" (and \"variables\") as application/json to this address.\n\
    Watch: open a WebSocket at this address with the protocol graphql-transport-ws.\n\
    Look:  open this address in a browser.\n\n\
    curl -H 'content-type: application/json' -d '{\"query\": \"{ devices { id state } }\"}' ADDRESS\n";

/// Opens a WebSocket for whoever asks for one, shows browsers GraphiQL, and tells everyone else what this address is for.
pub(super) async fn upgrade_or_help(
    State(served): State<Served>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) if headers.contains_key(header::UPGRADE) => return rejection.into_response(),
        Err(_) if uri.query().is_some() => return graphql::only_by_post(),
        Err(_no_websocket_asked_for) => {
            return graphiql::page_for_browsers(&headers).unwrap_or_else(|| HELP.into_response());
        }
    };
    let Ok(place) = served.sockets.clone().try_acquire_owned() else {
        let message = "as many WebSockets are open as this node serves; try again later";
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", message);
    };
    let schema = served.schema;
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .protocols([PROTOCOL])
        .on_upgrade(move |socket| serve(socket, schema, place))
}

/// What a running operation says.
enum Event {
    Answered(Box<Answer>),
    Ended,
}

/// Why a connection is over.
enum End {
    /// The client left, or no longer reads.
    Gone,
    /// The client must leave.
    Close(CloseReason),
}

/// One connection: what was said so far, and what runs.
struct Connection {
    schema: Schema,
    socket: WebSocket,
    session: Session,
    events: SelectAll<BoxStream<'static, (String, Event)>>,
    running: HashMap<String, AbortHandle>,
    heard: Instant,
}

async fn serve(socket: WebSocket, schema: Schema, _place: OwnedSemaphorePermit) {
    let spoken = socket.protocol().is_some_and(|chosen| chosen == PROTOCOL);
    let mut connection = Connection {
        schema,
        socket,
        session: Session::default(),
        events: SelectAll::new(),
        running: HashMap::new(),
        heard: clock::monotonic(),
    };
    let end = if spoken { connection.run().await } else { Err(End::Close(CloseReason::BAD_PROTOCOL.into())) };
    if let Err(End::Close(CloseReason { code, text })) = end {
        let frame = CloseFrame { code, reason: Utf8Bytes::from(text) };
        // A client that is gone by now need not be told.
        connection.send(Message::Close(Some(frame))).await.ok();
    }
}

impl Connection {
    async fn run(&mut self) -> Result<Infallible, End> {
        let introduce_by = self.heard + INIT_TIMEOUT;
        let mut ping = interval_at(self.heard + PING_INTERVAL, PING_INTERVAL);
        loop {
            tokio::select! {
                message = self.socket.recv() => self.received(message).await?,
                Some((id, event)) = self.events.next() => self.happened(id, event).await?,
                () = sleep_until(introduce_by), if !self.session.is_introduced() => {
                    return Err(End::Close(CloseReason::INIT_TIMEOUT.into()));
                }
                now = ping.tick() => self.ping(now).await?,
            }
        }
    }

    async fn received(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<(), End> {
        self.heard = clock::monotonic();
        match message {
            Some(Ok(Message::Text(text))) => {
                let step = self.session.receive(&text);
                self.take(step).await
            }
            Some(Ok(Message::Binary(_))) => Err(End::Close(CloseReason::invalid("messages are text"))),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Gone),
        }
    }

    async fn take(&mut self, step: Step) -> Result<(), End> {
        match step {
            Step::Nothing => Ok(()),
            Step::Send(text) => self.send(Message::text(text)).await,
            Step::Start { id, request } => {
                self.start(id, *request);
                Ok(())
            }
            Step::Stop(id) => {
                self.stop(&id);
                Ok(())
            }
            Step::Close(reason) => Err(End::Close(reason)),
        }
    }

    fn start(&mut self, id: String, request: Request) {
        let (handle, registration) = AbortHandle::new_pair();
        self.running.insert(id.clone(), handle);
        let answers = self.schema.execute_stream(request).map(|answer| Event::Answered(Box::new(answer)));
        let events = answers.chain(once(ready(Event::Ended))).map(move |event| (id.clone(), event));
        self.events.push(Abortable::new(events, registration).boxed());
    }

    fn stop(&mut self, id: &str) {
        if let Some(handle) = self.running.remove(id) {
            handle.abort();
        }
    }

    async fn happened(&mut self, id: String, event: Event) -> Result<(), End> {
        let said = match event {
            Event::Answered(answer) => self.session.answered(&id, &answer),
            Event::Ended => self.session.ended(&id),
        };
        if !self.session.is_open(&id) {
            self.stop(&id);
        }
        match said {
            Some(text) => self.send(Message::text(text)).await,
            None => Ok(()),
        }
    }

    async fn ping(&mut self, now: Instant) -> Result<(), End> {
        if now.duration_since(self.heard) > 2 * PING_INTERVAL {
            return Err(End::Close(CloseReason::SILENT.into()));
        }
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), End> {
        match timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Gone),
        }
    }
}
