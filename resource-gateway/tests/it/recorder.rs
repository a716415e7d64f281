//! A vendor that keeps what it gets, byte for byte, and answers each of OpenAI's routes in the shape that was asked for.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, HeaderName, Uri, header},
    response::{IntoResponse as _, Response},
};
use resource_gateway::domain::multipart::{Boundary, Form};
use serde_json::json;
use tokio::net::TcpListener;

use crate::running::Running;

#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Recorded>>>,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) path: String,
    pub(crate) content_type: String,
    pub(crate) body: Bytes,
}

impl Recorded {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub(crate) fn form(&self) -> Form {
        let boundary = Boundary::of_content_type(&self.content_type).unwrap();
        Form::parse(&self.body, &boundary).unwrap()
    }
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let recorder = Self {
            url: format!("http://{}/v1", listener.local_addr().unwrap()),
            seen: Arc::default(),
        };
        let router = Router::new().fallback(answer).with_state(recorder.clone());
        #[expect(clippy::disallowed_methods, reason = "the stub ends with its test's runtime")]
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        recorder
    }

    /// The only request since the last look.
    #[track_caller]
    pub(crate) fn take(&self) -> Recorded {
        let mut seen = std::mem::take(&mut *self.seen.lock().unwrap());
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    pub(crate) fn is_untouched(&self) -> bool {
        self.seen.lock().unwrap().is_empty()
    }
}

pub(crate) const VERBOSE: &str = r#"{"task":"transcribe","language":"english","duration":2.0,"text":"Clear. Mumble.","x_vendor":1.50,"segments":[{"id":0,"start":0.0,"end":1.0,"text":" Clear.","avg_logprob":-0.1},{"id":1,"start":1.0,"end":2.0,"text":" Mumble.","avg_logprob":-3.0}],"usage":{"type":"duration","seconds":2}}"#;

async fn answer(State(recorder): State<Recorder>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let seen = Recorded {
        path: uri.path().to_owned(),
        content_type: headers[header::CONTENT_TYPE].to_str().unwrap().to_owned(),
        body,
    };
    recorder.seen.lock().unwrap().push(seen.clone());
    let reply =
        // Not true, and nobody may pass it on.
        |content_type: &'static str, body: String| {
            ([(header::CONTENT_TYPE, content_type), (HeaderName::from_static("x-sandbox"), "true")], body).into_response()
        };
    let json = |body: serde_json::Value| reply("application/json", body.to_string());
    match uri.path() {
        "/v1/audio/transcriptions" => match seen.form().texts("response_format").next() {
            Some("verbose_json") => reply("application/json", VERBOSE.to_owned()),
            Some("text") => reply("text/plain", "Clear. Mumble.\n".to_owned()),
            _ => json(
                json!({"text": "Clear. Mumble.", "usage": {"type": "tokens", "input_tokens": 20, "output_tokens": 4, "total_tokens": 24}}),
            ),
        },
        "/v1/audio/speech" => reply("audio/mpeg", "ID3 sound".to_owned()),
        "/v1/images/generations" => json(
            json!({"created": 1, "data": [{"b64_json": "AA=="}, {"b64_json": "AQ=="}],
            "usage": {"input_tokens": 7, "output_tokens": 100, "total_tokens": 107}}),
        ),
        "/v1/moderations" => json(json!({"id": "m", "results": [{"flagged": true, "category_scores": {"hate": 0.2}}]})),
        "/v1/chat/completions" if seen.text().contains("\"stream\":true") => reply(
            "text/event-stream",
            [
                crate::stub_vendor::CHUNK,
                crate::stub_vendor::FINISH,
                crate::stub_vendor::USAGE,
                crate::stub_vendor::DONE,
            ]
            .concat(),
        ),
        "/v1/chat/completions" if seen.text().contains("fail") => {
            let mut response = json(json!({"error": {"message": "no"}}));
            *response.status_mut() = axum::http::StatusCode::BAD_REQUEST;
            response
        }
        _ => json(
            json!({"id": "x", "choices": [{"index": 0, "message": {"content": "four"}, "finish_reason": "stop"}],
            "data": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}}),
        ),
    }
}

/// A gateway whose interfaces are `document`'s, which may name the vendors `recorder` and `sandbox`.
pub(crate) async fn world(document: &str) -> (Running, Recorder) {
    let (world, recorder) = (Running::start().await, Recorder::start().await);
    let vendor = format!(
        "[[vendor]]\nname = \"recorder\"\nstrategy = \"openai\"\nbase_url = \"{}\"\n",
        recorder.url
    );
    world.apply(&format!("{vendor}{document}")).await;
    (world, recorder)
}

/// An interface of a document.
pub(crate) fn interface(name: &str, capability: &str, vendor: &str, more: &str) -> String {
    format!(
        "[[interface]]\nname = \"{name}\"\ncapability = \"{capability}\"\nroutes = [{{ vendor = \"{vendor}\", model = \"up\" }}]\n{more}\n"
    )
}
