//! Sockets: a port per vendor, and replies sent piece by piece.

use std::{
    collections::BTreeMap,
    io,
    net::TcpListener,
    sync::{Arc, Mutex},
};

use axum::{
    body::{Body, Bytes},
    http::{self, Response},
};
use futures_util::{StreamExt as _, future::join_all, stream};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

use super::{
    State, VENDORS,
    faults::{self, HungUp, Outgoing, Piece},
    sockets::{self, Opened},
    wire::Request,
};

/// Opens the ports and serves them on a thread of its own; answers their addresses.
pub(super) fn start(state: &Arc<State>) -> BTreeMap<&'static str, String> {
    let listeners: Vec<(&'static str, TcpListener)> = VENDORS
        .into_iter()
        .chain(["control"])
        .map(|vendor| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            (vendor, listener)
        })
        .collect();
    let addresses = listeners
        .iter()
        .map(|(vendor, listener)| (*vendor, listener.local_addr().unwrap().to_string()))
        .collect();
    let state = Arc::clone(state);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        // Sockets are registered within the runtime.
        runtime.block_on(async {
            let served = listeners.into_iter().map(|(vendor, listener)| {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                accept(vendor, listener, Arc::clone(&state))
            });
            join_all(served).await
        });
    });
    addresses
}

async fn accept(vendor: &'static str, listener: tokio::net::TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (socket, _) = accepted.unwrap();
                // Small pieces have to leave as they are written.
                socket.set_nodelay(true).unwrap();
                let state = Arc::clone(&state);
                connections.spawn(async move {
                    let opened = Mutex::default();
                    let service = service_fn(|request| respond(vendor, &state, &opened, request));
                    // An error here is a connection that one of both sides ended.
                    let _ = http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .with_upgrades()
                        .await;
                    let opened = opened.into_inner().unwrap();
                    if let Some(opened) = opened {
                        sockets::converse(opened, &state).await;
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn respond(
    vendor: &'static str,
    state: &State,
    opened: &Mutex<Option<Opened>>,
    mut request: http::Request<Incoming>,
) -> Result<Response<Body>, io::Error> {
    let upgrade = hyper::upgrade::on(&mut request);
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let request = Request {
        vendor,
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body,
    };
    if sockets::is_spoken_by(vendor) {
        return Ok(match sockets::shake(&request) {
            Ok(answer) => {
                *opened.lock().unwrap() = Some(Opened { request, upgrade });
                answer.map(|()| Body::empty())
            }
            Err(refused) => send(faults::send_whole(refused, None)),
        });
    }
    if vendor != "control" {
        state.calls.lock().unwrap().push(request.clone());
    }
    match state.answer(&request) {
        Ok(outgoing) => Ok(send(outgoing)),
        Err(HungUp) => Err(io::Error::other("asked to hang up")),
    }
}

fn send(outgoing: Outgoing) -> Response<Body> {
    let mut response = Response::builder().status(outgoing.status);
    for (name, value) in outgoing.headers {
        response = response.header(name, value);
    }
    if let Some(length) = outgoing.length {
        response = response.header("content-length", length);
    }
    let body = match outgoing.pieces.as_slice() {
        [Piece::Bytes(only)] if outgoing.length.is_some() => Body::from(only.clone()),
        _ => Body::from_stream(played(outgoing.pieces)),
    };
    response.body(body).unwrap()
}

/// The pieces one after the other, each in a write of its own.
fn played(pieces: Vec<Piece>) -> impl futures_util::Stream<Item = io::Result<Bytes>> {
    stream::iter(pieces).filter_map(|piece| async {
        match piece {
            Piece::Bytes(bytes) => {
                // Lets the connection flush what it was given before.
                tokio::task::yield_now().await;
                Some(Ok(bytes))
            }
            Piece::Pause(pause) => {
                tokio::time::sleep(pause).await;
                None
            }
            Piece::Break => Some(Err(io::Error::other("asked to break"))),
        }
    })
}
