//! MQTT over WebSocket (MQTT 5.0, chapter 6): the bytes of binary messages, in order, are the connection.
//!
//! Pages of other sites are turned away by the guard like everywhere else: a browser would let them in without asking,
//! as whoever sits at this machine.

use std::io;
use std::net::SocketAddr;

use axum::body::Bytes;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::{SinkExt, StreamExt, future};
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};
use voltree_actors::mqtt::Carrier;

use super::{Served, refusal};

/// What a client must offer to speak (MQTT 5.0, 6.0.0-3).
const PROTOCOL: &str = "mqtt";
/// The largest message; packets may be spread over several.
const MAX_MESSAGE_BYTES: usize = 1024 * 1024;

/// Opens the WebSocket, and lets the broker take it from there.
pub(super) async fn enter(
    State(served): State<Served>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) if headers.contains_key(header::UPGRADE) => return rejection.into_response(),
        Err(_no_websocket_asked_for) => {
            let message = "this address is for MQTT over WebSocket, with the subprotocol mqtt";
            return refusal(StatusCode::UPGRADE_REQUIRED, "websocket_only", message);
        }
    };
    let upgrade = upgrade.max_message_size(MAX_MESSAGE_BYTES).protocols([PROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        let message = "the client has to offer the subprotocol mqtt";
        return refusal(StatusCode::BAD_REQUEST, "no_subprotocol", message);
    }
    let sockets = served.fleet.sockets;
    upgrade.on_upgrade(move |socket| async move {
        // One too many is closed by dropping it; the broker has counted and told it.
        sockets.enter_mqtt(carrier(socket), peer);
    })
}

fn carrier(socket: WebSocket) -> Carrier {
    let (out, heard) = socket.split();
    let heard = heard.filter_map(|message| {
        future::ready(match message {
            Ok(Message::Binary(bytes)) => Some(Ok(bytes)),
            // MQTT is bytes, and text is a protocol error (6.0.0-1).
            Ok(Message::Text(_)) => {
                Some(Err(io::Error::new(io::ErrorKind::InvalidData, "text instead of bytes")))
            }
            Ok(Message::Ping(_) | Message::Pong(_) | Message::Close(_)) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        })
    });
    let out = out
        .sink_map_err(io::Error::other)
        .with(|bytes: Bytes| future::ready(Ok::<_, io::Error>(Message::Binary(bytes))));
    Box::new(tokio::io::join(StreamReader::new(heard), SinkWriter::new(CopyToBytes::new(out))))
}
