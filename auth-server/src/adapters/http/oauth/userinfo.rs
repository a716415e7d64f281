//! Userinfo endpoint (OpenID Connect Core §5.3).

use axum::{
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use oauth_wire::{BearerChallenge, BearerErrorCode, TokenChallenges, TokenScheme, error::legal_description};
use token_keys::ProofError;

use super::{
    OAuthError,
    possession::{DPOP_NONCE, Possession},
};
use crate::{
    adapters::http::{
        App,
        wire::{self, FormRejection, no_store_bytes, no_store_json, no_store_jwt},
    },
    application::{
        policy::OPENID,
        sender_constraint::{Place, SenderError},
        userinfo::{PresentedToken, UserinfoError, UserinfoReply},
    },
};

/// OpenID Connect Core §5.3.2.
const JWT: &str = "application/jwt";

/// GET with a header, POST with a header or a form field (RFC 6750 §2.1, §2.2). Two tokens are an invalid request. A token that is bound to
/// a key comes in a header of the scheme DPoP, with a proof (RFC 9449 §7.1).
pub(crate) async fn any(State(app): State<App>, request: Request) -> Response {
    let method = request.method().clone();
    let in_header = match token(request.headers()) {
        Ok(token) => token,
        Err(text) => return invalid_request(text),
    };
    let possession = match Possession::read(request.headers(), request.extensions()) {
        Ok(possession) => possession,
        Err(error) => {
            let text = error.to_string();
            return refuse(
                StatusCode::UNAUTHORIZED,
                Some((TokenScheme::Dpop, BearerErrorCode::InvalidDpopProof, &text)),
            );
        }
    };
    let is_form = method == Method::POST && request.headers().contains_key(header::CONTENT_TYPE);
    let in_body = match is_form {
        false => None,
        true => match wire::form(request).await {
            Ok(mut form) => form.take("access_token").map(|token| (TokenScheme::Bearer, token)),
            // RFC 6750 §3: a challenge goes with whatever is wrong with a request for a protected resource.
            Err(FormRejection::Invalid(reason)) => return invalid_request(&reason),
            Err(rejection @ FormRejection::TooLarge) => return OAuthError::from(rejection).into_response(),
        },
    };
    let (scheme, token) = match (in_header, in_body) {
        (Some(_), Some(_)) => return invalid_request("the token was sent twice"),
        (Some(token), None) | (None, Some(token)) => token,
        // RFC 6750 §3.1: without credentials, a challenge without an error.
        (None, None) => return refuse(StatusCode::UNAUTHORIZED, None),
    };
    let presented = PresentedToken {
        token: &token,
        scheme,
        shown: possession.shown(),
        place: Place {
            method: method.as_str(),
            path: "/userinfo",
        },
    };
    match app.userinfo.claims(presented).await {
        Ok(UserinfoReply::Plain(claims)) => no_store_json(StatusCode::OK, &claims),
        Ok(UserinfoReply::Jwt(token)) => no_store_jwt(JWT, token),
        Err(UserinfoError::InvalidToken) => {
            let text = "the access token is invalid, expired or revoked";
            refuse(
                StatusCode::UNAUTHORIZED,
                Some((scheme, BearerErrorCode::InvalidToken, text)),
            )
        }
        Err(UserinfoError::InsufficientScope) => {
            let text = "the access token was not issued for openid";
            refuse(
                StatusCode::FORBIDDEN,
                Some((scheme, BearerErrorCode::InsufficientScope, text)),
            )
        }
        Err(UserinfoError::Sender(error)) => not_possessed(&error),
        Err(UserinfoError::Sealing(error)) => OAuthError::from(error).into_response(),
        Err(UserinfoError::Store(error)) => OAuthError::from(error).into_response(),
    }
}

/// The token of the header, if there is one.
fn token(headers: &HeaderMap) -> Result<Option<(TokenScheme, String)>, &'static str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err("two Authorization headers were sent");
    }
    let token = first.and_then(|value| value.to_str().ok()).and_then(TokenScheme::read);
    Ok(token.map(|(scheme, token)| (scheme, token.to_owned())))
}

type Fault<'a> = Option<(TokenScheme, BearerErrorCode, &'a str)>;

fn invalid_request(text: &str) -> Response {
    refuse(
        StatusCode::BAD_REQUEST,
        Some((TokenScheme::Bearer, BearerErrorCode::InvalidRequest, text)),
    )
}

/// The answer to a good token in hands that may not use it.
fn not_possessed(error: &SenderError) -> Response {
    let text = error.to_string();
    let (scheme, code) = match error {
        SenderError::Nonce { .. } => (TokenScheme::Dpop, BearerErrorCode::UseDpopNonce),
        SenderError::WrongScheme | SenderError::Proof(ProofError::OtherKey | ProofError::AccessTokenHash) => {
            (TokenScheme::Dpop, BearerErrorCode::InvalidToken)
        }
        SenderError::Proof(_) | SenderError::Replayed | SenderError::ProofMissing => {
            (TokenScheme::Dpop, BearerErrorCode::InvalidDpopProof)
        }
        SenderError::NotBound | SenderError::CertificateMissing | SenderError::OtherCertificate => {
            (TokenScheme::Bearer, BearerErrorCode::InvalidToken)
        }
        // Nobody authenticates as a client here.
        SenderError::AssertionReplayed | SenderError::Store(_) | SenderError::OpenSsl(_) => {
            tracing::error!(%error, "a proof of possession could not be checked");
            return StatusCode::INTERNAL_SERVER_ERROR.into_response();
        }
    };
    let mut response = refuse(StatusCode::UNAUTHORIZED, Some((scheme, code, &text)));
    if let SenderError::Nonce { fresh } = error
        && let Ok(value) = HeaderValue::from_str(fresh)
    {
        response.headers_mut().insert(DPOP_NONCE, value);
    }
    response
}

fn refuse(status: StatusCode, fault: Fault<'_>) -> Response {
    let scope = matches!(fault, Some((_, BearerErrorCode::InsufficientScope, _))).then_some(OPENID);
    let challenges = TokenChallenges {
        common: BearerChallenge {
            realm: Some("hexgate"),
            scope,
            ..BearerChallenge::default()
        },
        fault,
    };
    let body = fault.map(
        |(_, code, text)| serde_json::json!({"error": code.as_str(), "error_description": legal_description(text)}),
    );
    let mut response = match &body {
        Some(body) => no_store_json(status, body),
        None => no_store_bytes(status, "{}"),
    };
    for challenge in challenges.to_headers() {
        // Of the legal character set, so it is always a legal header value.
        if let Ok(value) = HeaderValue::from_str(&challenge) {
            response.headers_mut().append(header::WWW_AUTHENTICATE, value);
        }
    }
    response
}
