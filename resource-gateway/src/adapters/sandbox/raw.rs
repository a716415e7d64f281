//! Raw calls: the simulator says what it was asked.

use http::header;
use serde_json::{Value, json};

use super::Answer;
use crate::ports::transport::UpstreamRequest;

/// Raw calls come below this path: they may have any, and the simulator has some of its own.
pub const BASE: &str = "/raw";

/// Says back what came: as one answer, or as events where those are what is accepted. `None`: it is no raw call.
pub(super) fn answer(request: &UpstreamRequest) -> Option<Answer> {
    let path = request.uri.path().strip_prefix(BASE)?;
    let header = |name| {
        let value = request.headers.get(name);
        value.and_then(|value| value.to_str().ok())
    };
    let body = request.body.concat();
    let content: Value = match serde_json::from_slice(&body) {
        Ok(json) => json,
        Err(_) => String::from_utf8_lossy(&body).into(),
    };
    let echo = json!({"sandbox": true, "method": request.method.as_str(), "path": path, "query": request.uri.query(),
        "content_type": header(header::CONTENT_TYPE), "bytes": body.len(), "body": content});
    let events = header(header::ACCEPT).is_some_and(|accept| accept.starts_with("text/event-stream"));
    Some(match events {
        true => Answer::Events(vec![json!({"sandbox": true, "begins": path}), echo]),
        false => Answer::Whole(echo),
    })
}
