//! The caller of a request, and how callers are turned away ([RFC 6750]).
//!
//! [RFC 6750]: https://www.rfc-editor.org/rfc/rfc6750

use std::sync::Arc;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use oauth_wire::{BearerChallenge, BearerErrorCode, TokenChallenges, TokenScheme};
use service_kit::PeerCertificate;
use token_keys::ProofError;

pub(super) use super::credential::{Authenticated, Place, authenticate, begin, begin_at};
use super::{AppState, error::GatewayError};
use crate::{
    application::{
        check_possession::{PossessionFault, Presented},
        meters::Refusal,
        verify_token::TokenError,
    },
    domain::{
        caller::{Caller, Denied},
        fault::{ErrorKind, PublicError},
    },
};

const DPOP: HeaderName = HeaderName::from_static("dpop");
/// The code for calls that the token's authorization details (RFC 9396) do not cover.
const DETAILS_DENIED: &str = "authorization_details_denied";
const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// Why a caller is turned away, and the headers that tell it what would help. Each surface writes the error in its own shape.
#[derive(Debug)]
pub(super) struct TurnedAway {
    pub(super) error: PublicError,
    pub(super) headers: HeaderMap,
}

impl IntoResponse for TurnedAway {
    fn into_response(self) -> Response {
        let mut response = GatewayError(self.error).into_response();
        response.headers_mut().extend(self.headers);
        response
    }
}

/// The caller that the request's token stands for, or the answer that turns it away.
pub(super) async fn by_token(app: &AppState, head: &Parts, place: Place<'_>) -> Result<Arc<Caller>, Box<TurnedAway>> {
    let refuse = |status, code: &'static str, fault: Fault<'_>, message: &str| {
        Box::new(challenge(app, status, fault, None, error(status, code, message)))
    };
    let (scheme, token) = match token(&head.headers) {
        Ok(Some(presented)) => presented,
        Ok(None) => {
            app.meters.refused(Refusal::NoToken);
            let message = "An access token is needed: Authorization: Bearer TOKEN.";
            // RFC 6750 §3.1: without credentials no error code.
            return Err(refuse(401, "missing_token", None, message));
        }
        Err(reason) => {
            app.meters.refused(Refusal::BadToken);
            let fault = Some((TokenScheme::Bearer, BearerErrorCode::InvalidRequest, reason));
            let body = PublicError::invalid(None, "invalid_request", reason);
            return Err(Box::new(challenge(app, 400, fault, None, body)));
        }
    };
    let certificate = head.extensions.get::<PeerCertificate>();
    let presented = Presented {
        token,
        scheme,
        proof: match proof(&head.headers) {
            Ok(proof) => proof,
            Err(reason) => {
                app.meters.refused(Refusal::Possession);
                let fault = Some((TokenScheme::Dpop, BearerErrorCode::InvalidDpopProof, reason));
                return Err(refuse(401, "invalid_dpop_proof", fault, reason));
            }
        },
        certificate: certificate.map(|certificate| certificate.thumbprint.as_str()),
        method: place.target.method,
        base: place.base,
        path: place.target.path,
    };
    match app.verify_token.verify(&presented).await {
        Ok(caller) => Ok(caller),
        Err(TokenError::NotReady) => {
            let mut error = PublicError::new(503, ErrorKind::Server, "not_ready", "Tokens cannot be verified yet.");
            error.hints.retry_after = Some("1".into());
            let headers = HeaderMap::new();
            Err(Box::new(TurnedAway { error, headers }))
        }
        Err(TokenError::Possession(fault)) => {
            app.meters.refused(Refusal::Possession);
            Err(Box::new(not_possessed(app, &fault)))
        }
        Err(fault) => {
            app.meters.refused(match fault {
                TokenError::Revoked => Refusal::RevokedToken,
                _ => Refusal::BadToken,
            });
            let reason = fault.to_string();
            let message = format!("The access token is not accepted: {reason}.");
            let fault = Some((scheme, BearerErrorCode::InvalidToken, reason.as_str()));
            Err(refuse(401, "invalid_token", fault, &message))
        }
    }
}

/// The answer to a good token in hands that may not use it.
fn not_possessed(app: &AppState, fault: &PossessionFault) -> TurnedAway {
    let reason = fault.to_string();
    let (code, name) = match fault {
        PossessionFault::Nonce { .. } => (BearerErrorCode::UseDpopNonce, "use_dpop_nonce"),
        PossessionFault::Proof(ProofError::OtherKey | ProofError::AccessTokenHash)
        | PossessionFault::WrongScheme
        | PossessionFault::NotBound
        | PossessionFault::CertificateMissing
        | PossessionFault::OtherCertificate => (BearerErrorCode::InvalidToken, "invalid_token"),
        PossessionFault::Proof(_)
        | PossessionFault::Replayed
        | PossessionFault::ProofMissing
        | PossessionFault::Internal => (BearerErrorCode::InvalidDpopProof, "invalid_dpop_proof"),
    };
    let about = match fault {
        // Another scheme would not help with a certificate.
        PossessionFault::NotBound | PossessionFault::CertificateMissing | PossessionFault::OtherCertificate => {
            Some((TokenScheme::Bearer, code, reason.as_str()))
        }
        _ => Some((TokenScheme::Dpop, code, reason.as_str())),
    };
    let message = format!("The access token is not accepted: {reason}.");
    let mut away = challenge(app, 401, about, None, error(401, name, &message));
    if let PossessionFault::Nonce { fresh } = fault
        && let Ok(value) = HeaderValue::from_str(fresh)
    {
        away.headers.insert(DPOP_NONCE, value);
    }
    away
}

/// The answer for a caller who may not do what it asks for. Counts it.
pub(super) fn deny(app: &AppState, denied: &Denied) -> TurnedAway {
    app.meters.denied(denied);
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
        Denied::Permission(code) => (None, "permission_denied", format!("You lack the permission {code}.")),
        Denied::Installation(code) => (
            None,
            "permission_denied",
            format!("Your permission {code} is for your own tenant; this is for the operator's people."),
        ),
        Denied::Details => (
            None,
            DETAILS_DENIED,
            "The authorization_details of the access token do not name this model.".to_owned(),
        ),
        Denied::DetailsEnded => (
            None,
            DETAILS_DENIED,
            "The time for which the authorization_details of the access token allow this model is over.".to_owned(),
        ),
    };
    let reason = match denied {
        Denied::Scope(_) => "the token lacks a scope",
        Denied::Permission(_) | Denied::Installation(_) => "the person lacks a permission",
        Denied::Interface => "the client was not granted this model",
        Denied::Details => "the authorization details do not name this model",
        Denied::DetailsEnded => "the authorization details for this model have ended",
    };
    let error = PublicError::new(403, ErrorKind::Permission, code, message);
    // RFC 6750 §3.1: insufficient_scope is the code for 403.
    challenge(
        app,
        403,
        Some((TokenScheme::Bearer, BearerErrorCode::InsufficientScope, reason)),
        scope,
        error,
    )
}

fn error(status: u16, code: &str, message: &str) -> PublicError {
    PublicError::new(status, ErrorKind::Authentication, code, message)
}

pub(super) type Fault<'a> = Option<(TokenScheme, BearerErrorCode, &'a str)>;

pub(super) fn challenge(
    app: &AppState,
    status: u16,
    fault: Fault<'_>,
    scope: Option<&str>,
    body: PublicError,
) -> TurnedAway {
    let challenges = TokenChallenges {
        common: BearerChallenge {
            scope,
            resource_metadata: Some(&app.metadata.url),
            ..BearerChallenge::default()
        },
        fault,
    };
    let mut headers = HeaderMap::new();
    for header in challenges.to_headers() {
        if let Ok(value) = HeaderValue::from_str(&header) {
            headers.append(header::WWW_AUTHENTICATE, value);
        }
    }
    let error = PublicError { status, ..body };
    TurnedAway { error, headers }
}

/// The token of the header (RFC 6750 §2.1, RFC 9449 §7.1); tokens in URLs and bodies are not looked for (RFC 6750 §2.2, §2.3 are not
/// offered).
fn token(headers: &HeaderMap) -> Result<Option<(TokenScheme, &str)>, &'static str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("there is more than one Authorization header");
    }
    let Ok(value) = value.to_str() else { return Ok(None) };
    Ok(TokenScheme::read(value).filter(|(_, token)| !token.is_empty()))
}

/// The one `DPoP` header (RFC 9449 §4.3 step 1).
fn proof(headers: &HeaderMap) -> Result<Option<&str>, &'static str> {
    let mut values = headers.get_all(DPOP).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err("there is more than one DPoP header");
    }
    value.to_str().map(Some).map_err(|_| "the DPoP header is not a JWT")
}
