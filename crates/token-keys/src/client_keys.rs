//! The keys of a client (RFC 7591 §2: `jwks`, or what `jwks_uri` answers), and what the client signs with them.

mod certificate;

use certificate::Certificate;
use oauth_wire::{JweAlg, JweEnc, SigningAlg};
use serde_json::{Map, Value};

use crate::{
    jwe::{self, EncryptError},
    jwks::JwksError,
    jwt::{ForeignJwt, Parts, VerifyError},
    public_key::{KeyFault, PublicKey},
    strict_json,
};

/// A client with more keys than that is refused: a signature without `kid` may be tried with each of them.
const MAX_KEYS: usize = 20;

/// A client's key set (RFC 7517 §5), every key checked and made ready once. Unlike a provider's keys these may lack a `kid`.
#[derive(Debug, Clone)]
pub struct ClientKeys {
    keys: Vec<ClientKey>,
    faults: Vec<(usize, KeyFault)>,
}

#[derive(Debug, Clone)]
pub(crate) struct ClientKey {
    kid: Option<String>,
    /// `use` (RFC 7517 §4.2).
    usage: Option<String>,
    /// `key_ops` (RFC 7517 §4.3).
    operations: Option<Vec<String>>,
    /// `alg` (RFC 7517 §4.4).
    pinned: Option<String>,
    /// `x5c` (RFC 7517 §4.7).
    certificate: Certificate,
    key: PublicKey,
}

impl ClientKeys {
    /// Reads a JWKS document.
    ///
    /// # Errors
    /// As [`ClientKeys::from_document`].
    pub fn from_slice(document: &[u8]) -> Result<Self, JwksError> {
        Self::from_document(&strict_json::object(document)?)
    }

    /// Reads a JWKS document. Keys that cannot be used are left out, as RFC 7517 §5 asks; [`ClientKeys::faults`] tells which and why.
    ///
    /// # Errors
    /// [`JwksError::Malformed`] without an array `keys`, [`JwksError::TooManyKeys`] with more than 20 usable keys.
    pub fn from_document(document: &Map<String, Value>) -> Result<Self, JwksError> {
        let Some(Value::Array(list)) = document.get("keys") else {
            return Err(JwksError::Malformed(serde::de::Error::missing_field("keys")));
        };
        let (mut keys, mut faults) = (Vec::new(), Vec::new());
        for (at, jwk) in list.iter().enumerate() {
            match ClientKey::read(jwk) {
                Ok(_) if keys.len() == MAX_KEYS => return Err(JwksError::TooManyKeys(MAX_KEYS)),
                Ok(key) => keys.push(key),
                Err(fault) => faults.push((at, fault)),
            }
        }
        Ok(Self { keys, faults })
    }

    /// The keys that were left out, by their place in the document. A registration that finds [`KeyFault::Private`] here does well to
    /// refuse the client, which has given its key away.
    pub fn faults(&self) -> &[(usize, KeyFault)] {
        &self.faults
    }

    /// Whether no key at all can be used.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether a key of this set can verify one of the algorithms.
    pub fn can_verify(&self, algs: &[SigningAlg]) -> bool {
        algs.iter().any(|alg| self.keys.iter().any(|key| key.signs_by(*alg)))
    }

    /// Verifies a compact JWS that the client signed: an assertion (RFC 7523 §3), a request object (RFC 9101 §6.2).
    ///
    /// `allowed` comes from the client's registration and is never empty by accident: with an empty list nothing verifies. The
    /// token's `kid` selects the key; a token without `kid` is tried with every key that fits its algorithm, and so is, against the
    /// keys without `kid`, a token whose `kid` no key has. Members of the header that bring a key along (`jwk`, `jku`, `x5c`, `x5u`)
    /// are not looked at. Claims, `typ` included, are the caller's to check.
    ///
    /// # Errors
    /// [`VerifyError`]. With [`VerifyError::UnknownKey`] the client may have changed its keys: a caller that fetched them does well
    /// to fetch them again (not too often) and to try once more. A bad signature under a known `kid` is [`VerifyError::BadSignature`].
    pub fn verify(&self, token: &str, allowed: &[SigningAlg]) -> Result<ForeignJwt, VerifyError> {
        let parts = Parts::of(token)?;
        let alg = SigningAlg::from_wire(&parts.alg)
            .filter(|alg| allowed.contains(alg))
            .ok_or(VerifyError::AlgorithmNotAllowed)?;
        let holds = |key: &&ClientKey| key.key.verifies(alg, parts.signed.as_bytes(), &parts.signature);
        let fitting = || self.keys.iter().filter(|key| key.signs_by(alg));
        let Some(kid) = parts.text("kid")? else {
            return match fitting().find(holds) {
                Some(_) => parts.verified(alg.as_str()),
                None => Err(VerifyError::UnknownKey),
            };
        };
        let named = |key: &&ClientKey| key.kid.as_ref() == Some(&kid);
        if fitting().filter(named).any(|key| holds(&key)) {
            return parts.verified(alg.as_str());
        }
        if fitting().any(|key| named(&key)) {
            return Err(VerifyError::BadSignature);
        }
        if self.keys.iter().any(|key| named(&key)) {
            return Err(VerifyError::AlgorithmNotAllowed);
        }
        match fitting().filter(|key| key.kid.is_none()).find(holds) {
            Some(_) => parts.verified(alg.as_str()),
            None => Err(VerifyError::UnknownKey),
        }
    }

    /// Whether a key of this set can be encrypted to by this algorithm.
    pub fn can_encrypt(&self, alg: JweAlg) -> bool {
        self.encryption_key(alg).is_some()
    }

    /// Encrypts to the client (RFC 7516 §7.1): an ID token, a userinfo answer, an introspection answer, as the client registered.
    /// `cty` is `JWT` for what was signed before (RFC 7519 §5.2) and `None` otherwise.
    ///
    /// Of the keys that fit the algorithm, and that neither `use` nor `alg` nor `key_ops` keeps from it, one with `use` `enc` comes
    /// first (OpenID Connect Core §10.2). Its `kid` goes into the header.
    ///
    /// # Errors
    /// [`EncryptError::NoKey`] when the client has no such key: a caller that fetched the keys may fetch them again.
    pub fn encrypt(&self, payload: &[u8], cty: Option<&str>, alg: JweAlg, enc: JweEnc) -> Result<String, EncryptError> {
        let key = self.encryption_key(alg).ok_or(EncryptError::NoKey(alg.as_str()))?;
        let mut header = Map::new();
        header.insert("alg".into(), alg.as_str().into());
        header.insert("enc".into(), enc.as_str().into());
        for (name, text) in [("cty", cty), ("kid", key.kid.as_deref())] {
            if let Some(text) = text {
                header.insert(name.into(), text.into());
            }
        }
        Ok(jwe::encrypt(payload, header, &key.key, alg, enc)?)
    }

    fn encryption_key(&self, alg: JweAlg) -> Option<&ClientKey> {
        let fitting = || self.keys.iter().filter(|key| key.encrypts_by(alg));
        fitting().find(|key| key.usage.is_some()).or_else(|| fitting().next())
    }
}

impl ClientKey {
    fn read(jwk: &Value) -> Result<Self, KeyFault> {
        let jwk = jwk.as_object().ok_or(KeyFault::NotAnObject)?;
        let operations = match jwk.get("key_ops") {
            None => None,
            Some(Value::Array(list)) => Some(list.iter().filter_map(Value::as_str).map(str::to_owned).collect()),
            Some(_) => return Err(KeyFault::Member("key_ops")),
        };
        let key = PublicKey::from_jwk(jwk)?;
        Ok(Self {
            kid: optional(jwk, "kid")?,
            usage: optional(jwk, "use")?,
            operations,
            pinned: optional(jwk, "alg")?,
            certificate: Certificate::of_jwk(jwk, &key),
            key,
        })
    }

    fn signs_by(&self, alg: SigningAlg) -> bool {
        self.key.algs().contains(&alg) && self.is_for("sig", &["verify"], alg.as_str())
    }

    fn encrypts_by(&self, alg: JweAlg) -> bool {
        // RFC 7517 §4.3: what a sender's part of the algorithms is called.
        let operations: &[&str] = match alg {
            JweAlg::RsaOaep | JweAlg::RsaOaep256 => &["wrapKey", "encrypt"],
            JweAlg::EcdhEs | JweAlg::EcdhEsA128Kw | JweAlg::EcdhEsA256Kw => &["deriveKey", "deriveBits"],
        };
        let kty = self.key.member("kty").unwrap_or_default();
        alg.fits(kty, self.key.member("crv")) && self.is_for("enc", operations, alg.as_str())
    }

    /// Whether nothing in the JWK stands against this use: what it does not say is open.
    fn is_for(&self, usage: &str, operations: &[&str], alg: &str) -> bool {
        let named = |own: &Vec<String>| own.iter().any(|one| operations.contains(&one.as_str()));
        self.usage.as_ref().is_none_or(|own| own == usage)
            && self.operations.as_ref().is_none_or(named)
            && self.pinned.as_ref().is_none_or(|own| own == alg)
    }

    /// The key in a proof's header (RFC 9449 §4.2), read by the same rules.
    pub(crate) fn for_proof(jwk: &Value, alg: SigningAlg) -> Result<Option<PublicKey>, KeyFault> {
        let key = Self::read(jwk)?;
        Ok(Some(key).filter(|key| key.signs_by(alg)).map(|key| key.key))
    }
}

fn optional(jwk: &Map<String, Value>, name: &'static str) -> Result<Option<String>, KeyFault> {
    match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(KeyFault::Member(name)),
    }
}

#[cfg(test)]
#[path = "client_keys_tests.rs"]
mod tests;
