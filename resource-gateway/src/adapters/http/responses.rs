//! `/v1/responses`: chat for callers of OpenAI's newer API. What they say is translated before any rule sees it. Nothing is kept of it.

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::post,
};
use bytes::Bytes;
use serde_json::json;

use super::{AppState, ai, ingress};
use crate::domain::{call::Voice, chat::responses_to_openai, fault::PublicError};

const PATH: &str = "/v1/responses";

const INGRESS: ingress::Ingress = ingress::Ingress {
    voice: Voice::Responses,
    translate: responses_to_openai,
    error_event: event,
};

pub(super) fn router() -> Router<AppState> {
    Router::new().route(PATH, post(create))
}

async fn create(State(app): State<AppState>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let answered = async {
        let invocation = ingress::read(&app, head, body, &INGRESS).await?;
        ai::answer_in_time(&app, invocation).await
    };
    answered.await.unwrap_or_else(|refused| *refused)
}

/// The error as an event in the middle of a stream: in the members of the format's own event, and in the one by which its SDKs notice.
fn event(error: &PublicError) -> Bytes {
    let data = json!({"type": "error", "code": error.code, "message": error.message, "param": error.param, "sequence_number": 0,
        "error": {"message": error.message, "type": error.kind.as_str(), "param": error.param, "code": error.code}});
    format!("event: error\ndata: {data}\n\n").into()
}
