//! Bodies of calls and of answers.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::ports::transport::TransportError;

/// A request smaller than this is put into one piece: one write is quicker than a vectored one.
const JOIN_BELOW: usize = 16 * 1024;

/// The body of a call: pieces of the caller's body, and what was put in between.
pub(super) struct RequestBody {
    pieces: VecDeque<Bytes>,
    length: u64,
}

impl RequestBody {
    pub(super) fn new(pieces: Vec<Bytes>) -> Self {
        let length: usize = pieces.iter().map(Bytes::len).sum();
        let pieces = if length < JOIN_BELOW {
            let mut joined = BytesMut::with_capacity(length);
            for piece in &pieces {
                joined.extend_from_slice(piece);
            }
            VecDeque::from([joined.freeze()])
        } else {
            pieces.into()
        };
        Self {
            pieces,
            length: length as u64,
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.pieces.pop_front();
        if let Some(piece) = &next {
            self.length -= piece.len() as u64;
        }
        Poll::Ready(next.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.length)
    }
}

/// The body of an answer. Dropping it before its end closes the connection, which is how a vendor learns that nobody waits.
pub(super) struct ReplyBody(pub(super) Incoming);

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map_err(|_| TransportError::Broken)))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
