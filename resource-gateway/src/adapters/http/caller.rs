//! The caller of a request, and how callers are turned away ([RFC 6750]).
//!
//! [RFC 6750]: https://www.rfc-editor.org/rfc/rfc6750

use std::sync::Arc;

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use oauth_wire::{BearerChallenge, BearerErrorCode};

use super::{AppState, error::GatewayError};
use crate::{
    application::{meters::Refusal, verify_token::TokenError},
    domain::{
        caller::{Caller, Denied},
        fault::{ErrorKind, PublicError},
    },
};

/// The caller that the request's token stands for, or the answer that turns it away.
pub(super) async fn authenticate(app: &AppState, headers: &HeaderMap) -> Result<Arc<Caller>, Box<Response>> {
    let token = match bearer(headers) {
        Ok(Some(token)) => token,
        Ok(None) => {
            app.meters.refused(Refusal::NoToken);
            let message = "An access token is needed: Authorization: Bearer TOKEN.";
            // RFC 6750 §3.1: without credentials no error code.
            return Err(Box::new(challenge(
                app,
                401,
                None,
                None,
                error(401, "missing_token", message),
            )));
        }
        Err(reason) => {
            app.meters.refused(Refusal::BadToken);
            let code = Some((BearerErrorCode::InvalidRequest, reason));
            return Err(Box::new(challenge(
                app,
                400,
                code,
                None,
                PublicError::invalid(None, "invalid_request", reason),
            )));
        }
    };
    match app.verify_token.verify(token).await {
        Ok(caller) => Ok(caller),
        Err(TokenError::NotReady) => {
            let mut error = PublicError::new(503, ErrorKind::Server, "not_ready", "Tokens cannot be verified yet.");
            error.hints.retry_after = Some("1".into());
            Err(Box::new(GatewayError(error).into_response()))
        }
        Err(fault) => {
            app.meters.refused(match fault {
                TokenError::Revoked => Refusal::RevokedToken,
                TokenError::Unverified | TokenError::Fault(_) | TokenError::NotReady => Refusal::BadToken,
            });
            let reason = fault.to_string();
            let message = format!("The access token is not accepted: {reason}.");
            let code = Some((BearerErrorCode::InvalidToken, reason.as_str()));
            Err(Box::new(challenge(
                app,
                401,
                code,
                None,
                error(401, "invalid_token", &message),
            )))
        }
    }
}

/// The answer for a caller who may not do what it asks for.
pub(super) fn deny(app: &AppState, denied: &Denied) -> Response {
    let (scope, code, message) = match denied {
        Denied::Scope(scope) => (
            Some(scope.as_str()),
            "insufficient_scope",
            format!("The access token lacks the scope {scope}."),
        ),
        Denied::Interface => (
            None,
            "interface_not_granted",
            "Your client was not granted the use of this model.".to_owned(),
        ),
    };
    let reason = match denied {
        Denied::Scope(_) => "the token lacks a scope",
        Denied::Interface => "the client was not granted this model",
    };
    let error = PublicError::new(403, ErrorKind::Permission, code, message);
    // RFC 6750 §3.1: insufficient_scope is the code for 403.
    challenge(
        app,
        403,
        Some((BearerErrorCode::InsufficientScope, reason)),
        scope,
        error,
    )
}

fn error(status: u16, code: &str, message: &str) -> PublicError {
    PublicError::new(status, ErrorKind::Authentication, code, message)
}

fn challenge(
    app: &AppState,
    status: u16,
    error: Option<(BearerErrorCode, &str)>,
    scope: Option<&str>,
    body: PublicError,
) -> Response {
    let challenge = BearerChallenge {
        error,
        scope,
        resource_metadata: Some(&app.metadata.url),
        ..BearerChallenge::default()
    };
    let mut response = GatewayError(PublicError { status, ..body }).into_response();
    if let Ok(value) = HeaderValue::from_str(&challenge.to_header()) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}

/// The bearer token of the header (RFC 6750 §2.1); tokens in URLs and bodies are not looked for (§2.2, §2.3 are not offered).
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("there is more than one Authorization header");
    }
    let Ok(value) = value.to_str() else { return Ok(None) };
    let Some((scheme, token)) = value.split_once(' ') else {
        return Ok(None);
    };
    // RFC 9110 §11.1: the scheme's name knows no case.
    Ok(scheme
        .eq_ignore_ascii_case("Bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty()))
}
