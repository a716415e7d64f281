//! The vendor that needs no account: a simulator that answers calls of every capability by itself, always the same, with real
//! token counts. Every answer says `"sandbox": true`, in the header `x-sandbox` when it is no JSON.
//!
//! It stands behind the transport port, so its calls take the same way as any vendor's: codec, deadlines, stream, usage.

mod chat;
mod drawing;
mod embeddings;
mod moderation;
mod raw;
mod rerank;
mod score;
mod sound;
mod tokens;
mod vision;

use std::{
    collections::VecDeque,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body::{Body, Frame};
use serde_json::{Value, json};
use service_kit::Clock;

pub use self::raw::BASE as RAW_BASE;
use self::tokens::Tokenizer;
use crate::ports::{
    self,
    transport::{Transport, TransportError, UpstreamReply, UpstreamRequest},
};

/// The simulated vendor.
#[derive(Debug)]
pub struct Sandbox {
    clock: Arc<dyn Clock>,
    tokenizer: Tokenizer,
}

/// A request that the simulator refuses, as OpenAI would.
#[derive(Debug)]
struct Refusal {
    param: &'static str,
    message: String,
}

impl Refusal {
    fn new(param: &'static str, message: impl Into<String>) -> Self {
        Self {
            param,
            message: message.into(),
        }
    }
}

/// Marks answers that are no JSON.
const MARK: HeaderName = HeaderName::from_static("x-sandbox");

/// What goes back.
enum Answer {
    Whole(Value),
    Events(Vec<Value>),
    Bytes { content_type: &'static str, body: Bytes },
}

impl Sandbox {
    pub fn new(clock: Arc<dyn Clock>, tokenizer: Arc<dyn ports::tokenizer::Tokenizer>) -> Self {
        Self {
            clock,
            tokenizer: Tokenizer(tokenizer),
        }
    }

    async fn answer(&self, path: &str, content_type: Option<&HeaderValue>, body: Bytes) -> Result<Answer, Refusal> {
        let created = self.clock.now().as_seconds();
        let tokenizer = self.tokenizer.clone();
        let path = path.to_owned();
        let content_type = content_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        // Loading the vocabulary and counting tokens are work for a thread that may take its time.
        let work = tokio::task::spawn_blocking(move || match path.as_str() {
            "/chat/completions" => chat::answer(&body, &tokenizer, created),
            "/embeddings" => embeddings::answer(&body, &tokenizer),
            "/audio/transcriptions" => sound::write_down(&content_type, &body),
            "/audio/speech" => sound::speak(&body),
            "/images/generations" => drawing::answer(&body, &tokenizer, created),
            "/moderations" => moderation::answer(&body, &tokenizer),
            "/ocr" => vision::ocr(&body, &tokenizer),
            "/images/labels" => vision::labels(&body),
            "/faces/detect" => vision::faces(&body),
            "/rerank" => rerank::answer(&body, &tokenizer),
            _ => Err(Refusal::new("model", "The simulator cannot do this.")),
        });
        work.await
            .unwrap_or_else(|_| Err(Refusal::new("model", "The simulator could not take this request.")))
    }
}

#[async_trait]
impl Transport for Sandbox {
    async fn send(&self, request: UpstreamRequest) -> Result<UpstreamReply, TransportError> {
        if let Some(answer) = raw::answer(&request) {
            return Ok(reply(StatusCode::OK, answer));
        }
        let answer = tokio::time::timeout(
            request.deadlines.head,
            self.answer(
                request.uri.path(),
                request.headers.get(header::CONTENT_TYPE),
                request.body.concat().into(),
            ),
        );
        let answer = answer.await.map_err(|_| TransportError::HeadTimeout)?;
        Ok(match answer {
            Ok(answer) => reply(StatusCode::OK, answer),
            Err(refusal) => {
                let error = json!({"error": {"message": refusal.message, "type": "invalid_request_error",
                    "param": refusal.param, "code": "invalid_value"}});
                reply(StatusCode::BAD_REQUEST, Answer::Whole(error))
            }
        })
    }

    fn pinned(&self, _: IpAddr) -> Option<Arc<dyn Transport>> {
        None
    }
}

fn reply(status: StatusCode, answer: Answer) -> UpstreamReply {
    let (content_type, pieces) = match answer {
        Answer::Whole(value) => ("application/json", VecDeque::from([value.to_string().into()])),
        Answer::Events(events) => {
            let events = events.into_iter().map(|event| format!("data: {event}\n\n").into());
            let mut pieces: VecDeque<Bytes> = events.collect();
            pieces.push_back(Bytes::from_static(b"data: [DONE]\n\n"));
            ("text/event-stream", pieces)
        }
        Answer::Bytes { content_type, body } => (content_type, VecDeque::from([body])),
    };
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static(content_type)),
        (MARK, HeaderValue::from_static("true")),
    ]);
    UpstreamReply {
        status,
        headers,
        body: Box::pin(Pieces(pieces)),
    }
}

/// A body that is there already.
struct Pieces(VecDeque<Bytes>);

impl Body for Pieces {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }
}
