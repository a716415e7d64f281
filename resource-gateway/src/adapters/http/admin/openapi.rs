//! The description of the admin API (OpenAPI 3.1), for programs, and as a page for people.

use super::reference;
use axum::{
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};

pub(super) const DOCUMENT_PATH: &str = "/admin/openapi.json";
pub(super) const PAGE_PATH: &str = "/admin";
/// Kept true by tests: every route is in it, every member of every row and every parameter.
const DOCUMENT: &str = include_str!("../../../../api/admin.openapi.json");

pub(super) async fn document() -> Response {
    respond("application/json", DOCUMENT.to_owned())
}

/// The same as a page that needs no script.
pub(super) async fn page() -> Response {
    let document = serde_json::from_str(DOCUMENT).unwrap_or_default();
    let mut response = respond("text/html; charset=utf-8", reference::render(&document));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
        ),
    );
    response
}

fn respond(content_type: &'static str, body: String) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
