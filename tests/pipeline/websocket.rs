//! MQTT over WebSocket: the console's port takes MQTT clients at /mqtt, by the same rules as the listener.

use bytes::{Buf, Bytes, BytesMut};
use futures::{SinkExt, StreamExt};
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use voltree_protocols::mqtt::{Packet, PacketCodec, Publish, QoS};

use crate::support::mqtt::{telemetry, topic};
use crate::support::node::{Node, Site};
use crate::support::now_ms;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open(node: &Node, headers: &[(&'static str, &'static str)]) -> Result<Socket, Error> {
    let mut request = format!("{}/mqtt", node.http.replace("http://", "ws://")).into_client_request()?;
    for (name, value) in headers {
        request.headers_mut().insert(*name, HeaderValue::from_static(value));
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

const CONNECT: &[u8] = &[0x10, 15, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 3, b'w', b'e', b'b'];

/// Sends bytes in messages of a few bytes each: packets need not end where messages do.
async fn send(socket: &mut Socket, mut bytes: &[u8]) {
    while bytes.has_remaining() {
        let piece = bytes.copy_to_bytes(bytes.remaining().min(5));
        socket.send(Message::Binary(piece)).await.unwrap();
    }
}

async fn packet(socket: &mut Socket, codec: &mut PacketCodec) -> Packet {
    let mut heard = BytesMut::new();
    loop {
        if let Some(packet) = codec.decode(&mut heard).unwrap() {
            return packet;
        }
        match socket.next().await.unwrap().unwrap() {
            Message::Binary(bytes) => heard.extend(bytes),
            other => panic!("no bytes: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_over_websocket_is_answered_after_the_commit_like_any_other() {
    let site = Site::new();
    let node = site.start().await;
    let mut socket = open(&node, &[("sec-websocket-protocol", "mqtt")]).await.unwrap();
    let mut codec = PacketCodec::default();
    send(&mut socket, CONNECT).await;
    assert!(matches!(packet(&mut socket, &mut codec).await, Packet::ConnAck(_)));
    let mut publish = Publish::new(topic("web"), QoS::AtLeastOnce, telemetry("web", now_ms(), &[("n", 7.0)]));
    publish.pkid = 9;
    let mut bytes = BytesMut::new();
    publish.write(&mut bytes).unwrap();
    send(&mut socket, &bytes).await;
    assert!(matches!(packet(&mut socket, &mut codec).await, Packet::PubAck(ack) if ack.pkid == 9));
    assert_eq!(node.ledger_settled("web", 1).await.stored, 1);
    let query = "{ deviceLatestMetric(deviceId: \"web\", metricName: \"n\") { value } }";
    assert_eq!(node.query(query, json!({})).await["deviceLatestMetric"]["value"], 7.0);

    // Text is no MQTT: the connection ends, and the node goes on.
    socket.send(Message::text("hello")).await.unwrap();
    while let Some(Ok(_)) = socket.next().await {}
    let mut again = open(&node, &[("sec-websocket-protocol", "mqtt")]).await.unwrap();
    again.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    send(&mut again, CONNECT).await;
    assert!(matches!(again.next().await.unwrap().unwrap(), Message::Pong(_)));
    assert_eq!(node.stop().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_and_clients_without_the_subprotocol_are_turned_away() {
    let site = Site::new();
    let node = site.start().await;
    let refused = |outcome: Result<Socket, Error>| match outcome {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("let in: {other:?}"),
    };
    let foreign = [("sec-websocket-protocol", "mqtt"), ("origin", "https://elsewhere.example")];
    assert_eq!(refused(open(&node, &foreign).await), 403);
    assert_eq!(refused(open(&node, &[]).await), 400);
    assert_eq!(node.get("/mqtt").await.status().as_u16(), 426);
    assert_eq!(node.stop().await, Some(0));
}
