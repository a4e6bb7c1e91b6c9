//! Subscriptions over a real socket, as a client of graphql-transport-ws speaks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use voltree_actors::fleet::{CommandStatus, CommandView};

use crate::fleet::{begun, id, killed, reading, remembered};
use crate::support::Api;

/// No answer takes this long; what does not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(60);

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// A served API; it stops when this is dropped.
struct Served {
    api: Api,
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

#[expect(clippy::disallowed_methods, reason = "a test's server; it ends with the test")]
async fn served() -> Served {
    let api = Api::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let router = api.router.clone();
    tokio::spawn(voltree_api::serve(listener, router, async move {
        stopped.await.ok();
    }));
    Served { api, address, _stop: stop }
}

impl Served {
    async fn connect(&self, path: &str, headers: &[(&'static str, &str)]) -> Result<Client, Error> {
        let mut request = format!("ws://{}{path}", self.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        connect_async(request).await.map(|(stream, _)| Client(stream))
    }

    async fn client(&self) -> Client {
        let mut client = self.connect("/graphql", &[PROTOCOL]).await.unwrap();
        client.say(&json!({ "type": "connection_init" })).await;
        assert_eq!(client.hear().await, json!({ "type": "connection_ack" }));
        client
    }
}

const PROTOCOL: (&str, &str) = ("sec-websocket-protocol", "graphql-transport-ws");

impl Client {
    async fn say(&mut self, message: &Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    async fn subscribe(&mut self, id: &str, query: &str) {
        self.say(&json!({ "type": "subscribe", "id": id, "payload": { "query": query } })).await;
    }

    async fn next(&mut self) -> Message {
        tokio::time::timeout(PATIENCE, self.0.next()).await.expect("nothing came").unwrap().unwrap()
    }

    async fn hear(&mut self) -> Value {
        serde_json::from_str(self.next().await.to_text().unwrap()).unwrap()
    }

    async fn hear_close(&mut self) -> u16 {
        let message = self.next().await;
        let Message::Close(Some(frame)) = message else { panic!("expected a close, got {message:?}") };
        frame.code.into()
    }

    /// Returns once the server has taken in everything said before.
    async fn settle(&mut self) {
        self.say(&json!({ "type": "ping" })).await;
        assert_eq!(self.hear().await, json!({ "type": "pong" }));
    }
}

/// A subscription starts when its stream is polled first; waits until it listens.
async fn until_listening(receivers: impl Fn() -> usize, wanted: usize) {
    let listening = async {
        while receivers() != wanted {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, listening).await.expect("the subscription never listened");
}

const VOLTAGE: &str =
    "subscription { telemetryReceived(deviceId: \"pack-1\") { metricName value unit time } }";

#[tokio::test]
async fn every_metric_of_a_devices_reading_is_a_message_and_other_devices_are_none() {
    let served = served().await;
    let live = &served.api.fleet.live;
    let mut client = served.client().await;
    client.subscribe("t", VOLTAGE).await;
    until_listening(|| live.receiver_count(), 1).await;
    live.send(reading("shed", 12.0)).unwrap();
    live.send(reading("pack-1", 52.5)).unwrap();
    let point = |name, value, unit| {
        let point =
            json!({ "metricName": name, "value": value, "unit": unit, "time": "2026-01-15T10:00:00Z" });
        json!({ "type": "next", "id": "t", "payload": { "data": { "telemetryReceived": point } } })
    };
    assert_eq!(client.hear().await, point("pack_voltage", 52.5, "V"));
    assert_eq!(client.hear().await, point("soc_percent", 81.5, "%"));
    client.say(&json!({ "type": "complete", "id": "t" })).await;
    until_listening(|| live.receiver_count(), 0).await;
    client.settle().await;
}

#[tokio::test]
async fn a_client_that_lags_is_told_how_much_it_missed_and_goes_on() {
    let served = served().await;
    let live = &served.api.fleet.live;
    let mut client = served.client().await;
    client.subscribe("t", VOLTAGE).await;
    until_listening(|| live.receiver_count(), 1).await;
    // The bus holds eight, and this test's runtime has one thread: nobody reads while this loop runs.
    for number in 0..11 {
        live.send(reading("pack-1", f64::from(number))).unwrap();
    }
    let told = client.hear().await;
    let error = &told["payload"]["errors"][0];
    assert_eq!((&told["type"], &error["extensions"]["code"]), (&json!("next"), &json!("LAGGED")), "{told}");
    assert_eq!(error["extensions"]["missed"], 3);
    assert!(error["message"].as_str().unwrap().contains("missed 3 readings"), "{told}");
    let first = client.hear().await;
    assert_eq!(first["payload"]["data"]["telemetryReceived"]["value"], 3.0, "{first}");
}

#[tokio::test]
async fn a_device_is_told_whenever_it_changes_and_only_those_that_were_asked_for() {
    let served = served().await;
    let changes = &served.api.fleet.changes;
    let mut client = served.client().await;
    client.subscribe("one", "subscription { deviceUpdated(deviceId: \"shed\") { id state } }").await;
    until_listening(|| changes.receiver_count(), 1).await;
    for device in ["pack-1", "gone", "shed"] {
        changes.send(id(device)).unwrap();
    }
    let update = client.hear().await;
    assert_eq!(update["payload"]["data"]["deviceUpdated"], json!({ "id": "shed", "state": "OFFLINE" }));
    client.subscribe("all", "subscription { deviceUpdated { id } }").await;
    until_listening(|| changes.receiver_count(), 2).await;
    changes.send(id("pack-1")).unwrap();
    let update = client.hear().await;
    assert_eq!(
        (&update["id"], &update["payload"]["data"]["deviceUpdated"]["id"]),
        (&json!("all"), &json!("pack-1"))
    );
    client.subscribe("none", "subscription { deviceUpdated(deviceId: \"nobody\") { id } }").await;
    assert_eq!(client.hear().await["payload"]["errors"][0]["extensions"]["code"], "NOT_FOUND");
}

#[tokio::test]
async fn supervision_events_arrive_as_they_happen() {
    let served = served().await;
    let events = &served.api.fleet.events;
    let mut client = served.client().await;
    client.subscribe("s", "subscription { supervisionEvent { event path reasonKind } }").await;
    until_listening(|| events.receiver_count(), 1).await;
    events.send(killed()).unwrap();
    let expected = json!({ "event": "failed", "path": "node/devices/pack-1", "reasonKind": "killed" });
    assert_eq!(client.hear().await["payload"]["data"]["supervisionEvent"], expected);
}

#[tokio::test]
async fn alerts_arrive_as_they_begin() {
    let served = served().await;
    let alerts = &served.api.fleet.alerts;
    let mut client = served.client().await;
    client.subscribe("a", "subscription { alertTriggered { id deviceId severity status } }").await;
    until_listening(|| alerts.receiver_count(), 1).await;
    alerts.send(Arc::new(begun())).unwrap();
    let expected = json!({ "id": "a-2", "deviceId": "pack-1", "severity": "CRITICAL", "status": "ACTIVE" });
    assert_eq!(client.hear().await["payload"]["data"]["alertTriggered"], expected);
}

#[tokio::test]
async fn questions_are_answered_on_the_same_socket() {
    let served = served().await;
    let mut client = served.client().await;
    client.subscribe("q", "{ node { name } }").await;
    let answer =
        json!({ "type": "next", "id": "q", "payload": { "data": { "node": { "name": "barn-1" } } } });
    assert_eq!(client.hear().await, answer);
    assert_eq!(client.hear().await, json!({ "type": "complete", "id": "q" }));
    client.subscribe("q", "{ node { nam").await;
    let refused = client.hear().await;
    assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &json!("q")));
    assert!(refused["payload"][0]["message"].is_string(), "{refused}");
    client.settle().await;
}

#[tokio::test]
async fn watching_a_device_that_nobody_knows_is_an_error() {
    let served = served().await;
    let mut client = served.client().await;
    client.subscribe("t", "subscription { telemetryReceived(deviceId: \"nobody\") { value } }").await;
    let refused = client.hear().await;
    assert_eq!(refused["payload"]["errors"][0]["extensions"]["code"], "NOT_FOUND", "{refused}");
    assert_eq!(client.hear().await, json!({ "type": "complete", "id": "t" }));
}

#[tokio::test]
async fn a_client_that_breaks_the_protocol_is_told_by_the_close_code() {
    let served = served().await;
    let mut eager = served.connect("/graphql/ws", &[PROTOCOL]).await.unwrap();
    eager.subscribe("t", VOLTAGE).await;
    assert_eq!(eager.hear_close().await, 4401);
    let mut garbled = served.client().await;
    garbled.say(&json!("hello")).await;
    assert_eq!(garbled.hear_close().await, 4400);
    let mut twice = served.client().await;
    twice.subscribe("t", VOLTAGE).await;
    twice.subscribe("t", VOLTAGE).await;
    assert_eq!(twice.hear_close().await, 4409);
    let mut other = served.connect("/graphql", &[]).await.unwrap();
    assert_eq!(other.hear_close().await, 4406);
}

/// With paused time the clock jumps to the next deadline as soon as nobody has anything left to do.
#[tokio::test(start_paused = true)]
async fn a_client_that_never_introduces_itself_must_leave() {
    let served = served().await;
    let mut silent = served.connect("/graphql", &[PROTOCOL]).await.unwrap();
    let Some(Ok(Message::Close(Some(frame)))) = silent.0.next().await else { panic!("not closed") };
    assert_eq!(u16::from(frame.code), 4408);
}

#[tokio::test]
async fn a_foreign_page_gets_no_socket() {
    let served = served().await;
    let foreign = served.connect("/graphql", &[PROTOCOL, ("origin", "http://evil.example")]).await;
    assert!(matches!(foreign, Err(Error::Http(response)) if response.status() == 403));
    let own = format!("http://{}", served.address);
    assert!(served.connect("/graphql", &[PROTOCOL, ("origin", &own)]).await.is_ok());
}

#[tokio::test]
async fn a_command_is_told_as_it_is_and_then_as_it_changes() {
    let served = served().await;
    let changes = &served.api.fleet.commands;
    let mut client = served.client().await;
    client.subscribe("c", "subscription { commandStatusChanged(commandId: \"c-2\") { id status } }").await;
    let told = client.hear().await;
    let of = |status: &str| json!({ "id": "c-2", "status": status });
    assert_eq!(told["payload"]["data"]["commandStatusChanged"], of("ACKNOWLEDGED"));
    let executed = CommandView { status: CommandStatus::Executed, ..remembered() };
    changes.send(CommandView { id: "c-3".to_owned(), ..executed.clone() }).unwrap();
    changes.send(executed).unwrap();
    assert_eq!(client.hear().await["payload"]["data"]["commandStatusChanged"], of("EXECUTED"));
    client.subscribe("none", "subscription { commandStatusChanged(commandId: \"c-9\") { id } }").await;
    assert_eq!(client.hear().await["payload"]["errors"][0]["extensions"]["code"], "NOT_FOUND");
}
