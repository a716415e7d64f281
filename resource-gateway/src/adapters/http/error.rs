//! Errors as OpenAI's SDKs read them.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::domain::fault::{ErrorKind, PublicError};

/// An error object with its status and headers.
#[derive(Debug)]
pub(super) struct GatewayError(pub(super) PublicError);

impl From<PublicError> for GatewayError {
    fn from(error: PublicError) -> Self {
        Self(error)
    }
}

impl IntoResponse for GatewayError {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let mut response = Response::new(Body::from(object(&error).to_string()));
        *response.status_mut() = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in [
            (header::RETRY_AFTER, &error.hints.retry_after),
            (HeaderName::from_static("retry-after-ms"), &error.hints.retry_after_ms),
            (HeaderName::from_static("x-should-retry"), &error.hints.should_retry),
        ] {
            if let Some(value) = value.as_ref().and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        // For surfaces that tell it in other words.
        response.extensions_mut().insert(error);
        response
    }
}

/// `{"error": {message, type, param, code}}`.
fn object(error: &PublicError) -> Value {
    json!({"error": {"message": error.message, "type": error.kind.as_str(), "param": error.param, "code": error.code}})
}

/// The error as an event in the middle of a stream.
pub(super) fn event(error: &PublicError) -> Bytes {
    format!("data: {}\n\n", object(error)).into()
}

pub(super) fn not_found(path: &str) -> GatewayError {
    let path: String = path.chars().take(200).collect();
    PublicError::new(
        404,
        ErrorKind::InvalidRequest,
        "unknown_url",
        format!("There is nothing at {path}."),
    )
    .into()
}

pub(super) fn wrong_method(method: &str, path: &str) -> GatewayError {
    let path: String = path.chars().take(200).collect();
    let message = format!("{path} does not take {method}.");
    PublicError::new(405, ErrorKind::InvalidRequest, "method_not_allowed", message).into()
}

pub(super) fn too_large(limit: usize) -> GatewayError {
    let message = format!("The body of the request is longer than {limit} bytes.");
    PublicError::new(413, ErrorKind::InvalidRequest, "request_too_large", message).into()
}

pub(super) fn wrong_media_type() -> GatewayError {
    let message = "The body of the request must be application/json.";
    PublicError::new(415, ErrorKind::InvalidRequest, "unsupported_media_type", message).into()
}

pub(super) fn wrong_form() -> GatewayError {
    let message = "The body of the request must be multipart/form-data, and its Content-Type must name one boundary.";
    PublicError::new(415, ErrorKind::InvalidRequest, "unsupported_media_type", message).into()
}

pub(super) fn broken_body() -> GatewayError {
    PublicError::new(
        400,
        ErrorKind::InvalidRequest,
        "incomplete_body",
        "The body of the request ended early.",
    )
    .into()
}

pub(super) fn slow_body() -> GatewayError {
    let message = "The body of the request came too slowly.";
    PublicError::new(408, ErrorKind::InvalidRequest, "request_timeout", message).into()
}

pub(super) fn panicked() -> GatewayError {
    PublicError::new(
        500,
        ErrorKind::Server,
        "internal_error",
        "The gateway failed. The request id helps to find out why.",
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::fault::RetryHints;

    #[test]
    fn the_object_has_all_members_and_hints_become_headers() {
        let mut error = PublicError::new(429, ErrorKind::RateLimit, "rate_limit_exceeded", "slow down");
        error.hints = RetryHints {
            retry_after: Some("7".into()),
            ..RetryHints::default()
        };
        assert_eq!(
            object(&error),
            json!({"error": {"message": "slow down", "type": "rate_limit_error", "param": null, "code": "rate_limit_exceeded"}})
        );
        assert!(event(&error).starts_with(b"data: {\"error\":") && event(&error).ends_with(b"}\n\n"));
        let response = GatewayError(error).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "7");
        assert!(!response.headers().contains_key("x-should-retry"));
    }
}
