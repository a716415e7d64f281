//! A streamed reply: the vendor's bytes on their way to the caller, read as they pass.

use std::{
    convert::Infallible,
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame};

use super::{
    ErrorEvent,
    paced::Paced,
    passing::Head,
    settlement::{Settled, Settlement},
};
use crate::{
    application::{pools::Permit, registry::BoundVendor},
    domain::{fault::Fault, usage::UsageState},
    ports::codec::{Pushed, StreamDecoder, StreamEnd},
};

/// After the end of the answer the vendor has this long to end its body, so that the connection can be used again.
const LINGER: Duration = Duration::from_millis(100);

/// The body of a streamed reply. Dropping it cancels the call at the vendor and settles its usage.
pub struct ReplyStream {
    // Declared before the settlement: the vendor's call ends first.
    upstream: Option<Paced>,
    decoder: Box<dyn StreamDecoder>,
    /// What was read before the reply began.
    first: Bytes,
    phase: Phase,
    complete: bool,
    /// How the stream ends says something about the address, too; dropped before the end it says nothing.
    permit: Permit,
    settlement: Settlement,
    /// Who answers, and may quote its key.
    vendor: Arc<BoundVendor>,
    /// The end of the answer, which waits until it is accounted for: a vendor that does not count makes work.
    held: Option<(Settled, Bytes)>,
    error_event: ErrorEvent,
    /// The vendor's own, where that is passed on.
    head: Option<Box<Head>>,
    /// For the caller, beside the stream.
    notices: HeaderMap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Answering,
    /// The answer is complete and settled; the vendor's body is not at its end yet.
    Lingering,
    Ended,
}

impl std::fmt::Debug for ReplyStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplyStream")
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl ReplyStream {
    pub(super) fn new(
        upstream: Paced,
        decoder: Box<dyn StreamDecoder>,
        first: Pushed,
        (settlement, permit): (Settlement, Permit),
        vendor: Arc<BoundVendor>,
        error_event: ErrorEvent,
    ) -> Self {
        let mut stream = Self {
            upstream: Some(upstream),
            decoder,
            first: Bytes::new(),
            phase: Phase::Answering,
            complete: false,
            permit,
            settlement,
            vendor,
            held: None,
            error_event,
            head: None,
            notices: HeaderMap::new(),
        };
        stream.first = stream.take(first);
        stream
    }

    pub(super) fn with(mut self, head: Option<Box<Head>>) -> Self {
        self.head = head;
        self
    }

    pub(super) fn beside(mut self, notices: HeaderMap) -> Self {
        self.notices = notices;
        self
    }

    /// What the caller is told beside the answer.
    pub fn take_notices(&mut self) -> HeaderMap {
        std::mem::take(&mut self.notices)
    }

    /// The head that the answer has instead of ours.
    pub fn take_head(&mut self) -> Option<Box<Head>> {
        self.head.take()
    }

    /// Whether the answer has come to its end without a fault.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Settles if this was the end; answers the bytes to release afterwards. They may be held.
    fn take(&mut self, pushed: Pushed) -> Bytes {
        self.settlement.sends(&pushed.out);
        match pushed.end {
            None => pushed.out,
            Some(StreamEnd::Complete) => {
                self.permit.succeed();
                self.settlement.first_byte();
                let settled = self.end(UsageState::Completed);
                self.phase = Phase::Lingering;
                self.complete = true;
                if let Some(upstream) = &mut self.upstream {
                    upstream.hurry(LINGER);
                }
                self.release(settled, pushed.out)
            }
            Some(StreamEnd::Failed(mut fault)) => {
                self.vendor.hide_in(&mut fault.words);
                self.fail(pushed.out, &fault)
            }
        }
    }

    /// The headers are out, so the error goes in-band.
    fn fail(&mut self, out: Bytes, fault: &Fault) -> Bytes {
        self.upstream = None;
        self.phase = Phase::Ended;
        self.permit.break_off(fault);
        self.settlement.fault(fault);
        if !out.is_empty() {
            self.settlement.first_byte();
        }
        let settled = self.end(if self.settlement.has_first_byte() {
            UsageState::Incomplete
        } else {
            UsageState::UpstreamError
        });
        let event = (self.error_event)(&fault.to_public());
        if out.is_empty() {
            return self.release(settled, event);
        }
        let mut both = BytesMut::with_capacity(out.len() + event.len());
        both.put(out);
        both.put(event);
        self.release(settled, both.freeze())
    }

    fn end(&mut self, state: UsageState) -> Option<Settled> {
        self.settlement.note(self.decoder.progress());
        self.settlement.answers(self.decoder.take_said());
        self.settlement.end(state)
    }

    /// Lets the end of the answer through, or holds it as long as it is not accounted for.
    fn release(&mut self, settled: Option<Settled>, out: Bytes) -> Bytes {
        match settled {
            None => out,
            Some(settled) => {
                self.held = Some((settled, out));
                Bytes::new()
            }
        }
    }

    /// The next bytes for the caller; empty when the answer has ended.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        while self.phase == Phase::Answering {
            let Some(upstream) = &mut self.upstream else { break };
            let out = match ready!(upstream.poll_next(cx)) {
                Some(Ok(bytes)) => {
                    let pushed = self.decoder.push(bytes);
                    self.take(pushed)
                }
                Some(Err(fault)) => self.fail(Bytes::new(), &fault),
                None => {
                    let pushed = self.decoder.finish();
                    self.upstream = None;
                    self.take(pushed)
                }
            };
            if !out.is_empty() {
                return Poll::Ready(out);
            }
        }
        Poll::Ready(Bytes::new())
    }
}

impl Body for ReplyStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        let mut out = std::mem::take(&mut this.first);
        if out.is_empty() && this.phase == Phase::Answering {
            out = ready!(this.poll_answer(cx));
        }
        if let Some((settled, _)) = &mut this.held {
            ready!(Pin::new(settled).poll(cx));
            out = this.held.take().map(|(_, out)| out).unwrap_or_default();
        }
        if !out.is_empty() {
            if !this.settlement.has_first_byte() {
                this.settlement.first_byte();
            }
            // Dropped from here on, the call is accounted for with what has been let through.
            if this.phase == Phase::Answering {
                this.settlement.note(this.decoder.progress());
            }
            return Poll::Ready(Some(Ok(Frame::data(out))));
        }
        if this.phase == Phase::Lingering
            && let Some(upstream) = &mut this.upstream
        {
            while let Some(Ok(_)) = ready!(upstream.poll_next(cx)) {}
        }
        this.phase = Phase::Ended;
        this.upstream = None;
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.phase == Phase::Ended && self.first.is_empty() && self.held.is_none()
    }
}

impl Drop for ReplyStream {
    fn drop(&mut self) {
        if self.phase == Phase::Answering {
            self.settlement.answers(self.decoder.take_said());
        }
    }
}
