//! DPoP proofs ([RFC 9449](https://www.rfc-editor.org/rfc/rfc9449) §4.3).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth_wire::{Htu, SigningAlg};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{
    client_keys::ClientKey,
    jwt::Parts,
    public_key::{KeyFault, PublicKey},
};

/// Longer proofs are refused before any work is done. The longest sound one holds an RSA key and signature of 8192 bits.
const MAX_BYTES: usize = 8 * 1024;

/// A `jti` is remembered for a while, so it is bounded; so is a nonce.
const MAX_ID_CHARS: usize = 256;

/// What a proof must be for.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedProof<'a> {
    /// The method of the request (RFC 9449 §4.3 step 8).
    pub method: &'a str,
    /// The addresses under which this endpoint is reached, one of which the proof must name (step 9).
    pub uris: &'a [Htu],
    /// Seconds since the epoch.
    pub now: i64,
    /// How many seconds `iat` may lie before or after `now` (step 11). A proof that was accepted must be remembered by its `jti` until
    /// `iat` plus this (§11.1).
    pub window_seconds: u32,
    /// The access token that comes with the proof, which must then hold its hash (step 12). `None` where no token is presented.
    pub access_token: Option<&'a str>,
    /// The thumbprint of the key to which the token, code or refresh token is bound (step 12). `None` when nothing is bound yet.
    pub jkt: Option<&'a str>,
}

/// A proof that holds. That its `jti` is new and its `nonce` wanted is left to be checked: that needs memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DpopProof {
    /// RFC 7638 thumbprint of the key that signed.
    pub jkt: String,
    pub jti: String,
    /// Seconds since the epoch.
    pub iat: i64,
    pub nonce: Option<String>,
}

/// Why a proof was not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("the DPoP proof is longer than {MAX_BYTES} bytes")]
    TooLong,
    #[error("the DPoP proof is not a well-formed JWT")]
    Malformed,
    #[error("the DPoP proof's typ must be dpop+jwt")]
    Typ,
    #[error("the DPoP proof's alg must be PS256, ES256, EdDSA or a longer one of their kin")]
    Algorithm,
    #[error("the DPoP proof has no jwk in its header")]
    NoKey,
    #[error("the DPoP proof's jwk cannot be used: {0}")]
    Key(KeyFault),
    #[error("the DPoP proof's jwk does not fit its alg")]
    KeyMisfit,
    #[error("the DPoP proof's signature does not hold")]
    BadSignature,
    #[error("the DPoP proof's claim `{0}` is missing or of the wrong type")]
    Claim(&'static str),
    #[error("the DPoP proof's jti and nonce must have 1 to {MAX_ID_CHARS} characters")]
    IdLength,
    #[error("the DPoP proof's htm is not the method of this request")]
    Method,
    #[error("the DPoP proof's htu is not the address of this request")]
    Uri,
    #[error("the DPoP proof was made too long ago")]
    TooOld,
    #[error("the DPoP proof's iat lies in the future")]
    FromTheFuture,
    #[error("the DPoP proof's ath is not the hash of the access token")]
    AccessTokenHash,
    #[error("the DPoP proof was signed with another key than the one that is bound")]
    OtherKey,
}

/// Verifies one DPoP proof by the steps of RFC 9449 §4.3, except that it cannot know whether there was one `DPoP` header (step 1),
/// whether the nonce is wanted (step 10) and whether the `jti` was seen before (§11.1).
///
/// **This is the one place where a key comes from a token's header.** It proves nothing but that the sender has that key: who the
/// sender is comes from what the key's thumbprint is compared with.
///
/// # Errors
/// [`ProofError`]; all but [`ProofError::OtherKey`] and [`ProofError::AccessTokenHash`] are faults of the proof itself.
pub fn verify_dpop_proof(proof: &str, expected: &ExpectedProof<'_>) -> Result<DpopProof, ProofError> {
    if proof.len() > MAX_BYTES {
        return Err(ProofError::TooLong);
    }
    // Step 2: a single and well-formed JWT.
    let parts = Parts::of(proof).map_err(|_| ProofError::Malformed)?;
    let key = signing_key(&parts)?;
    let claims = parts.claims().map_err(|_| ProofError::Malformed)?;
    let jkt = key.thumbprint().ok_or(ProofError::NoKey)?;
    let verified = check_claims(&claims, expected, jkt)?;
    // Step 12, second half.
    match expected.jkt {
        Some(wanted) if wanted != verified.jkt => Err(ProofError::OtherKey),
        _ => Ok(verified),
    }
}

/// Steps 4 to 7: the key that the proof names, after its signature was found to hold.
fn signing_key(parts: &Parts<'_>) -> Result<PublicKey, ProofError> {
    // Step 4. The type keeps other tokens that the same key signed from being taken for proofs.
    if parts.header.get("typ").and_then(Value::as_str) != Some("dpop+jwt") {
        return Err(ProofError::Typ);
    }
    // Step 5.
    let alg = SigningAlg::from_wire(&parts.alg)
        .filter(|alg| SigningAlg::DPOP.contains(alg))
        .ok_or(ProofError::Algorithm)?;
    // Step 7 comes with reading the key: a private one is refused.
    let jwk = parts.header.get("jwk").ok_or(ProofError::NoKey)?;
    let key = ClientKey::for_proof(jwk, alg)
        .map_err(ProofError::Key)?
        .ok_or(ProofError::KeyMisfit)?;
    // Step 6.
    if !key.verifies(alg, parts.signed.as_bytes(), &parts.signature) {
        return Err(ProofError::BadSignature);
    }
    Ok(key)
}

/// Steps 3 and 8 to 12.
fn check_claims(
    claims: &Map<String, Value>,
    expected: &ExpectedProof<'_>,
    jkt: String,
) -> Result<DpopProof, ProofError> {
    let text = |name: &'static str| claims.get(name).and_then(Value::as_str).ok_or(ProofError::Claim(name));
    let (jti, htm, htu) = (text("jti")?, text("htm")?, text("htu")?);
    let iat = claims.get("iat").and_then(seconds).ok_or(ProofError::Claim("iat"))?;
    let nonce = match claims.get("nonce") {
        None => None,
        Some(Value::String(nonce)) => Some(nonce.clone()),
        Some(_) => return Err(ProofError::Claim("nonce")),
    };
    let fits = |id: &str| (1..=MAX_ID_CHARS).contains(&id.chars().count());
    if !fits(jti) || !nonce.as_deref().is_none_or(fits) {
        return Err(ProofError::IdLength);
    }
    // Step 8. Methods are case-sensitive (RFC 9110 §9.1).
    if htm != expected.method {
        return Err(ProofError::Method);
    }
    // Step 9.
    if !expected.uris.iter().any(|uri| uri.is(htu)) {
        return Err(ProofError::Uri);
    }
    // Step 11.
    let window = i64::from(expected.window_seconds);
    if iat < expected.now.saturating_sub(window) {
        return Err(ProofError::TooOld);
    }
    if iat > expected.now.saturating_add(window) {
        return Err(ProofError::FromTheFuture);
    }
    // Step 12, first half: RFC 9449 §4.2.
    if let Some(token) = expected.access_token {
        let wanted = URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()));
        if text("ath")? != wanted {
            return Err(ProofError::AccessTokenHash);
        }
    }
    Ok(DpopProof {
        jkt,
        jti: jti.to_owned(),
        iat,
        nonce,
    })
}

/// A NumericDate (RFC 7519 §2) may have a fraction, which is dropped.
fn seconds(value: &Value) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast of floats saturates, and the window refuses what it makes"
    )]
    let whole = |number: f64| number.floor() as i64;
    value.as_i64().or_else(|| value.as_f64().map(whole))
}

#[cfg(test)]
#[path = "dpop_tests.rs"]
mod tests;
