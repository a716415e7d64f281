use askama::Template;
use http::StatusCode;

use super::{super::texts::Explained, Page};

/// Every error that a browser gets as a page. The element `oauth-error` holds the code and the English sentence, alike in
/// all languages, so that developers and scripts can rely on them.
#[derive(Debug, Template)]
#[template(path = "pages/error.html")]
pub(crate) struct ErrorPage {
    pub(crate) page: Page,
    pub(crate) kind: ErrorKind,
    /// An error code as in RFC 6749 §4.1.2.1 (`invalid_request`), or one of that style (`not_found`).
    pub(crate) code: &'static str,
    /// One English sentence that names the offending parameter; never an error chain.
    pub(crate) sentence: String,
    pub(crate) request_id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    BadRequest,
    NotFound,
    MethodNotAllowed,
    TooManyRequests,
    Internal,
    Unavailable,
}

impl ErrorKind {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Whether something went wrong, as opposed to: not here, not now.
    fn is_failure(self) -> bool {
        matches!(self, Self::BadRequest | Self::Internal)
    }

    fn icon(self) -> &'static str {
        match self {
            Self::NotFound | Self::MethodNotAllowed => "compass",
            Self::TooManyRequests | Self::Unavailable => "clock",
            Self::BadRequest | Self::Internal => "alert",
        }
    }
}

impl ErrorPage {
    fn explained(&self) -> &Explained {
        let t = &self.page.t.error;
        match self.kind {
            ErrorKind::BadRequest => &t.bad_request,
            ErrorKind::NotFound => &t.not_found,
            ErrorKind::MethodNotAllowed => &t.method_not_allowed,
            ErrorKind::TooManyRequests => &t.too_many_requests,
            ErrorKind::Internal => &t.internal,
            ErrorKind::Unavailable => &t.unavailable,
        }
    }
}
