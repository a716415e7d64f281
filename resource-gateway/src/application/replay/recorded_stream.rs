//! A kept stream on its way to a caller.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::domain::recorded::Recorded;

/// The body of a kept answer, in the pieces in which it was given first.
#[derive(Debug)]
pub struct RecordedStream {
    answer: Arc<Recorded>,
    next: usize,
}

impl RecordedStream {
    pub fn new(answer: Arc<Recorded>) -> Self {
        Self { answer, next: 0 }
    }

    fn rest(&self) -> &[Bytes] {
        self.answer.pieces.get(self.next..).unwrap_or_default()
    }
}

impl Body for RecordedStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.rest().first().cloned();
        self.next += 1;
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest().is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest().iter().map(|piece| piece.len() as u64).sum())
    }
}
