//! Errors as pages: one shape at every address, never a redirect.

use axum::{
    extract::{FromRequestParts as _, Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, StatusCode, header};
use oauth_wire::OAuthErrorCode;
use std::fmt;

use super::{
    Browser,
    html::{PagePolicy, html, page as new_page},
    views::{ErrorKind, ErrorPage},
};
use crate::{
    adapters::http::{App, oauth::OAuthError, wire::no_store_json},
    application::{meters::count_error, sign_in::SignInError},
    ports::store::StoreError,
};

/// What a person is told. The cause has been logged by then.
#[derive(Debug, Clone)]
pub(crate) struct PageError {
    kind: ErrorKind,
    code: &'static str,
    sentence: String,
}

impl PageError {
    pub(crate) fn oauth(code: OAuthErrorCode, sentence: impl Into<String>) -> Self {
        Self {
            kind: ErrorKind::BadRequest,
            code: code.as_str(),
            sentence: sentence.into(),
        }
    }

    pub(crate) fn invalid_request(sentence: impl Into<String>) -> Self {
        Self::oauth(OAuthErrorCode::InvalidRequest, sentence)
    }

    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "a page failed");
        Self {
            kind: ErrorKind::Internal,
            code: OAuthErrorCode::ServerError.as_str(),
            sentence: "Something went wrong on our side.".into(),
        }
    }

    /// The session container hides what its store said; a store that is away is by far the likeliest.
    pub(super) fn container(error: &dyn fmt::Display) -> Self {
        tracing::warn!(%error, "a browser session could not be read or written");
        Self::unavailable()
    }

    pub(super) fn unavailable() -> Self {
        Self {
            kind: ErrorKind::Unavailable,
            code: OAuthErrorCode::TemporarilyUnavailable.as_str(),
            sentence: "The service is unavailable for a moment. Please try again.".into(),
        }
    }
}

impl From<StoreError> for PageError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable(cause) => {
                tracing::warn!(%error, %cause, "storage is unavailable");
                Self::unavailable()
            }
            StoreError::Failed(cause) => {
                tracing::error!(%cause, "storage failed");
                Self::internal(&error)
            }
            StoreError::Conflict(_) | StoreError::Corrupt { .. } => Self::internal(&error),
        }
    }
}

impl From<SignInError> for PageError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Store(error) => error.into(),
            SignInError::Password(error) => Self::internal(&error),
            SignInError::OpenSsl(error) => Self::internal(error.as_ref()),
            SignInError::Throttled { .. } => Self {
                kind: ErrorKind::TooManyRequests,
                code: OAuthErrorCode::SlowDown.as_str(),
                sentence: "There were too many attempts. Please try again later.".into(),
            },
            // The sign-in page shows these itself.
            SignInError::WrongCredentials | SignInError::Busy => Self::unavailable(),
        }
    }
}

/// The page is rendered by [`render_errors`], which knows language and request id.
impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        count_error(self.code);
        let mut response = self.kind.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Turns the errors of page handlers into pages.
pub(crate) async fn render_errors(State(app): State<App>, request: Request, next: axum::middleware::Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(browser) = Browser::from_request_parts(&mut parts, &app).await;
    let mut response = next.run(Request::from_parts(parts, body)).await;
    match response.extensions_mut().remove::<PageError>() {
        Some(error) => show(&app, &browser, error),
        None => response,
    }
}

/// The session layer writes what a handler has kept after the handler has answered. When the store refuses, its answer is bare: a page
/// says so instead, and the handler's answer, which counted on the write, stays unsent.
pub(crate) async fn render_unsaved(State(app): State<App>, request: Request, next: axum::middleware::Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(browser) = Browser::from_request_parts(&mut parts, &app).await;
    let response = next.run(Request::from_parts(parts, body)).await;
    let is_bare = !response.headers().contains_key(header::CONTENT_TYPE);
    match response.status() == StatusCode::INTERNAL_SERVER_ERROR && is_bare {
        true => show(&app, &browser, PageError::unavailable()),
        false => response,
    }
}

fn show(app: &App, browser: &Browser, error: PageError) -> Response {
    let status = error.kind.status();
    let shown = ErrorPage {
        page: new_page(app, browser, None),
        kind: error.kind,
        code: error.code,
        sentence: error.sentence,
        request_id: browser.request_id(),
    };
    html(app, status, &shown, &PagePolicy::default()).unwrap_or_else(|_| status.into_response())
}

/// `/error`: for proxies that want a page to point at. It says nothing that a request could choose.
pub(super) async fn page() -> PageError {
    std::future::ready(PageError::invalid_request("The request could not be completed.")).await
}

/// An address that does not exist: a page for browsers, JSON for programs.
pub(crate) async fn not_found(State(app): State<App>, browser: Browser, headers: HeaderMap) -> Response {
    let error = PageError {
        kind: ErrorKind::NotFound,
        code: "not_found",
        sentence: "There is nothing at this address.".into(),
    };
    if wants_html(&headers) {
        return std::future::ready(show(&app, &browser, error)).await;
    }
    let body = serde_json::json!({"error": error.code, "error_description": error.sentence});
    no_store_json(StatusCode::NOT_FOUND, &body)
}

/// An address that does not take this method.
pub(crate) async fn method_not_allowed(
    State(app): State<App>,
    browser: Browser,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let error = PageError {
        kind: ErrorKind::MethodNotAllowed,
        code: OAuthErrorCode::InvalidRequest.as_str(),
        sentence: format!("The method {method} is not allowed here."),
    };
    match wants_html(&headers) {
        true => show(&app, &browser, error),
        false => std::future::ready(OAuthError::method_not_allowed().into_response()).await,
    }
}

fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}
