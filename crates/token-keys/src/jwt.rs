//! JSON Web Tokens in compact form.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use oauth_wire::SigningAlg;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::strict_json;

/// Longer tokens are refused before any work is done.
const MAX_BYTES: usize = 16 * 1024;

/// A token whose signature holds. Nothing is said about its claims.
#[derive(Debug, Clone)]
pub struct VerifiedJwt {
    pub kid: String,
    pub alg: SigningAlg,
    pub typ: Option<String>,
    pub claims: Map<String, Value>,
}

impl VerifiedJwt {
    /// Tells whether `typ` is the given media type, with or without its `application/` prefix (RFC 7515 §4.1.9).
    pub fn is_typ(&self, wanted: &str) -> bool {
        is_media_type(self.typ.as_deref(), wanted)
    }
}

/// A token of a client's whose signature holds. Nothing is said about its claims.
#[derive(Debug, Clone)]
pub struct ForeignJwt {
    /// One of the algorithms that the caller allowed.
    pub alg: &'static str,
    pub kid: Option<String>,
    pub typ: Option<String>,
    pub claims: Map<String, Value>,
}

impl ForeignJwt {
    /// Tells whether `typ` is the given media type, with or without its `application/` prefix (RFC 7515 §4.1.9).
    pub fn is_typ(&self, wanted: &str) -> bool {
        is_media_type(self.typ.as_deref(), wanted)
    }
}

fn is_media_type(typ: Option<&str>, wanted: &str) -> bool {
    typ.is_some_and(|typ| {
        let bare = typ
            .get(..12)
            .filter(|prefix| prefix.eq_ignore_ascii_case("application/"))
            .map_or(typ, |_| typ.get(12..).unwrap_or_default());
        bare.eq_ignore_ascii_case(wanted)
    })
}

/// Why a token was not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("the token is not a JWT")]
    Malformed,
    #[error("the token's algorithm is not allowed")]
    AlgorithmNotAllowed,
    #[error("the token's key is not known")]
    UnknownKey,
    #[error("the token's signature does not hold")]
    BadSignature,
    #[error("the secret is shorter than the hash of the token's algorithm")]
    ShortSecret,
}

/// What may be looked at before a token is believed; `jwk`, `jku`, `x5u`, `x5c` are not among it, so no key ever comes from a token.
#[derive(Debug, Clone, Deserialize)]
pub struct UnverifiedHeader {
    pub alg: String,
    pub kid: Option<String>,
    pub typ: Option<String>,
}

/// Reads a token's header without believing it: to find out whether its `kid` is known.
///
/// # Errors
/// [`VerifyError::Malformed`].
pub fn peek_header(token: &str) -> Result<UnverifiedHeader, VerifyError> {
    let (header, _) = token.split_once('.').ok_or(VerifyError::Malformed)?;
    if header.len() > MAX_BYTES {
        return Err(VerifyError::Malformed);
    }
    let bytes = URL_SAFE_NO_PAD.decode(header).map_err(|_| VerifyError::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| VerifyError::Malformed)
}

/// Reads a token's claims without believing them: to find out whose keys are to verify it.
///
/// # Errors
/// [`VerifyError::Malformed`].
pub fn peek_claims(token: &str) -> Result<Map<String, Value>, VerifyError> {
    Parts::of(token)?.claims()
}

/// A compact JWS, taken apart. A doubled member anywhere is refused, and so is `crit` (RFC 7515 §4.1.11), since no
/// extension is understood.
pub(crate) struct Parts<'a> {
    pub(crate) header: Map<String, Value>,
    pub(crate) alg: String,
    pub(crate) signed: &'a str,
    pub(crate) signature: Vec<u8>,
    payload: Vec<u8>,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(token: &'a str) -> Result<Self, VerifyError> {
        if token.len() > MAX_BYTES {
            return Err(VerifyError::Malformed);
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| VerifyError::Malformed);
        // Two dots, no more: a third would stand in the signature, where the decoder refuses it.
        let (header, rest) = token.split_once('.').ok_or(VerifyError::Malformed)?;
        let (payload, signature) = rest.split_once('.').ok_or(VerifyError::Malformed)?;
        let (signed, _) = token.rsplit_once('.').ok_or(VerifyError::Malformed)?;
        let header = strict_json::object(&decode(header)?).map_err(|_| VerifyError::Malformed)?;
        let alg = header
            .get("alg")
            .and_then(Value::as_str)
            .ok_or(VerifyError::Malformed)?
            .to_owned();
        if header.contains_key("crit") {
            return Err(VerifyError::Malformed);
        }
        Ok(Self {
            header,
            alg,
            signed,
            signature: decode(signature)?,
            payload: decode(payload)?,
        })
    }

    pub(crate) fn claims(&self) -> Result<Map<String, Value>, VerifyError> {
        strict_json::object(&self.payload).map_err(|_| VerifyError::Malformed)
    }

    /// A member of the header that must be text when it is there.
    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, VerifyError> {
        match self.header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(VerifyError::Malformed),
        }
    }

    /// What the token says, once its signature is known to hold.
    pub(crate) fn verified(&self, alg: &'static str) -> Result<ForeignJwt, VerifyError> {
        Ok(ForeignJwt {
            alg,
            kid: self.text("kid")?,
            typ: self.text("typ")?,
            claims: self.claims()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Jwks, SigningKeyPair};
    use proptest::prelude::*;

    fn encode(text: &str) -> String {
        URL_SAFE_NO_PAD.encode(text)
    }

    fn with_header(token: &str, header: &str) -> String {
        let (_, rest) = token.split_once('.').unwrap();
        format!("{}.{rest}", encode(header))
    }

    #[test]
    fn a_token_of_ours_verifies_and_a_changed_one_does_not() {
        for alg in SigningAlg::ISSUED {
            let pair = SigningKeyPair::generate(alg).unwrap();
            let jwks = Jwks::from_keys([&pair.public_jwk()]);
            let token = pair.sign("at+jwt", br#"{"sub":"a"}"#).unwrap();
            let verified = jwks.verify(&token).unwrap();
            assert_eq!(verified.claims["sub"], "a");
            assert!(verified.is_typ("at+jwt"));
            let (signed, signature) = token.rsplit_once('.').unwrap();
            let (header, _) = signed.split_once('.').unwrap();
            let forged = format!("{header}.{}.{signature}", encode(r#"{"sub":"b"}"#));
            assert_eq!(jwks.verify(&forged).unwrap_err(), VerifyError::BadSignature);
        }
    }

    #[test]
    fn no_header_talks_us_into_another_algorithm_or_key() {
        let pair = SigningKeyPair::generate(SigningAlg::Rs256).unwrap();
        let public = pair.public_jwk();
        let jwks = Jwks::from_keys([&public]);
        let token = pair.sign("at+jwt", b"{}").unwrap();
        let kid = pair.kid();
        let jwk = serde_json::to_string(&public).unwrap();
        for (header, why) in [
            (
                format!(r#"{{"alg":"none","kid":"{kid}"}}"#),
                VerifyError::AlgorithmNotAllowed,
            ),
            (
                format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#),
                VerifyError::AlgorithmNotAllowed,
            ),
            (
                format!(r#"{{"alg":"PS256","kid":"{kid}"}}"#),
                VerifyError::AlgorithmNotAllowed,
            ),
            (
                format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#),
                VerifyError::AlgorithmNotAllowed,
            ),
            (r#"{"alg":"RS256","kid":"other"}"#.to_owned(), VerifyError::UnknownKey),
            (format!(r#"{{"alg":"RS256","jwk":{jwk}}}"#), VerifyError::UnknownKey),
            (
                format!(r#"{{"alg":"RS256","kid":"{kid}","crit":["b64"],"b64":false}}"#),
                VerifyError::Malformed,
            ),
            (r#"{"alg":1}"#.to_owned(), VerifyError::Malformed),
            (
                format!(r#"{{"alg":"RS256","kid":"{kid}","crit":null}}"#),
                VerifyError::Malformed,
            ),
            (
                format!(r#"{{"alg":"RS256","kid":"x","kid":"{kid}"}}"#),
                VerifyError::Malformed,
            ),
            (
                format!(r#"{{"alg":"RS256","kid":"{kid}","typ":1}}"#),
                VerifyError::BadSignature,
            ),
        ] {
            assert_eq!(jwks.verify(&with_header(&token, &header)).unwrap_err(), why, "{header}");
        }
    }

    #[test]
    fn keys_for_encryption_private_keys_and_unknown_types_verify_nothing() {
        let pair = SigningKeyPair::generate(SigningAlg::Es256).unwrap();
        let mut encryption = pair.public_jwk();
        encryption.insert("use".into(), "enc".into());
        let unknown = serde_json::json!({"kty": "XYZ", "kid": "x"});
        let document = serde_json::json!({"keys": [encryption, unknown]});
        assert!(Jwks::from_slice(document.to_string().as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn no_token_panics(token in "\\PC{0,80}|[A-Za-z0-9_-]{0,30}\\.[A-Za-z0-9_-]{0,30}\\.[A-Za-z0-9_-]{0,30}") {
            let jwks = Jwks::from_keys([]);
            prop_assert!(jwks.verify(&token).is_err());
        }
    }
}
