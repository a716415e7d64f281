//! What one connection may take: time for a head, for a body, for reading our answer, for doing nothing.
//!
//! A connection has one alarm, and requests do not touch it: they leave marks in [`Pulse`], and the alarm looks at the marks when
//! it goes off. Only a connection that is late with something costs more than the marks.

use std::{
    future::{Future as _, poll_fn},
    io,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::BoxError;
use http_body::{Body, Frame, SizeHint};
use hyper_util::server::graceful::GracefulConnection;
use pin_project_lite::pin_project;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf},
    runtime::Handle,
    time::{Instant, Sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{config::Problem, turn::Turn};

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

/// Marks of what a connection is doing, written in passing.
#[derive(Debug)]
pub(crate) struct Pulse {
    born: Instant,
    requests: AtomicU32,
    /// When the wait for a head began, in milliseconds since birth, times two; the lowest bit tells a head that has begun from an
    /// idle connection.
    quiet_since: AtomicU64,
    /// When the peer stopped taking what we write, in milliseconds since birth, plus one; 0 when it takes it.
    blocked_since: AtomicU64,
}

/// What a connection is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Requests are being answered.
    Busy,
    /// Until then the peer must have moved.
    Peer(Instant),
    /// Until then the peer may be idle.
    Idle(Instant),
}

impl Pulse {
    /// A connection whose first head counts as begun at once: who connects has something to say.
    pub(crate) fn new() -> Self {
        Self {
            born: Instant::now(),
            requests: AtomicU32::new(0),
            quiet_since: AtomicU64::new(1),
            blocked_since: AtomicU64::new(0),
        }
    }

    pub(crate) fn born(&self) -> Instant {
        self.born
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }

    fn instant(&self, millis: u64) -> Instant {
        self.born + Duration::from_millis(millis)
    }

    /// A request has been read; it ends when the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    fn idle_from_now(&self) {
        self.quiet_since.store(self.now() << 1, Ordering::Relaxed);
    }

    fn has_read(&self) {
        if self.requests.load(Ordering::Relaxed) == 0 && self.quiet_since.load(Ordering::Relaxed) & 1 == 0 {
            self.quiet_since.store(self.now() << 1 | 1, Ordering::Relaxed);
        }
    }

    fn has_written(&self) {
        if self.blocked_since.load(Ordering::Relaxed) != 0 {
            self.blocked_since.store(0, Ordering::Relaxed);
            // The tail of a long answer may leave after its request has ended; the peer has been busy with it.
            if self.quiet_since.load(Ordering::Relaxed) & 1 == 0 {
                self.idle_from_now();
            }
        }
    }

    fn cannot_write(&self) {
        if self.blocked_since.load(Ordering::Relaxed) == 0 {
            self.blocked_since.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    fn wait(&self, limits: &Limits) -> Wait {
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        if blocked != 0 {
            return Wait::Peer(self.instant(blocked - 1) + limits.write);
        }
        // Pairs with the release of the last `InFlight`: with none left, its mark is seen.
        if self.requests.load(Ordering::Acquire) > 0 {
            return Wait::Busy;
        }
        let quiet = self.quiet_since.load(Ordering::Relaxed);
        let since = self.instant(quiet >> 1);
        match quiet & 1 {
            1 => Wait::Peer(since + limits.head),
            _ => Wait::Idle(since + limits.idle),
        }
    }
}

/// A request that is being answered, until the last byte of its response has been handed over.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Pulse>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.idle_from_now();
        self.0.requests.fetch_sub(1, Ordering::Release);
    }
}

/// HTTP version of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// What every HTTP/2 connection begins with (RFC 9113 §3.4).
const PREFACE: [u8; 24] = *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A connection's stream that marks its [`Pulse`].
#[derive(Debug)]
pub(crate) struct Marked<S> {
    stream: S,
    pulse: Arc<Pulse>,
    version: Version,
    /// First bytes, read to tell the version.
    first: [u8; PREFACE.len()],
    /// The part of `first` that is still to be handed on.
    unread: std::ops::Range<usize>,
    turn: Turn,
    before_write: BeforeWrite,
}

/// Runs before anything is written to a client; see [`crate::BoundListener::before_writes`].
#[derive(Clone, Default)]
pub(crate) struct BeforeWrite(pub(crate) Option<Arc<dyn Fn() + Send + Sync>>);

impl std::fmt::Debug for BeforeWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BeforeWrite")
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Marked<S> {
    /// Reads just enough to tell the HTTP version. `None` when the peer hangs up before it has said anything.
    pub(crate) async fn open(mut stream: S, pulse: Arc<Pulse>, before_write: BeforeWrite) -> io::Result<Option<Self>> {
        let mut first = [0; PREFACE.len()];
        let mut length = 0;
        let version = loop {
            let Some(rest) = first.get_mut(length..).filter(|rest| !rest.is_empty()) else {
                break Version::Http2;
            };
            match stream.read(rest).await? {
                0 if length == 0 => return Ok(None),
                0 => break Version::Http1,
                read => length += read,
            }
            if first.get(..length) != PREFACE.get(..length) {
                break Version::Http1;
            }
        };
        if version == Version::Http2 {
            // From here on, frames of all kinds come at any time; what counts is requests.
            pulse.idle_from_now();
        }
        Ok(Some(Self {
            stream,
            pulse,
            version,
            first,
            unread: 0..length,
            turn: Turn::default(),
            before_write,
        }))
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    fn write(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let Self {
            stream,
            pulse,
            turn,
            before_write,
            ..
        } = self;
        turn.write(cx, |cx| {
            if let Some(run) = &before_write.0 {
                run();
            }
            let result = write(Pin::new(stream), cx);
            match result {
                Poll::Ready(_) => pulse.has_written(),
                Poll::Pending => pulse.cannot_write(),
            }
            result
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Marked<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let count = self.unread.len().min(buffer.remaining());
            let from = self.unread.start;
            if let Some(bytes) = self.first.get(from..from + count) {
                buffer.put_slice(bytes);
            }
            self.unread.start += count;
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let result = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        if self.version == Version::Http1 && buffer.filled().len() > before {
            self.pulse.has_read();
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Marked<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(cx, |stream, cx| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, |stream, cx| stream.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        if result.is_pending() {
            self.pulse.cannot_write();
        }
        result
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

pin_project! {
    /// A response body that keeps its request in flight.
    #[derive(Debug)]
    pub(crate) struct Tracked<B> {
        #[pin]
        pub(crate) body: B,
        pub(crate) in_flight: InFlight,
    }
}

impl<B: Body> Body for Tracked<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What is read of a body behind an answer that did not need it.
const REST_BYTES: usize = 128 << 10;
const REST_TIME: Duration = Duration::from_secs(1);

/// A request body of which a little more is read when it is dropped before its end.
///
/// Clients send the body of a request that is refused by its head all the same, and then their next request. A connection that
/// was closed meanwhile, of which they could not have known (RFC 9112 §9.6), fails that one.
#[derive(Debug)]
pub(crate) struct ReadBehind<B: Body + Send + Unpin + 'static>(Option<B>);

impl<B: Body + Send + Unpin + 'static> ReadBehind<B> {
    pub(crate) fn new(body: B) -> Self {
        Self(Some(body))
    }
}

impl<B: Body + Send + Unpin + 'static> Body for ReadBehind<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl<B: Body + Send + Unpin + 'static> Drop for ReadBehind<B> {
    fn drop(&mut self) {
        let Some(body) = self.0.take().filter(|body| !body.is_end_stream()) else {
            return;
        };
        // Not waited for at a shutdown: it ends with its connection, and soon.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(timeout(REST_TIME, read_rest(body)));
        }
    }
}

async fn read_rest<B: Body + Unpin>(mut body: B) {
    let mut left = REST_BYTES;
    while let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let count = frame.data_ref().map_or(0, bytes::Buf::remaining);
        let Some(less) = left.checked_sub(count) else { return };
        left = less;
    }
}

/// A request body did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the request body came too slowly")]
pub struct StalledBody;

pin_project! {
    /// A request body that fails with [`StalledBody`] when its sender stalls.
    ///
    /// Time counts only while the service waits for the sender: a handler that takes its time costs the sender nothing. An
    /// allowance of [`Limits::body`] is used up by waiting and filled again by what comes, a second for each
    /// [`Limits::body_rate`] bytes. So an upload may be slow, and pause, and take hours; it may not stand still or drip.
    #[derive(Debug)]
    pub struct BodyTimeout<B> {
        #[pin]
        body: B,
        full: Duration,
        per_byte: Duration,
        allowance: Duration,
        waiting: Option<Instant>,
        // Made at the first wait: most bodies are there with their head.
        #[pin]
        alarm: Option<Sleep>,
    }
}

impl<B> BodyTimeout<B> {
    pub fn new(body: B, limits: &Limits) -> Self {
        Self {
            body,
            full: limits.body,
            per_byte: Duration::from_secs(1) / limits.body_rate.max(1),
            allowance: limits.body,
            waiting: None,
            alarm: None,
        }
    }
}

impl<B> Body for BodyTimeout<B>
where
    B: Body,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        if let Poll::Ready(frame) = this.body.poll_frame(cx) {
            if let Some(since) = this.waiting.take() {
                *this.allowance = this.allowance.saturating_sub(since.elapsed());
            }
            if let Some(data) = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()) {
                let count = u32::try_from(bytes::Buf::remaining(data)).unwrap_or(u32::MAX);
                let earned = this.per_byte.saturating_mul(count);
                *this.allowance = this.allowance.saturating_add(earned).min(*this.full);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let since = *this.waiting.get_or_insert_with(Instant::now);
        let deadline = since + *this.allowance;
        if this.alarm.is_none() {
            this.alarm.set(Some(sleep_until(deadline)));
        }
        let Some(mut alarm) = this.alarm.as_mut().as_pin_mut() else {
            return Poll::Pending;
        };
        // An alarm that was set for an earlier wait goes off early and is set again then, which is cheaper than at each wait.
        if alarm.deadline() > deadline {
            alarm.as_mut().reset(deadline);
        }
        loop {
            ready!(alarm.as_mut().poll(cx));
            if deadline <= Instant::now() {
                return Poll::Ready(Some(Err(StalledBody.into())));
            }
            alarm.as_mut().reset(deadline);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
