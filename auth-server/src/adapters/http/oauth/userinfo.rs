//! Userinfo endpoint (OpenID Connect Core §5.3).

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header};
use oauth_wire::{BearerChallenge, BearerErrorCode};

use super::OAuthError;
use crate::{
    adapters::http::{
        App,
        wire::{self, no_store_bytes, no_store_json},
    },
    application::{policy::OPENID, userinfo::UserinfoError},
};

/// GET with a header, POST with a header or a form field (RFC 6750 §2.1, §2.2). Two tokens are an invalid request.
pub(crate) async fn any(State(app): State<App>, request: Request) -> Response {
    let in_header = wire::bearer(request.headers()).map(str::to_owned);
    let is_form = request.method() == Method::POST && request.headers().contains_key(header::CONTENT_TYPE);
    let in_body = match is_form {
        false => None,
        true => match wire::form(request).await {
            Ok(mut form) => form.take("access_token"),
            Err(rejection) => return OAuthError::from(rejection).into_response(),
        },
    };
    let token = match (in_header, in_body) {
        (Some(_), Some(_)) => {
            return refuse(
                StatusCode::BAD_REQUEST,
                Some((BearerErrorCode::InvalidRequest, "the token was sent twice")),
            );
        }
        (Some(token), None) | (None, Some(token)) => token,
        // RFC 6750 §3.1: without credentials, a challenge without an error.
        (None, None) => return refuse(StatusCode::UNAUTHORIZED, None),
    };
    match app.userinfo.claims(&token).await {
        Ok(claims) => no_store_json(StatusCode::OK, &claims),
        Err(UserinfoError::InvalidToken) => {
            let text = "the access token is invalid, expired or revoked";
            refuse(StatusCode::UNAUTHORIZED, Some((BearerErrorCode::InvalidToken, text)))
        }
        Err(UserinfoError::InsufficientScope) => {
            let text = "the access token was not issued for openid";
            refuse(StatusCode::FORBIDDEN, Some((BearerErrorCode::InsufficientScope, text)))
        }
        Err(UserinfoError::Store(error)) => OAuthError::from(error).into_response(),
    }
}

fn refuse(status: StatusCode, error: Option<(BearerErrorCode, &str)>) -> Response {
    let scope = matches!(error, Some((BearerErrorCode::InsufficientScope, _))).then_some(OPENID);
    let challenge = BearerChallenge {
        realm: Some("hexgate"),
        error,
        scope,
        ..BearerChallenge::default()
    };
    let body = error.map(|(code, text)| serde_json::json!({"error": code.as_str(), "error_description": text}));
    let mut response = match &body {
        Some(body) => no_store_json(status, body),
        None => no_store_bytes(status, "{}"),
    };
    // Built from constants, so it is always a legal header value.
    if let Ok(value) = HeaderValue::from_str(&challenge.to_header()) {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, value);
    }
    response
}
