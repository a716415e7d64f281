//! Answers on their way into a conversation: the end of an answer is not let through before it is stored, so that no caller takes a
//! conversation for longer than it is.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame};

use super::{ErrorEvent, InvokeError, Reply, ReplyStream};
use crate::{
    application::conversations::Turn,
    domain::{
        conversation::{AnswerText, message_of},
        fault::PublicError,
        sse::Events,
    },
};

/// The conversation to which question and answer were added.
pub const CONVERSATION: HeaderName = HeaderName::from_static("x-hexgate-conversation-id");

/// Stores the answer in its conversation: a whole one before it is given, a stream's before its end.
pub(super) async fn keep(
    turn: Turn,
    reply: Reply,
    headers: &mut HeaderMap,
    error_event: ErrorEvent,
) -> Result<Reply, InvokeError> {
    let id = HeaderValue::from_str(turn.id());
    let reply = match reply {
        Reply::Whole(whole) => {
            turn.finish(message_of(&whole.body)).await?;
            Reply::Whole(whole)
        }
        Reply::Stream(stream) => Reply::Kept(Box::new(KeptStream {
            stream: *stream,
            error_event,
            stage: Stage::Passing(Box::new((turn, AnswerText::new()))),
        })),
        // A reply is kept once, and conversations are not answered out of memory.
        other @ (Reply::Kept(_) | Reply::Recorded(_)) => other,
    };
    if let Ok(id) = id {
        headers.insert(CONVERSATION, id);
    }
    Ok(reply)
}

type Storing = Pin<Box<dyn Future<Output = Result<(), PublicError>> + Send>>;

/// A streamed reply that is stored before it ends.
pub struct KeptStream {
    stream: ReplyStream,
    error_event: ErrorEvent,
    stage: Stage,
}

enum Stage {
    Passing(Box<(Turn, AnswerText)>),
    /// The answer is complete; its last bytes wait until it is stored.
    Storing(Storing, Bytes),
    /// Stored, or not to be: an answer that broke off is not.
    Done,
}

impl std::fmt::Debug for KeptStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptStream")
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl Body for KeptStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        loop {
            match &mut this.stage {
                Stage::Done => return Pin::new(&mut this.stream).poll_frame(cx),
                Stage::Storing(storing, last) => {
                    let stored = ready!(storing.as_mut().poll(cx));
                    let last = std::mem::take(last);
                    this.stage = Stage::Done;
                    let out = match stored {
                        Ok(()) => last,
                        Err(error) => without_end(&last, &(this.error_event)(&error)),
                    };
                    if !out.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(out))));
                    }
                }
                Stage::Passing(passing) => {
                    let frame = ready!(Pin::new(&mut this.stream).poll_frame(cx));
                    let out = frame.and_then(|Ok(frame)| frame.into_data().ok());
                    if let Some(out) = &out {
                        passing.1.push(out.clone());
                    }
                    if this.stream.is_complete() {
                        let Stage::Passing(passing) = std::mem::replace(&mut this.stage, Stage::Done) else {
                            continue;
                        };
                        let (turn, text) = *passing;
                        this.stage = Stage::Storing(Box::pin(turn.finish(text.finish())), out.unwrap_or_default());
                    } else if let Some(out) = out {
                        return Poll::Ready(Some(Ok(Frame::data(out))));
                    } else {
                        this.stage = Stage::Done;
                    }
                }
            }
        }
    }
}

/// The bytes up to the event that says that all is well, and one that says otherwise.
fn without_end(last: &Bytes, event: &[u8]) -> Bytes {
    let end = Events::of(last)
        .find(|event| event.data.as_deref().is_some_and(|data| data.trim_ascii() == b"[DONE]"))
        .map_or(last.len(), |event| event.start);
    let mut out = BytesMut::with_capacity(end + event.len());
    out.extend_from_slice(&last.slice(..end));
    out.extend_from_slice(event);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_takes_the_place_of_the_end() {
        let last = Bytes::from_static(b"data: {\"a\":1}\n\ndata: [DONE]\n\n");
        assert_eq!(without_end(&last, b"data: E\n\n"), "data: {\"a\":1}\n\ndata: E\n\n");
        assert_eq!(without_end(&Bytes::new(), b"data: E\n\n"), "data: E\n\n");
    }
}
