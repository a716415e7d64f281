//! What vendors of tests have in common that speak a format themselves: they keep what they are sent.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse as _, Response},
};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::running::Answer;

/// The headers and the body of each call, as they came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<(HeaderMap, String)>>>);

impl Heard {
    /// Keeps a call, and reads what it says.
    pub(crate) fn keep(&self, headers: HeaderMap, body: &Bytes) -> Value {
        let text = String::from_utf8(body.to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap();
        self.0.lock().unwrap().push((headers, text));
        body
    }

    /// How many there were.
    pub(crate) fn calls(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn last(&self) -> (HeaderMap, String) {
        self.0.lock().unwrap().last().unwrap().clone()
    }

    pub(crate) fn last_body(&self) -> Value {
        serde_json::from_str(&self.last().1).unwrap()
    }
}

/// Serves a vendor's routes as long as its test's runtime lives, and says where.
pub(crate) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    #[expect(clippy::disallowed_methods, reason = "the stub ends with its test's runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

pub(crate) fn answered(status: StatusCode, body: impl Into<String>) -> Response {
    (status, [("content-type", "application/json")], body.into()).into_response()
}

pub(crate) fn told(events: impl Into<String>) -> Response {
    (StatusCode::OK, [("content-type", "text/event-stream")], events.into()).into_response()
}

/// The same call, answered in pieces.
pub(crate) fn streamed(mut body: Value) -> Value {
    body["stream"] = true.into();
    body
}

/// The names of a stream's events, in their order.
pub(crate) fn events(answer: &Answer) -> Vec<&str> {
    let lines = answer.body.lines();
    lines.filter_map(|line| line.strip_prefix("event: ")).collect()
}

/// What its events say.
pub(crate) fn data(answer: &Answer) -> Vec<Value> {
    let lines = answer.body.lines();
    let data = lines.filter_map(|line| line.strip_prefix("data: "));
    data.map(|data| serde_json::from_str(data).unwrap()).collect()
}
