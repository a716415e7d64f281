//! Requests that are signed by an access key (docs/access-keys.md), and how bad ones are turned away.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use service_kit::{PeerAddress, Timestamp};
use sha2::{Digest as _, Sha256};

use super::{AppState, caller::TurnedAway};
use crate::{
    application::{
        access_keys::{SignatureError, Signed},
        meters::Refusal,
    },
    domain::{
        fault::{ErrorKind, PublicError},
        signature::{Authorization, HOST, SCHEME, SignatureFault, SignedRequest},
    },
};

const X_HEXGATE_DATE: HeaderName = HeaderName::from_static("x-hexgate-date");
/// A long body is hashed in pieces, so that other requests get their turn in between.
const PIECE: usize = 256 * 1024;

/// What a signature covers beside the headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    /// Stands in for the `Host` header.
    pub(super) host: Option<&'a str>,
}

impl<'a> Target<'a> {
    /// The request itself.
    pub(super) fn of(head: &'a Parts) -> Self {
        Self {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query(),
            host: None,
        }
    }
}

/// Verifies the signature of a request.
pub(super) async fn verify(
    app: &AppState,
    head: &Parts,
    authorization: &str,
    target: Target<'_>,
) -> Result<Signed, Box<TurnedAway>> {
    let verified = async {
        let authorization = Authorization::read(authorization)?.ok_or(SignatureFault::Parameters)?;
        let headers = headers(head, target.host)?;
        let request = SignedRequest {
            method: target.method,
            path: target.path,
            query: target.query,
            headers: &headers,
        };
        let address = head.extensions.get::<PeerAddress>().map(|peer| peer.0.ip());
        app.verify_signature.verify(&authorization, &request, address).await
    };
    verified.await.map_err(|error| {
        app.meters.refused(Refusal::BadSignature);
        Box::new(refuse(&error))
    })
}

/// All headers as they came, and one `host`.
fn headers<'a>(head: &'a Parts, host: Option<&'a str>) -> Result<Vec<(&'a str, Option<&'a str>)>, SignatureFault> {
    let mut headers: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().ok()))
        .collect();
    // HTTP/2 names the host in `:authority` (RFC 9113 §8.3.1); where both are told they must agree.
    let authority = head.uri.authority().map(axum::http::uri::Authority::as_str);
    if let Some(host) = host {
        headers.retain(|(name, _)| *name != HOST);
        headers.push((HOST, Some(host)));
    } else if let Some(authority) = authority {
        let mut named = headers.iter().filter(|(name, _)| *name == HOST).peekable();
        if named.peek().is_none() {
            headers.push((HOST, Some(authority)));
        } else if named.any(|(_, host)| !host.is_some_and(|host| host.eq_ignore_ascii_case(authority))) {
            return Err(SignatureFault::HeaderTwice);
        }
    }
    Ok(headers)
}

/// SHA-256 of a body.
pub(super) async fn digest_of(body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for (at, piece) in body.chunks(PIECE).enumerate() {
        if at > 0 {
            tokio::task::yield_now().await;
        }
        hash.update(piece);
    }
    hash.finalize().into()
}

/// The answer to a body that is not the one that was signed for.
pub(super) fn other_body(app: &AppState) -> TurnedAway {
    app.meters.refused(Refusal::BadSignature);
    let message = "The body of the request is not the one that was signed: x-hexgate-content-sha256 differs.";
    challenge("body_digest_mismatch", 401, message, None)
}

/// The answer to a signature on a request that is not to have a body, and may have one.
pub(super) fn unread_body(app: &AppState) -> TurnedAway {
    app.meters.refused(Refusal::BadSignature);
    let message =
        "This address takes signed requests without a body only: GET, HEAD and DELETE, with the digest of nothing.";
    challenge("body_digest_mismatch", 401, message, None)
}

fn refuse(error: &SignatureError) -> TurnedAway {
    let text = error.to_string();
    let unavailable = |code: &'static str, seconds: &str| {
        let mut error = PublicError::new(503, ErrorKind::Server, code, sentence(&text));
        error.hints.retry_after = Some(seconds.into());
        without_headers(error)
    };
    match error {
        SignatureError::Malformed(_) => challenge("malformed_signature", 400, &text, None),
        SignatureError::Stale { now } => challenge("request_time_skewed", 401, &text, Some(*now)),
        SignatureError::Unverified => challenge("invalid_signature", 401, &text, None),
        SignatureError::Disabled => challenge("access_key_disabled", 401, &text, None),
        SignatureError::Revoked => challenge("access_key_revoked", 401, &text, None),
        SignatureError::Replayed => challenge("nonce_replayed", 401, &text, None),
        SignatureError::Address => {
            let error = PublicError::new(403, ErrorKind::Permission, "address_not_allowed", sentence(&text));
            without_headers(error)
        }
        SignatureError::TooMany => {
            let mut error = PublicError::new(429, ErrorKind::RateLimit, "rate_limit_exceeded", sentence(&text));
            error.hints.retry_after = Some("15".into());
            without_headers(error)
        }
        SignatureError::Full => unavailable("signatures_unavailable", "15"),
        SignatureError::Unknown => unavailable("signatures_unavailable", "1"),
        SignatureError::NotReady => unavailable("not_ready", "1"),
        SignatureError::Store(cause) => {
            tracing::error!(error = %cause, source = ?std::error::Error::source(cause).map(ToString::to_string), "access keys cannot be read");
            unavailable("signatures_unavailable", "1")
        }
    }
}

fn without_headers(error: PublicError) -> TurnedAway {
    let headers = HeaderMap::new();
    TurnedAway { error, headers }
}

/// As callers read it.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

/// RFC 9110 §11.6.1: a 401 names the scheme that would do. The texts are ours and hold no quote.
fn challenge(code: &str, status: u16, text: &str, now: Option<Timestamp>) -> TurnedAway {
    let message = if text.ends_with('.') {
        text.to_owned()
    } else {
        sentence(text)
    };
    let error = PublicError::new(status, ErrorKind::Authentication, code, message);
    let mut headers = HeaderMap::new();
    let challenge = format!("{SCHEME} error=\"{code}\", error_description=\"{text}\"");
    if let Ok(value) = HeaderValue::try_from(challenge) {
        headers.insert(header::WWW_AUTHENTICATE, value);
    }
    // A caller whose clock is wrong can sign by ours.
    if let Some(Ok(value)) =
        now.map(|now| HeaderValue::try_from(Timestamp::from_seconds(now.as_seconds()).to_rfc3339()))
    {
        headers.insert(X_HEXGATE_DATE, value);
    }
    TurnedAway { error, headers }
}
