//! What one connection may take: time for a head, for a body, for reading our answer, for doing nothing.
//!
//! A connection has one alarm, and requests do not touch it: they leave marks in [`Pulse`], and the alarm looks at the marks when
//! it goes off. Only a connection that is late with something costs more than the marks.

mod bodies;
mod marked;
mod pulse;

use std::{
    future::{Future as _, poll_fn},
    pin::pin,
    task::{Poll, ready},
    time::Duration,
};

use hyper_util::server::graceful::GracefulConnection;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use self::bodies::{BodyTimeout, StalledBody};
use self::pulse::Wait;
pub(crate) use self::{
    bodies::{ReadBehind, Tracked},
    marked::{BeforeWrite, Marked, Version},
    pulse::Pulse,
};
use crate::config::Problem;

/// What a listener allows its clients. The defaults suit services that face the internet; tests shorten them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A client that has not finished its TLS handshake, or has begun a request head and not finished it, or has never sent
    /// anything, is dropped after this.
    pub head: Duration,
    /// A connection without a request is closed after this. Longer than the 90 s for which common clients (Go, reqwest) keep
    /// connections, so that it is they who close and no request meets a closing connection.
    pub idle: Duration,
    /// A client that takes nothing of an answer for so long is dropped.
    pub write: Duration,
    /// A request body that brings nothing for so long fails; see [`BodyTimeout`].
    pub body: Duration,
    /// Bytes per second that a request body must bring on average once it has used up `body` with waiting. Anything that
    /// somebody waits for is quicker; a byte now and then, which is an attack, is not.
    pub body_rate: u32,
    /// Connections at once, to one listener. More wait, not yet accepted. Never more than half of the files that the process may
    /// have open, so that databases and upstream calls get theirs.
    pub connections: usize,
    /// Of them, connections from one address, or from one /64 of IPv6; one more is closed at once. When files are short it is never
    /// more than half of what is left, unless it is no less than `connections`: then addresses are not told apart.
    pub connections_per_address: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(100),
            write: Duration::from_secs(60),
            body: Duration::from_secs(10),
            body_rate: 500,
            connections: 10_000,
            connections_per_address: 5_000,
        }
    }
}

impl Limits {
    /// What one address may have of `most` places.
    pub(crate) fn per_address(&self, most: usize) -> usize {
        match self.connections_per_address >= self.connections {
            true => usize::MAX,
            false => self.connections_per_address.min(most / 2).max(1),
        }
    }
}

/// Settings of [`Limits`] that operators may want to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionsConfig {
    /// Connections at once to each public listener. More wait. Never more than half of the files that the process may have open.
    pub total: usize,
    /// Connections at once from one address, or from one /64 of IPv6; more are closed. Proxies in `proxy.trusted` and
    /// `mtls.trusted_proxies` are not counted. As much as `total` turns it off.
    pub per_address: usize,
}

impl Default for ConnectionsConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            total: limits.connections,
            per_address: limits.connections_per_address,
        }
    }
}

impl ConnectionsConfig {
    pub fn problems(&self, problems: &mut Vec<Problem>) {
        for (key, value) in [("total", self.total), ("per_address", self.per_address)] {
            if value == 0 {
                problems.push(Problem::new(format!("connections.{key}"), "must be at least 1"));
            }
        }
    }

    pub fn limits(&self) -> Limits {
        Limits {
            connections: self.total,
            connections_per_address: self.per_address,
            ..Limits::default()
        }
    }
}

/// How a connection ended, when it was not the peer who hung up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended<E> {
    #[error("{0}")]
    Broken(E),
    #[error("the client was too slow")]
    Late,
}

/// Runs a connection to its end: its own, the one that its limits set, or the one after `stop`, when what is in flight is
/// finished and nothing more is taken.
pub(crate) async fn drive<C: GracefulConnection>(
    connection: C,
    pulse: &Pulse,
    limits: &Limits,
    stop: CancellationToken,
) -> Result<(), Ended<C::Error>> {
    let mut connection = pin!(connection);
    let mut stop = pin!(stop.cancelled_owned());
    let mut alarm = pin!(sleep_until(pulse.born() + limits.head));
    let mut closing = false;
    // A connection that was idle too long may say good-bye (HTTP/2 GOAWAY), and has until then for it.
    let mut farewell: Option<Instant> = None;
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(end) = connection.as_mut().poll(cx) {
                return Poll::Ready(end.map_err(Ended::Broken));
            }
            if !closing && stop.as_mut().poll(cx).is_ready() {
                closing = true;
                connection.as_mut().graceful_shutdown();
                continue;
            }
            let wait = pulse.wait(limits);
            let due = match wait {
                Wait::Busy => None,
                Wait::Peer(at) => Some(at),
                Wait::Idle(at) => Some(farewell.map_or(at, |by| by.max(at))),
            };
            if let Some(at) = due.filter(|at| *at < alarm.deadline()) {
                alarm.as_mut().reset(at);
            }
            ready!(alarm.as_mut().poll(cx));
            let now = Instant::now();
            match due {
                None => alarm.as_mut().reset(now + limits.idle),
                Some(at) if at > now => alarm.as_mut().reset(at),
                Some(_) if matches!(wait, Wait::Idle(_)) && !closing => {
                    closing = true;
                    farewell = Some(now + limits.head);
                    connection.as_mut().graceful_shutdown();
                }
                Some(_) => return Poll::Ready(Err(Ended::Late)),
            }
        }
    })
    .await
}
