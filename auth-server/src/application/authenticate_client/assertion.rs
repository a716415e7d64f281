//! The claims of client assertions (RFC 7523 §3, rfc7523bis, FAPI 2.0 §5.3.2.1).

use std::time::Duration;

use serde_json::{Map, Value};
use service_kit::Timestamp;
use token_keys::ForeignJwt;

use crate::{
    application::policy::Policy,
    domain::{client::Client, client_protocol::AssertionAudience},
    ports::store::{SingleUseId, SingleUseKind},
};

/// How far clocks may be apart when the end of a lifetime is judged.
const SKEW: Duration = Duration::from_secs(10);
/// How far `iat` and `nbf` may lie ahead (FAPI 2.0 §5.3.2.1: 10 seconds at least, 60 at most).
const AHEAD: Duration = Duration::from_secs(60);
/// Longest `jti`.
const MAX_JTI: usize = 256;
/// `typ` of an assertion that says what it is (rfc7523bis); most say nothing, or that they are a JWT.
const TYP: &str = "client-authentication+jwt";

/// Whether an assertion whose signature holds authenticates the client now. What it returns must be spent before anything is done for the
/// client.
///
/// # Errors
/// What is wrong, for whoever holds the client's key.
pub(super) fn check(
    jwt: &ForeignJwt,
    client: &Client,
    policy: &Policy,
    now: Timestamp,
) -> Result<SingleUseId, &'static str> {
    if jwt.typ.is_some() && !jwt.is_typ("JWT") && !jwt.is_typ(TYP) {
        return Err("the assertion is a JWT of another kind");
    }
    let claims = &jwt.claims;
    let is_client = |name: &str| claims.get(name).and_then(Value::as_str) == Some(client.client_id.as_str());
    if !is_client("iss") || !is_client("sub") {
        return Err("iss and sub must both be the client_id");
    }
    check_audience(claims, client, policy)?;
    let expires_at = lifetime(claims, policy.client_auth.max_assertion_lifetime, now)?;
    let jti = jti(claims)?;
    Ok(SingleUseId {
        namespace: SingleUseKind::ClientAssertion,
        id: format!("{} {jti}", client.client_id),
        expires_at,
    })
}

/// Until when the assertion, which lives for `longest` at most, works: its times hold now.
///
/// # Errors
/// What is wrong.
pub(in crate::application) fn lifetime(
    claims: &Map<String, Value>,
    longest: Duration,
    now: Timestamp,
) -> Result<Timestamp, &'static str> {
    let expires_at = time(claims, "exp")?.ok_or("exp is missing")?;
    if now >= expires_at + SKEW {
        return Err("the assertion has expired");
    }
    if expires_at > now + longest + SKEW {
        return Err("exp is too far ahead");
    }
    for claim in ["nbf", "iat"] {
        if time(claims, claim)?.is_some_and(|at| at > now + AHEAD) {
            return Err("the assertion is not valid yet");
        }
    }
    Ok(expires_at + SKEW)
}

/// By what an assertion is known when it comes again.
///
/// # Errors
/// FAPI 2.0 and OpenID Connect Core §9 demand a jti; without one nothing would keep an assertion from being sent again.
pub(in crate::application) fn jti(claims: &Map<String, Value>) -> Result<&str, &'static str> {
    let jti = claims.get("jti").and_then(Value::as_str).unwrap_or_default();
    match jti.is_empty() || jti.len() > MAX_JTI {
        true => Err("jti must have 1 to 256 characters"),
        false => Ok(jti),
    }
}

/// A single string: a list could name somebody who then uses the assertion here (rfc7523bis §3).
fn check_audience(claims: &Map<String, Value>, client: &Client, policy: &Policy) -> Result<(), &'static str> {
    let Some(Value::String(audience)) = claims.get("aud") else {
        return Err("aud must be the issuer, as a single string");
    };
    if *audience == policy.issuer {
        return Ok(());
    }
    match client.protocol.client_assertion_audience {
        AssertionAudience::TokenEndpoint if policy.is_client_endpoint(audience) => Ok(()),
        AssertionAudience::TokenEndpoint => Err("aud must be the issuer or one of its endpoints, as a single string"),
        AssertionAudience::Issuer => Err("aud must be the issuer, as a single string"),
    }
}

/// A `NumericDate` (RFC 7519 §2): seconds, perhaps with a fraction.
///
/// # Errors
/// When it is something else.
pub(in crate::application) fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<Timestamp>, &'static str> {
    let Some(value) = claims.get(name) else {
        return Ok(None);
    };
    let seconds = match value.as_i64() {
        Some(seconds) => Some(seconds),
        // Rounded down: a fraction of a second is no matter here.
        None => value
            .as_f64()
            .map(f64::floor)
            .filter(|at| at.abs() < 1e12)
            .and_then(whole),
    };
    seconds
        .filter(|seconds| *seconds >= 0)
        .map(|seconds| Some(Timestamp::from_seconds(seconds)))
        .ok_or("exp, nbf and iat must be seconds since the epoch")
}

#[expect(clippy::cast_possible_truncation, reason = "the caller has seen to its size")]
fn whole(seconds: f64) -> Option<i64> {
    seconds.is_finite().then_some(seconds as i64)
}

#[cfg(test)]
#[path = "assertion_tests.rs"]
mod tests;
