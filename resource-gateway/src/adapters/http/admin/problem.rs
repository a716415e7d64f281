//! Errors of the admin API ([RFC 9457]).
//!
//! [RFC 9457]: https://www.rfc-editor.org/rfc/rfc9457

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::super::{AppState, caller, caller::TurnedAway, error::GatewayError};
use crate::{
    application::{
        access_keys::KeyError, administer::AdministerError, change_config::ChangeError, documents::DocumentFault,
    },
    domain::caller::Denied,
    ports::config_source::StoreError,
};

/// A problem document.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    /// Stable: what programs branch on.
    code: Box<str>,
    detail: String,
    faults: Vec<DocumentFault>,
    headers: HeaderMap,
}

impl Problem {
    pub(super) fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            detail: detail.into(),
            faults: Vec::new(),
            headers: HeaderMap::new(),
        }
    }

    pub(super) fn bad_request(code: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    pub(super) fn not_found(path: &str) -> Self {
        let path: String = path.chars().take(200).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("There is nothing at {path}."),
        )
    }

    pub(super) fn wrong_method(method: &str, path: &str) -> Self {
        let path: String = path.chars().take(200).collect();
        let detail = format!("{path} does not take {method}.");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
    }

    pub(super) fn invalid(status: StatusCode, faults: Vec<DocumentFault>) -> Self {
        let detail = match faults.as_slice() {
            [fault] => fault.to_string(),
            many => format!("{} things are wrong.", many.len()),
        };
        Self {
            faults,
            ..Self::new(status, "invalid", detail)
        }
    }

    /// The same for a caller who is not let in, with the challenge that says what would help.
    pub(super) fn of_turned_away(away: TurnedAway) -> Response {
        let TurnedAway { error, headers } = away;
        let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::UNAUTHORIZED);
        let code = error.code.clone().unwrap_or_default();
        let mut problem = Self::new(status, &code, error.message.clone());
        // What a caller may do next stands in the headers of the plain error.
        problem.headers = GatewayError(error).into_response().headers().clone();
        problem.headers.remove(header::CONTENT_TYPE);
        problem.headers.remove(header::CONTENT_LENGTH);
        problem.headers.extend(headers);
        problem.into_response()
    }

    /// What a use case said, as an answer.
    pub(super) fn of(app: &AppState, error: AdministerError) -> Response {
        match error {
            AdministerError::Denied(denied) => Self::of_denied(app, &denied),
            AdministerError::Change(ChangeError::Invalid(faults)) | AdministerError::Key(KeyError::Invalid(faults)) => {
                Self::invalid(StatusCode::UNPROCESSABLE_ENTITY, faults).into_response()
            }
            AdministerError::Change(ChangeError::Missing(id)) => {
                Self::new(StatusCode::NOT_FOUND, "not_found", format!("There is no {id}.")).into_response()
            }
            AdministerError::Change(ChangeError::Precondition(id)) => {
                let detail = format!("{id} has changed meanwhile, or is not there, or is there already.");
                Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail).into_response()
            }
            AdministerError::Change(ChangeError::Store(error)) | AdministerError::Key(KeyError::Store(error)) => {
                Self::of_store(&error)
            }
            AdministerError::Key(KeyError::Unknown) => {
                Self::new(StatusCode::NOT_FOUND, "not_found", "There is no such access key.").into_response()
            }
            AdministerError::Key(KeyError::Conflict) => {
                let detail = "The access key has changed meanwhile.";
                Self::new(StatusCode::PRECONDITION_FAILED, "precondition_failed", detail).into_response()
            }
            AdministerError::Key(KeyError::Crypto) => {
                tracing::error!("an id for an access key could not be minted");
                Self::internal().into_response()
            }
        }
    }

    fn internal() -> Self {
        let detail = "The gateway could not do this; its log says why.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// The same for a removal: what would be wrong without the row is a conflict with the rows that need it.
    pub(super) fn of_deletion(app: &AppState, error: AdministerError) -> Response {
        match error {
            AdministerError::Change(ChangeError::Invalid(faults)) => {
                Self::invalid(StatusCode::CONFLICT, faults).into_response()
            }
            other => Self::of(app, other),
        }
    }

    /// A body that could not be read.
    pub(super) fn of_body(error: GatewayError) -> Response {
        let GatewayError(error) = error;
        let headers = HeaderMap::new();
        Self::of_turned_away(TurnedAway { error, headers })
    }

    fn of_denied(app: &AppState, denied: &Denied) -> Response {
        Self::of_turned_away(caller::deny(app, denied))
    }

    fn of_store(error: &StoreError) -> Response {
        tracing::error!(%error, source = ?std::error::Error::source(error), "an admin request failed");
        let mut problem = match error {
            StoreError::Unavailable(_) => {
                let detail = "The database cannot be reached now.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            }
            StoreError::Corrupt { .. } | StoreError::Failed(_) => Self::internal(),
        };
        if problem.status == StatusCode::SERVICE_UNAVAILABLE {
            problem
                .headers
                .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        problem.into_response()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut document = json!({
            // RFC 9457 §4.2.1: nothing beyond the status is meant by the type; the code says more.
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        if !self.faults.is_empty() {
            let errors: Vec<Value> = self.faults.iter().map(error).collect();
            if let Some(members) = document.as_object_mut() {
                members.insert("errors".to_owned(), errors.into());
            }
        }
        let mut response = Response::new(Body::from(document.to_string()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// A fault that is none of what was sent has no pointer into it.
fn error(fault: &DocumentFault) -> Value {
    let mut error = json!({"field": fault.place.to_string(), "detail": fault.reason});
    if let (Some(pointer), Some(members)) = (fault.place.pointer(), error.as_object_mut()) {
        members.insert("pointer".to_owned(), pointer.into());
    }
    error
}
