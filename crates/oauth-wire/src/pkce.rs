//! Proof Key for Code Exchange ([RFC 7636](https://www.rfc-editor.org/rfc/rfc7636)), method `S256` only.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A `code_challenge` of method `S256`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeChallenge(String);

/// A `code_verifier`. Debug output never shows it.
#[derive(Clone)]
pub struct CodeVerifier(String);

/// What is wrong with PKCE parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PkceError {
    #[error("code_challenge_method must be S256")]
    MethodNotS256,
    #[error("code_challenge must be the base64url form of a SHA-256 digest, 43 characters")]
    MalformedChallenge,
    #[error("code_verifier must have 43 to 128 unreserved characters")]
    MalformedVerifier,
}

impl CodeChallenge {
    /// Reads `code_challenge` and `code_challenge_method`. A missing method means `plain` (RFC 7636 §4.3), which is refused.
    ///
    /// # Errors
    /// [`PkceError`] when the method is not `S256` or the challenge cannot be a digest.
    pub fn parse(challenge: &str, method: Option<&str>) -> Result<Self, PkceError> {
        if method != Some("S256") {
            return Err(PkceError::MethodNotS256);
        }
        Self::from_stored(challenge)
    }

    /// Reads a challenge that was stored earlier.
    ///
    /// # Errors
    /// [`PkceError::MalformedChallenge`] when it is not a base64url SHA-256 digest.
    pub fn from_stored(challenge: &str) -> Result<Self, PkceError> {
        match URL_SAFE_NO_PAD.decode(challenge) {
            Ok(digest) if digest.len() == 32 => Ok(Self(challenge.to_owned())),
            _ => Err(PkceError::MalformedChallenge),
        }
    }

    /// The challenge that belongs to a verifier.
    pub fn of(verifier: &CodeVerifier) -> Self {
        Self(URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.0.as_bytes())))
    }

    /// Tells whether the verifier is the one that the challenge was made from.
    pub fn is_met_by(&self, verifier: &CodeVerifier) -> bool {
        // RFC 7636 §4.6; in constant time, since the challenge may be guessed byte by byte otherwise.
        Self::of(verifier).0.as_bytes().ct_eq(self.0.as_bytes()).into()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CodeVerifier {
    /// Reads a `code_verifier` (RFC 7636 §4.1: 43 to 128 unreserved characters).
    ///
    /// # Errors
    /// [`PkceError::MalformedVerifier`].
    pub fn parse(text: &str) -> Result<Self, PkceError> {
        let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~');
        if !(43..=128).contains(&text.len()) || !text.bytes().all(legal) {
            return Err(PkceError::MalformedVerifier);
        }
        Ok(Self(text.to_owned()))
    }

    /// The verifier itself, for the state machine that checks it once more.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CodeVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeVerifier([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_rfc_7636_appendix_b_holds() {
        let verifier = CodeVerifier::parse("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
        let challenge = CodeChallenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", Some("S256")).unwrap();
        assert!(challenge.is_met_by(&verifier));
    }

    #[test]
    fn plain_a_missing_method_and_a_short_challenge_are_refused() {
        let good = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
        assert_eq!(CodeChallenge::parse(good, Some("plain")), Err(PkceError::MethodNotS256));
        assert_eq!(CodeChallenge::parse(good, None), Err(PkceError::MethodNotS256));
        assert_eq!(
            CodeChallenge::parse(&good[..42], Some("S256")),
            Err(PkceError::MalformedChallenge)
        );
    }

    #[test]
    fn a_verifier_has_43_to_128_characters() {
        for (length, good) in [(42, false), (43, true), (128, true), (129, false)] {
            assert_eq!(CodeVerifier::parse(&"a".repeat(length)).is_ok(), good, "{length}");
        }
    }

    proptest! {
        #[test]
        fn only_the_verifier_itself_meets_its_challenge(a in "[A-Za-z0-9._~-]{43,128}", b in "[A-Za-z0-9._~-]{43,128}") {
            let challenge = CodeChallenge::of(&CodeVerifier::parse(&a).unwrap());
            prop_assert_eq!(challenge.is_met_by(&CodeVerifier::parse(&b).unwrap()), a == b);
        }
    }
}
