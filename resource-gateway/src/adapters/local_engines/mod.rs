//! The vendor on this machine: text of pictures by Tesseract, speech by eSpeak NG, transcripts by PocketSphinx. It needs no account and
//! asks no network.
//!
//! It stands behind the transport port, so its calls take the same way as any vendor's: codec, deadlines, usage. The programs are run
//! by [`process`], which bounds what they may take.

mod fields;
mod ocr;
mod picture;
mod process;
mod speech;
mod transcription;
mod voices;
mod wave;

#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
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
use tokio::time::{Instant, timeout_at};

pub use self::process::Bounds;
use self::{ocr::Ocr, process::Trouble, speech::Speech, transcription::Transcription};
use crate::ports::transport::{Transport, TransportError, UpstreamReply, UpstreamRequest};

/// The engines that there are, installed or not.
#[derive(Debug)]
pub struct LocalEngines {
    ocr: Ocr,
    speech: Speech,
    transcription: Transcription,
}

/// What one engine is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What it is called, by what it is needed for.
    pub name: &'static str,
    pub program: &'static str,
    /// Its version and languages; `None` when it is not installed, or does not work.
    pub state: Option<String>,
}

/// A request that an engine does not take.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    code: &'static str,
    param: Option<String>,
    message: String,
}

impl Refusal {
    fn invalid(param: &str, message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "invalid_value",
            param: Some(param.to_owned()),
            message: message.into(),
        }
    }

    /// What the engine has no setting for. It is not left out in silence: the caller would believe that it was heard.
    fn unsupported(param: &str, engine: &str) -> Self {
        Self {
            code: "unsupported_parameter",
            ..Self::invalid(param, format!("{engine} cannot do anything with '{param}'."))
        }
    }

    /// The route's model is not installed.
    fn no_model(message: String) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: "model_not_found",
            param: Some("model".to_owned()),
            message,
        }
    }

    /// The engine was given it and could not do it.
    fn unprocessable(param: &str, message: &str) -> Self {
        Self {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            code: "unprocessable",
            ..Self::invalid(param, message)
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
enum Stopped {
    Refused(Refusal),
    Trouble(Trouble),
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Trouble> for Stopped {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

/// What goes back.
#[derive(Debug)]
struct Answer {
    content_type: &'static str,
    body: Bytes,
}

impl Answer {
    fn json(value: &Value) -> Self {
        Self {
            content_type: "application/json",
            body: value.to_string().into(),
        }
    }
}

impl LocalEngines {
    /// Engines that are looked for in the directories of `path`, each within `bounds`.
    pub fn new(path: Option<OsString>, bounds: Bounds) -> Self {
        let path = process::search_path(path);
        Self {
            ocr: Ocr::new(Arc::clone(&path), bounds),
            speech: Speech::new(Arc::clone(&path), bounds),
            transcription: Transcription::new(path, bounds),
        }
    }

    /// What is installed.
    pub async fn look(&self) -> Vec<Found> {
        let found = |name, program: process::Program, said: Result<String, Trouble>| Found {
            name,
            program: program.name,
            state: said.ok(),
        };
        vec![
            found("local engine for ocr", ocr::PROGRAM, self.ocr.describe().await),
            found("local engine for speech", speech::PROGRAM, self.speech.describe().await),
            found(
                "local engine for transcription",
                transcription::PROGRAM,
                self.transcription.describe(),
            ),
        ]
    }

    async fn answer(&self, request: UpstreamRequest, until: Instant) -> Result<Answer, Stopped> {
        let content_type = request.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let body: Bytes = match request.body.as_slice() {
            [whole] => whole.clone(),
            pieces => pieces.concat().into(),
        };
        match request.uri.path() {
            "/ocr" => self.ocr.answer(body, until).await,
            "/audio/speech" => self.speech.answer(body, until).await,
            "/audio/transcriptions" => self.transcription.answer(content_type, body, until).await,
            _ => Err(Refusal::invalid("model", "No engine of this machine can do this.").into()),
        }
    }
}

/// Work that computes, on a thread that may take its time. What it returns it returns in any case: the work is bounded.
async fn compute<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refusal> + Send + 'static) -> Result<T, Stopped> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(Trouble::Failed.into()),
    }
}

/// How long a caller should leave a busy engine alone.
const RETRY_AFTER: &str = "1";
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

#[async_trait]
impl Transport for LocalEngines {
    async fn send(&self, request: UpstreamRequest) -> Result<UpstreamReply, TransportError> {
        let until = Instant::now() + request.deadlines.head;
        // Not the engine alone has to be done by then: whoever waits to ask it, and whoever computes, too.
        let answer = timeout_at(until, self.answer(request, until)).await;
        let trouble = match answer.unwrap_or(Err(Stopped::Trouble(Trouble::TimedOut))) {
            Ok(answer) => return Ok(reply(StatusCode::OK, answer.content_type, answer.body)),
            Err(Stopped::Refused(refusal)) => return Ok(refused(&refusal)),
            Err(Stopped::Trouble(trouble)) => trouble,
        };
        match trouble {
            Trouble::Missing(program) => Err(TransportError::NotInstalled(program)),
            Trouble::Busy => {
                let mut busy = failed(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "All engines are busy.");
                busy.headers
                    .insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
                Ok(busy)
            }
            // The same input would take as long again.
            Trouble::TimedOut => {
                let mut late = failed(
                    StatusCode::GATEWAY_TIMEOUT,
                    "timeout",
                    "The engine was not done in time.",
                );
                late.headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
                Ok(late)
            }
            Trouble::TooMuch | Trouble::Failed => {
                let message = "The engine failed.";
                Ok(failed(StatusCode::INTERNAL_SERVER_ERROR, "engine_failed", message))
            }
        }
    }

    fn pinned(&self, _: IpAddr) -> Option<Arc<dyn Transport>> {
        None
    }
}

fn refused(refusal: &Refusal) -> UpstreamReply {
    let error = json!({"error": {"message": refusal.message, "type": "invalid_request_error",
        "param": refusal.param, "code": refusal.code}});
    reply(refusal.status, "application/json", error.to_string().into())
}

fn failed(status: StatusCode, code: &str, message: &str) -> UpstreamReply {
    let error = json!({"error": {"message": message, "type": "server_error", "param": null, "code": code}});
    reply(status, "application/json", error.to_string().into())
}

fn reply(status: StatusCode, content_type: &'static str, body: Bytes) -> UpstreamReply {
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    UpstreamReply {
        status,
        headers: HeaderMap::from_iter([content_type]),
        body: Box::pin(Ready(Some(body))),
    }
}

/// A body that is there already.
struct Ready(Option<Bytes>);

impl Body for Ready {
    type Data = Bytes;
    type Error = TransportError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, TransportError>>> {
        Poll::Ready(self.0.take().map(|body| Ok(Frame::data(body))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }
}
