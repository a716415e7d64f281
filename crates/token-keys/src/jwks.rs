//! Key sets, and verification against them.

use oauth_wire::SigningAlg;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{
    jwt::{Parts, VerifiedJwt, VerifyError},
    public_key::PublicKey,
};

/// A key set (RFC 7517 §5) of a provider, every key checked and made ready once.
pub struct Jwks {
    keys: Vec<ProviderKey>,
}

struct ProviderKey {
    kid: String,
    /// The algorithm that the JWK pins, if it does.
    pinned: Option<String>,
    key: PublicKey,
}

/// The document is not a JWK set.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    #[error("the document is not a JWK set: {0}")]
    Malformed(#[from] serde_json::Error),
    #[error("the JWK set holds no key that can verify a signature")]
    NoUsableKey,
    #[error("the JWK set holds more than {0} keys")]
    TooManyKeys(usize),
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
        if jwks.keys.is_empty() {
            return Err(JwksError::NoUsableKey);
        }
        Ok(jwks)
    }

    /// Makes public JWKs ready.
    pub fn from_keys<'a>(keys: impl IntoIterator<Item = &'a Map<String, Value>>) -> Self {
        let keys = keys.into_iter().filter_map(ProviderKey::read).collect();
        Self { keys }
    }

    pub fn knows(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid == kid)
    }

    /// Verifies a compact JWS with the key that its `kid` names and the algorithms that this key allows. Claims such as `exp`
    /// are the caller's to check.
    ///
    /// # Errors
    /// [`VerifyError`].
    pub fn verify(&self, token: &str) -> Result<VerifiedJwt, VerifyError> {
        let parts = Parts::of(token)?;
        let alg = SigningAlg::from_wire(&parts.alg).ok_or(VerifyError::AlgorithmNotAllowed)?;
        let kid = parts.text("kid")?.ok_or(VerifyError::UnknownKey)?;
        let Some(key) = self.keys.iter().find(|key| key.kid == kid && key.allows(alg)) else {
            return Err(if self.knows(&kid) {
                VerifyError::AlgorithmNotAllowed
            } else {
                VerifyError::UnknownKey
            });
        };
        if !key.key.verifies(alg, parts.signed.as_bytes(), &parts.signature) {
            return Err(VerifyError::BadSignature);
        }
        Ok(VerifiedJwt {
            kid,
            alg,
            typ: parts.text("typ")?,
            claims: parts.claims()?,
        })
    }
}

impl std::fmt::Debug for Jwks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.keys.iter().map(|key| &key.kid)).finish()
    }
}

impl ProviderKey {
    fn read(jwk: &Map<String, Value>) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let kid = text("kid")?.to_owned();
        if text("use").is_some_and(|usage| usage != "sig") {
            return None;
        }
        let pinned = text("alg").map(str::to_owned);
        let key = PublicKey::from_jwk(jwk).ok()?;
        let key = Self { kid, pinned, key };
        key.key.algs().iter().any(|alg| key.allows(*alg)).then_some(key)
    }

    fn allows(&self, alg: SigningAlg) -> bool {
        self.key.algs().contains(&alg) && self.pinned.as_ref().is_none_or(|pinned| pinned == alg.as_str())
    }
}
