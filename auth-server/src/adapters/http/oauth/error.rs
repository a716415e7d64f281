//! Errors of the token endpoint and its neighbours as JSON (RFC 6749 §5.2).

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use oauth_wire::{OAuthErrorCode, error::legal_description};
use serde_json::json;
use service_kit::Timestamp;

use super::possession::DPOP_NONCE;
use crate::{
    adapters::http::wire::no_store_json,
    application::{
        authorize::{AuthorizeError, PushError},
        meters::count_error,
        token_error::TokenError,
    },
    ports::store::StoreError,
};

const BASIC_CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"hexgate\", charset=\"UTF-8\"");

/// What the client is told, apart from what the log is told.
#[derive(Debug)]
pub(crate) struct OAuthError {
    status: StatusCode,
    code: OAuthErrorCode,
    description: String,
    /// Seconds, for `Retry-After`.
    retry_after: Option<u64>,
    /// For `DPoP-Nonce`.
    dpop_nonce: Option<String>,
}

impl OAuthError {
    fn new(status: StatusCode, code: OAuthErrorCode, description: impl Into<String>) -> Self {
        Self {
            status,
            code,
            description: description.into(),
            retry_after: None,
            dpop_nonce: None,
        }
    }

    pub(crate) fn too_large() -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            OAuthErrorCode::InvalidRequest,
            "the body is too large",
        )
    }

    pub(crate) fn bad_request(code: OAuthErrorCode, description: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, description)
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            OAuthErrorCode::InvalidRequest,
            "the method is not allowed here",
        )
    }

    /// The caller is known and may not: at our own endpoints, where RFC 6749 §5.2 and its 400 do not rule (RFC 9110 §15.5.4).
    pub(crate) fn forbidden(description: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, OAuthErrorCode::UnauthorizedClient, description)
    }

    /// As `From`, with the time that is left of a block told in `Retry-After`.
    pub(crate) fn at(error: TokenError, now: Timestamp) -> Self {
        let left = match &error {
            TokenError::Throttled { until } => Some(until.since(now).as_secs() + 1),
            _ => None,
        };
        let answered = Self::from(error);
        Self {
            retry_after: left.or(answered.retry_after),
            ..answered
        }
    }

    pub(crate) fn unavailable(description: &str) -> Self {
        let code = OAuthErrorCode::TemporarilyUnavailable;
        Self {
            retry_after: Some(1),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, description)
        }
    }

    fn failed() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            OAuthErrorCode::ServerError,
            "something went wrong on our side",
        )
    }
}

impl From<TokenError> for OAuthError {
    fn from(error: TokenError) -> Self {
        use OAuthErrorCode as Code;
        let bad = |code, description: &str| Self::new(StatusCode::BAD_REQUEST, code, description);
        match error {
            TokenError::InvalidRequest(reason) => bad(Code::InvalidRequest, &reason),
            TokenError::InvalidClient => Self::new(
                StatusCode::UNAUTHORIZED,
                Code::InvalidClient,
                "client authentication failed",
            ),
            // RFC 7521 §4.2.1.
            TokenError::InvalidAssertion(reason) => Self::new(
                StatusCode::UNAUTHORIZED,
                Code::InvalidClient,
                format!("the client assertion is refused: {reason}"),
            ),
            TokenError::InvalidGrant(reason) => bad(Code::InvalidGrant, reason),
            TokenError::UnauthorizedClient(reason) => bad(Code::UnauthorizedClient, reason),
            TokenError::UnsupportedGrantType => bad(Code::UnsupportedGrantType, "grant_type is not supported"),
            TokenError::InvalidTarget(reason) => bad(Code::InvalidTarget, reason),
            TokenError::InvalidAuthorizationDetails(reason) => bad(Code::InvalidAuthorizationDetails, reason),
            TokenError::InvalidDpopProof(reason) => bad(Code::InvalidDpopProof, &reason),
            // RFC 9449 §8: the client tries again with the nonce of the header.
            TokenError::UseDpopNonce { ref fresh } => Self {
                dpop_nonce: Some(fresh.clone()),
                ..bad(Code::UseDpopNonce, &error.to_string())
            },
            TokenError::InvalidScope(reason) => bad(Code::InvalidScope, reason),
            waiting @ TokenError::AuthorizationPending => bad(Code::AuthorizationPending, &waiting.to_string()),
            waiting @ TokenError::SlowDown => bad(Code::SlowDown, &waiting.to_string()),
            denied @ TokenError::AccessDenied => bad(Code::AccessDenied, &denied.to_string()),
            expired @ TokenError::ExpiredToken => bad(Code::ExpiredToken, &expired.to_string()),
            unknown @ TokenError::UnknownUser => bad(Code::UnknownUserId, &unknown.to_string()),
            TokenError::InvalidBindingMessage(reason) => bad(Code::InvalidBindingMessage, reason),
            TokenError::Throttled { .. } => {
                let description = "too many attempts, try again later";
                Self {
                    retry_after: Some(60),
                    ..Self::new(StatusCode::TOO_MANY_REQUESTS, Code::SlowDown, description)
                }
            }
            TokenError::ClientOutOfReach => {
                Self::unavailable("the description or the keys of the client cannot be had just now, try again")
            }
            TokenError::KeysOutOfReach => {
                Self::unavailable("the keys of the assertion's issuer cannot be had just now, try again")
            }
            TokenError::Busy => Self::unavailable("too many log-ins at once"),
            TokenError::Store(error) => error.into(),
            TokenError::Signing(error) => {
                tracing::error!(%error, "a token could not be signed");
                Self::failed()
            }
            TokenError::Internal(error) => {
                tracing::error!(%error, "a request failed");
                Self::failed()
            }
        }
    }
}

/// Of an authorization request that was pushed: there is no page and no redirect, whatever is wrong (RFC 9126 §2.3).
impl From<AuthorizeError> for OAuthError {
    fn from(error: AuthorizeError) -> Self {
        match error {
            AuthorizeError::Page { code, sentence } => Self::new(StatusCode::BAD_REQUEST, code, sentence),
            AuthorizeError::Redirect(error) => Self::new(StatusCode::BAD_REQUEST, error.error, error.description),
            AuthorizeError::Store(error) => error.into(),
        }
    }
}

impl From<PushError> for OAuthError {
    fn from(error: PushError) -> Self {
        match error {
            PushError::Request(error) => error.into(),
            PushError::Sender(error) => TokenError::from(error).into(),
            PushError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for OAuthError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Unavailable(cause) => {
                tracing::warn!(%error, %cause, "storage is unavailable");
                Self::unavailable("storage is unavailable, try again")
            }
            StoreError::Failed(cause) => {
                tracing::error!(%error, %cause, "storage failed");
                Self::failed()
            }
            StoreError::Conflict(_) | StoreError::Corrupt { .. } => {
                tracing::error!(%error, "storage failed");
                Self::failed()
            }
        }
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        count_error(self.code.as_str());
        let body = json!({
            "error": self.code.as_str(),
            "error_description": legal_description(&self.description),
        });
        let mut response = no_store_json(self.status, &body);
        // RFC 6749 §5.2: the challenge is due when the client tried Basic; sent always, it tells others how to.
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, BASIC_CHALLENGE);
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if let Some(Ok(nonce)) = self.dpop_nonce.as_deref().map(HeaderValue::from_str) {
            response.headers_mut().insert(DPOP_NONCE, nonce);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_the_status_that_its_rfc_gives_it() {
        let unavailable = || StoreError::Unavailable("gone".into());
        let table: Vec<(TokenError, u16, &str)> = vec![
            (TokenError::InvalidRequest("x".into()), 400, "invalid_request"),
            (TokenError::InvalidClient, 401, "invalid_client"),
            (TokenError::InvalidAssertion("x"), 401, "invalid_client"),
            (TokenError::InvalidGrant("x"), 400, "invalid_grant"),
            (TokenError::UnauthorizedClient("x"), 400, "unauthorized_client"),
            (TokenError::UnsupportedGrantType, 400, "unsupported_grant_type"),
            (TokenError::InvalidScope("x"), 400, "invalid_scope"),
            (TokenError::InvalidTarget("x"), 400, "invalid_target"),
            (TokenError::AuthorizationPending, 400, "authorization_pending"),
            (TokenError::SlowDown, 400, "slow_down"),
            (TokenError::AccessDenied, 400, "access_denied"),
            (TokenError::ExpiredToken, 400, "expired_token"),
            (TokenError::UnknownUser, 400, "unknown_user_id"),
            (TokenError::InvalidBindingMessage("x"), 400, "invalid_binding_message"),
            (
                TokenError::InvalidAuthorizationDetails("x"),
                400,
                "invalid_authorization_details",
            ),
            (
                TokenError::Throttled {
                    until: Timestamp::from_seconds(0),
                },
                429,
                "slow_down",
            ),
            (TokenError::ClientOutOfReach, 503, "temporarily_unavailable"),
            (TokenError::Busy, 503, "temporarily_unavailable"),
            (TokenError::Store(unavailable()), 503, "temporarily_unavailable"),
            (TokenError::Store(StoreError::Conflict("x")), 500, "server_error"),
        ];
        for (error, status, code) in table {
            let answered = OAuthError::from(error);
            assert_eq!((answered.status.as_u16(), answered.code.as_str()), (status, code));
        }
    }
}
