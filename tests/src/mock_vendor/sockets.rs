//! WebSockets (RFC 6455): a handshake, one message that asks, and messages that answer.

use axum::http::{HeaderName, Response, StatusCode, header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_websockets::{CloseCode, Config, Message, ServerBuilder};

use super::{
    State,
    faults::{HungUp, Piece},
    spark_socket,
    wire::{Request, Whole},
};

/// What we say goes out in fragments of so many bytes: within characters, as a server may.
const FRAGMENT: usize = 29;

/// Whose port takes nothing else.
pub(super) fn is_spoken_by(vendor: &str) -> bool {
    vendor == "spark-websocket"
}

/// A connection on which the handshake was taken; the request is still without what is asked.
pub(super) struct Opened {
    pub(super) request: Request,
    pub(super) upgrade: OnUpgrade,
}

/// Takes a handshake (RFC 6455 §4.2), or says why not.
pub(super) fn shake(request: &Request) -> Result<Response<()>, Whole> {
    spark_socket::door(request)?;
    let says = |name: HeaderName, wanted: &str| {
        let value = request.header(name.as_str()).unwrap_or_default();
        value.split(',').any(|word| word.trim().eq_ignore_ascii_case(wanted))
    };
    let key = request.header("sec-websocket-key").unwrap_or_default();
    let sound = says(header::CONNECTION, "upgrade")
        && says(header::UPGRADE, "websocket")
        && says(header::SEC_WEBSOCKET_VERSION, "13")
        && STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16)
        && request.body.is_empty();
    if !sound {
        return Err(spark_socket::no_handshake());
    }
    let accepted = openssl::sha::sha1(format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes());
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, STANDARD.encode(accepted));
    Ok(response.body(()).unwrap())
}

/// Hears what is asked and answers it. Whoever leaves early is not missed.
pub(super) async fn converse(opened: Opened, state: &State) {
    let Opened { mut request, upgrade } = opened;
    let Ok(connection) = upgrade.await else { return };
    let config = Config::default().frame_size(FRAGMENT);
    let mut socket = ServerBuilder::new().config(config).serve(TokioIo::new(connection));
    let Some(Ok(asked)) = socket.next().await else { return };
    // What is binary is no JSON, and is answered as such.
    if asked.is_text() {
        request.body = asked.into_payload().into();
    }
    state.calls.lock().unwrap().push(request.clone());
    let outgoing = match state.answer(&request) {
        Ok(outgoing) => outgoing,
        Err(HungUp) => return,
    };
    for piece in outgoing.pieces {
        let sent = match piece {
            Piece::Bytes(said) => {
                // Between any two messages.
                let pinged = socket.send(Message::ping("still there?")).await;
                let text = String::from_utf8(said.into()).unwrap();
                pinged.and(socket.send(Message::text(text)).await)
            }
            Piece::Pause(pause) => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            Piece::Break => return,
        };
        if sent.is_err() {
            return;
        }
    }
    let _ = socket.send(Message::close(Some(CloseCode::NORMAL_CLOSURE), "")).await;
    while let Some(Ok(_)) = socket.next().await {}
}
