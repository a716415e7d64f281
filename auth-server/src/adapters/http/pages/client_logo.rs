//! `/client-logo/{client_id}`: the face of an application, from here and from nowhere else.

use askama::Template as _;
use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse as _, Response},
};
use http::{HeaderName, HeaderValue, StatusCode, header};

use super::views::LetterPicture;
use crate::{
    adapters::http::{App, oauth::OAuthError},
    application::client_logo::Shown,
    domain::ids::ClientId,
};

/// An SVG is a document: opened by itself, it must neither run nor load anything.
const PICTURE_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox");
const AN_HOUR: HeaderValue = HeaderValue::from_static("public, max-age=3600");
/// The picture may be there soon.
const A_MINUTE: HeaderValue = HeaderValue::from_static("public, max-age=60");

pub(crate) async fn get(State(app): State<App>, Path(client_id): Path<String>) -> Response {
    match app.client_logos.show(&ClientId::new(client_id)).await {
        Ok(Some(Shown::Logo(logo))) => picture(logo.media_type, logo.bytes.clone(), AN_HOUR),
        Ok(Some(Shown::Name(name))) => match LetterPicture::of(&name).render() {
            Ok(svg) => picture("image/svg+xml", svg, A_MINUTE),
            Err(error) => {
                tracing::error!(%error, "a picture failed");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        },
        Ok(None) => (
            StatusCode::NOT_FOUND,
            [(header::CACHE_CONTROL, "no-store")],
            "no such application\n",
        )
            .into_response(),
        Err(error) => OAuthError::from(error).into_response(),
    }
}

fn picture(media_type: &'static str, bytes: impl Into<Body>, keep: HeaderValue) -> Response {
    let mut response = Response::new(bytes.into());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, keep);
    headers.insert(header::CONTENT_SECURITY_POLICY, PICTURE_POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    );
    response
}
