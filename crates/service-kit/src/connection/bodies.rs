//! Bodies of requests and answers, as far as limits are about them.

use std::{
    future::{Future as _, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::BoxError;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::{
    runtime::Handle,
    time::{Instant, Sleep, sleep_until, timeout},
};

use super::{Limits, pulse::InFlight};

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
