//! Reading bodies and headers, answering JSON: what the endpoints have in common.

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest as _, Request},
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use oauth_wire::Form;
use serde::Serialize;

use super::oauth::OAuthError;
use crate::application::token_error::TokenError;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

/// Largest body of a protocol request, in bytes.
pub(super) const MAX_FORM_BYTES: usize = 64 * 1024;

/// Longest query that a POST without cookies is turned into.
pub(super) const MAX_QUERY_BYTES: usize = 8 * 1024;

/// Why a form body was not read.
#[derive(Debug)]
pub(super) enum FormRejection {
    TooLarge,
    Invalid(String),
}

impl From<FormRejection> for OAuthError {
    fn from(rejection: FormRejection) -> Self {
        match rejection {
            FormRejection::TooLarge => Self::too_large(),
            FormRejection::Invalid(reason) => TokenError::InvalidRequest(reason).into(),
        }
    }
}

/// Reads a form body (RFC 6749 §3.2: `application/x-www-form-urlencoded`, no parameter twice).
pub(super) async fn form(request: Request) -> Result<Form, FormRejection> {
    if !is_of_type(request.headers(), "application/x-www-form-urlencoded") {
        return Err(FormRejection::Invalid(
            "the body must be application/x-www-form-urlencoded".into(),
        ));
    }
    let body = Bytes::from_request(request, &())
        .await
        .map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => FormRejection::TooLarge,
            _ => FormRejection::Invalid("the body cannot be read".into()),
        })?;
    Form::parse(&body).map_err(|error| FormRejection::Invalid(error.to_string()))
}

/// Whether the body is said to be of that media type, whatever its parameters, and of no other: two readers could pick a different one of
/// two (RFC 9110 §8.3).
pub(super) fn is_of_type(headers: &HeaderMap, wanted: &str) -> bool {
    let mut told = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (told.next(), told.next()) else {
        return false;
    };
    let media_type = value.to_str().unwrap_or_default().split(';').next();
    media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case(wanted))
}

/// The bearer token of an `Authorization` header (RFC 6750 §2.1); tokens in query strings are not looked at.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A JSON reply that nobody may keep.
pub(super) fn no_store_json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(bytes) => no_store_bytes(status, bytes),
        // Serialising our own types cannot fail; should it, no half a document goes out.
        Err(_) => no_store_bytes(StatusCode::INTERNAL_SERVER_ERROR, Vec::new()),
    }
}

pub(super) fn no_store_bytes(status: StatusCode, bytes: impl Into<Body>) -> Response {
    let mut response = Response::new(bytes.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    headers.insert(header::PRAGMA, NO_CACHE);
    response
}

/// A signed or encrypted reply that nobody may keep, under its own media type.
pub(super) fn no_store_jwt(media_type: &'static str, token: String) -> Response {
    let mut response = no_store_bytes(StatusCode::OK, token);
    let media_type = HeaderValue::from_static(media_type);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

/// A JSON document that may be kept for a while.
pub(super) fn cached_json(bytes: impl Into<Body>, cache: &'static str) -> Response {
    let mut response = Response::new(bytes.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    response
}
