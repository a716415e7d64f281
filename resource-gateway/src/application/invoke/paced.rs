//! A vendor's body, read under the clock.

use std::{
    future::Future as _,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::{
    domain::fault::{Fault, FaultClass},
    ports::transport::{TransportError, UpstreamBody},
};

/// Reads a body; a pause that is too long, or the end of the call's time, is a fault.
pub(in crate::application) struct Paced {
    body: UpstreamBody,
    idle: Duration,
    /// When the whole call must be over.
    deadline: Instant,
    last: Instant,
    /// One timer for the body's whole life, made when the body first has to be waited for. It is not moved for every piece: when it
    /// rings early, it is set again.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Paced {
    pub(in crate::application) fn new(body: UpstreamBody, idle: Duration, deadline: Instant) -> Self {
        Self {
            body,
            idle,
            deadline,
            last: Instant::now(),
            timer: None,
        }
    }

    /// From now on pauses must be shorter than this.
    pub(super) fn hurry(&mut self, idle: Duration) {
        self.idle = idle;
        self.last = Instant::now();
        self.timer = None;
    }

    /// The next bytes; `None` at the end.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Fault>>> {
        loop {
            match self.body.as_mut().poll_frame(cx) {
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(fault_of(error)))),
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers say nothing that is needed.
                    let Ok(bytes) = frame.into_data() else { continue };
                    self.last = Instant::now();
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Poll::Pending => break,
            }
        }
        let due = self.due();
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        loop {
            ready!(timer.as_mut().poll(cx));
            let due = (self.last + self.idle).min(self.deadline);
            if Instant::now() >= due {
                return Poll::Ready(Some(Err(Fault::of(FaultClass::Timeout))));
            }
            timer.as_mut().reset(due);
        }
    }

    fn due(&self) -> Instant {
        (self.last + self.idle).min(self.deadline)
    }

    async fn next(&mut self) -> Option<Result<Bytes, Fault>> {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The whole body, in one piece: without a copy when it came in one.
    ///
    /// # Errors
    /// It broke, took too long, or is longer than `limit`.
    pub(in crate::application) async fn collect(mut self, limit: usize) -> Result<Bytes, Fault> {
        let Some(first) = self.next().await.transpose()? else {
            return Ok(Bytes::new());
        };
        // A body that came whole needs no second look, which would have to wait for the connection's own task.
        if self.body.is_end_stream() {
            return within(first, limit);
        }
        let Some(second) = self.next().await.transpose()? else {
            return within(first, limit);
        };
        let mut whole = Vec::with_capacity((first.len() + second.len()) * 2);
        whole.extend_from_slice(&first);
        whole.extend_from_slice(&second);
        while let Some(piece) = self.next().await.transpose()? {
            if whole.len() + piece.remaining() > limit {
                return Err(Fault::of(FaultClass::InvalidReply));
            }
            whole.extend_from_slice(&piece);
        }
        within(whole.into(), limit)
    }

    /// The beginning of the body, as much as comes without trouble: for errors, whose text may be missing.
    pub(super) async fn collect_some(mut self, limit: usize) -> Bytes {
        let mut some = Vec::new();
        while let Some(Ok(piece)) = self.next().await {
            let room = limit.saturating_sub(some.len());
            some.extend(piece.iter().take(room));
            if room <= piece.len() {
                break;
            }
        }
        some.into()
    }
}

fn within(bytes: Bytes, limit: usize) -> Result<Bytes, Fault> {
    if bytes.len() > limit {
        Err(Fault::of(FaultClass::InvalidReply))
    } else {
        Ok(bytes)
    }
}

pub(in crate::application) fn fault_of(error: TransportError) -> Fault {
    match error {
        TransportError::Connect | TransportError::Broken => Fault::of(FaultClass::Transport),
        TransportError::ConnectTimeout | TransportError::HeadTimeout => Fault::of(FaultClass::Timeout),
        TransportError::NotInstalled(program) => Fault::not_installed(program),
    }
}
