//! Key sets, and verification against them.

use std::collections::HashMap;

use josekit::{
    jwk::Jwk,
    jws::{ES256, ES384, ES512, EdDSA, JwsVerifier, PS256, PS384, PS512, RS256, RS384, RS512},
};
use oauth_wire::SigningAlg;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::jwt::{VerifiedJwt, VerifyError, split};

/// A key set (RFC 7517 §5) with a verifier built once for every key and algorithm.
pub struct Jwks {
    verifiers: HashMap<(String, SigningAlg), Box<dyn JwsVerifier + Send + Sync>>,
}

/// The document is not a JWK set.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    #[error("the document is not a JWK set: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("the JWK set holds no key that can verify a signature")]
    NoUsableKey,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Map<String, Value>>,
}

impl Jwks {
    /// Reads a JWKS document. Keys that cannot be used (unknown type, `use` other than `sig`, no `kid`, private) are left out,
    /// as RFC 7517 §5 asks.
    ///
    /// # Errors
    /// [`JwksError`] when nothing usable is left.
    pub fn from_slice(document: &[u8]) -> Result<Self, JwksError> {
        let document: Document = serde_json::from_slice(document)?;
        let jwks = Self::from_keys(&document.keys);
        if jwks.verifiers.is_empty() {
            return Err(JwksError::NoUsableKey);
        }
        Ok(jwks)
    }

    /// Builds verifiers from public JWKs.
    pub fn from_keys<'a>(keys: impl IntoIterator<Item = &'a Map<String, Value>>) -> Self {
        let verifiers = keys.into_iter().flat_map(verifiers_of).collect();
        Self { verifiers }
    }

    pub fn knows(&self, kid: &str) -> bool {
        self.verifiers.keys().any(|(known, _)| known == kid)
    }

    /// Verifies a compact JWS with the key that its `kid` names and the algorithms that this key allows. Claims such as `exp`
    /// are the caller's to check.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(&self, token: &str) -> Result<VerifiedJwt, VerifyError> {
        let parts = split(token)?;
        let alg = SigningAlg::from_wire(&parts.header.alg).ok_or(VerifyError::AlgorithmNotAllowed)?;
        let kid = parts.header.kid.clone().ok_or(VerifyError::UnknownKey)?;
        let Some(verifier) = self.verifiers.get(&(kid.clone(), alg)) else {
            return Err(if self.knows(&kid) {
                VerifyError::AlgorithmNotAllowed
            } else {
                VerifyError::UnknownKey
            });
        };
        verifier
            .verify(parts.signed.as_bytes(), &parts.signature)
            .map_err(|_| VerifyError::BadSignature)?;
        let claims = serde_json::from_slice(&parts.payload).map_err(|_| VerifyError::Malformed)?;
        Ok(VerifiedJwt {
            kid,
            alg,
            typ: parts.header.typ,
            claims,
        })
    }
}

impl std::fmt::Debug for Jwks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.verifiers.keys()).finish()
    }
}

type Entry = ((String, SigningAlg), Box<dyn JwsVerifier + Send + Sync>);

fn verifiers_of(key: &Map<String, Value>) -> Vec<Entry> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    let (Some(kid), Some(kty)) = (text("kid"), text("kty")) else {
        return Vec::new();
    };
    if text("use").is_some_and(|usage| usage != "sig") || key.contains_key("d") {
        return Vec::new();
    }
    let pinned = text("alg");
    let allowed = SigningAlg::allowed_for(kty, text("crv")).iter();
    let wanted = allowed.filter(|alg| pinned.is_none_or(|pinned| pinned == alg.as_str()));
    wanted
        .filter_map(|alg| Some(((kid.to_owned(), *alg), verifier(*alg, key)?)))
        .collect()
}

fn verifier(alg: SigningAlg, key: &Map<String, Value>) -> Option<Box<dyn JwsVerifier + Send + Sync>> {
    let mut key = key.clone();
    // josekit insists that `alg`, when present, is the one asked for; the filter above has seen to it.
    key.remove("key_ops");
    let jwk = Jwk::from_map(key).ok()?;
    Some(match alg {
        SigningAlg::Es256 => Box::new(ES256.verifier_from_jwk(&jwk).ok()?),
        SigningAlg::Rs256 => Box::new(RS256.verifier_from_jwk(&jwk).ok()?),
        SigningAlg::Ps256 => Box::new(PS256.verifier_from_jwk(&jwk).ok()?),
        SigningAlg::EdDsa => Box::new(EdDSA.verifier_from_jwk(&jwk).ok()?),
        SigningAlg::Rs384 => Box::new(RS384.verifier_from_jwk(&jwk).ok()?),
        SigningAlg::Rs512 => Box::new(RS512.verifier_from_jwk(&jwk).ok()?),
        SigningAlg::Ps384 => Box::new(PS384.verifier_from_jwk(&jwk).ok()?),
        SigningAlg::Ps512 => Box::new(PS512.verifier_from_jwk(&jwk).ok()?),
        SigningAlg::Es384 => Box::new(ES384.verifier_from_jwk(&jwk).ok()?),
        SigningAlg::Es512 => Box::new(ES512.verifier_from_jwk(&jwk).ok()?),
    })
}
