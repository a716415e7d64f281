//! Signing key pairs.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use josekit::{
    JoseError,
    jwk::{
        Jwk,
        alg::{ec::EcCurve, ed::EdCurve},
    },
    jws::{ES256, EdDSA, JwsSigner, PS256, RS256},
};
use oauth_wire::SigningAlg;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bits of RSA keys that we make (RFC 7518 §3.3 asks for 2048 at least).
const RSA_BITS: u32 = 2048;

/// Members that a published key has; a list of what may go out, so that no private member ever does.
const PUBLIC_MEMBERS: &[&str] = &["kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"];

/// Why a key could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("keys for {} are not issued", .0.as_str())]
    NotIssued(SigningAlg),
    #[error("the key cannot be read")]
    Unreadable,
    #[error("OpenSSL refused")]
    Jose(#[from] JoseError),
}

/// A private key ready to sign: the signer is built once.
pub struct SigningKeyPair {
    alg: SigningAlg,
    kid: String,
    jwk: Jwk,
    signer: Box<dyn JwsSigner + Send + Sync>,
}

impl SigningKeyPair {
    /// Makes a new pair, for one of [`SigningAlg::ISSUED`]. RSA keys take some hundred milliseconds of a core.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn generate(alg: SigningAlg) -> Result<Self, KeyError> {
        let jwk = match alg {
            SigningAlg::Es256 => Jwk::generate_ec_key(EcCurve::P256)?,
            SigningAlg::Rs256 | SigningAlg::Ps256 => Jwk::generate_rsa_key(RSA_BITS)?,
            SigningAlg::EdDsa => Jwk::generate_ed_key(EdCurve::Ed25519)?,
            _ => return Err(KeyError::NotIssued(alg)),
        };
        Self::from_jwk(alg, jwk)
    }

    /// Reads a pair from the bytes that [`SigningKeyPair::to_private_bytes`] gave.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_private_bytes(alg: SigningAlg, bytes: &[u8]) -> Result<Self, KeyError> {
        let jwk = Jwk::from_bytes(bytes).map_err(|_| KeyError::Unreadable)?;
        Self::from_jwk(alg, jwk)
    }

    fn from_jwk(alg: SigningAlg, mut jwk: Jwk) -> Result<Self, KeyError> {
        let kid = thumbprint(jwk.as_ref()).ok_or(KeyError::Unreadable)?;
        jwk.set_key_id(&kid);
        jwk.set_algorithm(alg.as_str());
        jwk.set_key_use("sig");
        let signer: Box<dyn JwsSigner + Send + Sync> = match alg {
            SigningAlg::Es256 => Box::new(ES256.signer_from_jwk(&jwk)?),
            SigningAlg::Rs256 => Box::new(RS256.signer_from_jwk(&jwk)?),
            SigningAlg::Ps256 => Box::new(PS256.signer_from_jwk(&jwk)?),
            // josekit would take an Ed448 key for the same name.
            SigningAlg::EdDsa if jwk.curve() == Some("Ed25519") => Box::new(EdDSA.signer_from_jwk(&jwk)?),
            SigningAlg::EdDsa => return Err(KeyError::Unreadable),
            _ => return Err(KeyError::NotIssued(alg)),
        };
        Ok(Self { alg, kid, jwk, signer })
    }

    /// RFC 7638 thumbprint of the public key.
    pub fn kid(&self) -> &str {
        &self.kid
    }

    pub fn alg(&self) -> SigningAlg {
        self.alg
    }

    /// The public JWK, with `kid`, `alg` and `use`.
    pub fn public_jwk(&self) -> Map<String, Value> {
        let members = self
            .jwk
            .as_ref()
            .iter()
            .filter(|(name, _)| PUBLIC_MEMBERS.contains(&name.as_str()));
        members.map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// The private JWK as bytes, to be sealed.
    ///
    /// # Errors
    /// [`KeyError::Unreadable`].
    pub fn to_private_bytes(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        serde_json::to_vec(self.jwk.as_ref())
            .map(Zeroizing::new)
            .map_err(|_| KeyError::Unreadable)
    }

    /// Signs claims as a compact JWS (RFC 7515 §7.1) with `alg`, `typ` and `kid` in its header; with `None` the header has no `typ`.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn sign<'a>(&self, typ: impl Into<Option<&'a str>>, claims: &[u8]) -> Result<String, KeyError> {
        let alg = self.alg.as_str();
        let kid = &self.kid;
        let header = match typ.into() {
            // Printed as JSON, so that no media type, wherever it came from, adds a member to the header.
            Some(typ) => format!(r#"{{"alg":"{alg}","typ":{},"kid":"{kid}"}}"#, Value::from(typ)),
            None => format!(r#"{{"alg":"{alg}","kid":"{kid}"}}"#),
        };
        let mut token = String::with_capacity((header.len() + claims.len()) * 4 / 3 + 360);
        URL_SAFE_NO_PAD.encode_string(header, &mut token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.signer.sign(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }
}

impl fmt::Debug for SigningKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKeyPair")
            .field("alg", &self.alg)
            .field("kid", &self.kid)
            .finish_non_exhaustive()
    }
}

/// RFC 7638 §3: SHA-256 of the required members in lexical order, no white space.
pub(crate) fn thumbprint(jwk: &Map<String, Value>) -> Option<String> {
    let text = |name: &str| jwk.get(name).and_then(Value::as_str);
    let members: &[&str] = match text("kty")? {
        "EC" => &["crv", "kty", "x", "y"],
        "RSA" => &["e", "kty", "n"],
        "OKP" => &["crv", "kty", "x"],
        _ => return None,
    };
    let required: Option<Map<_, _>> = members
        .iter()
        .map(|name| Some(((*name).to_owned(), Value::from(text(name)?))))
        .collect();
    // The list above is in lexical order, which a map keeps whether it sorts or preserves; no white space is printed.
    let canonical = serde_json::to_vec(&required?).ok()?;
    Some(URL_SAFE_NO_PAD.encode(Sha256::digest(canonical)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_example_of_rfc_7638_holds() {
        let jwk = serde_json::json!({
            "kty": "RSA",
            "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
            "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"
        });
        assert_eq!(
            thumbprint(jwk.as_object().unwrap()).unwrap(),
            "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
        );
    }

    #[test]
    fn a_pair_survives_storage_and_its_public_half_has_no_private_member() {
        for alg in SigningAlg::ISSUED {
            let pair = SigningKeyPair::generate(alg).unwrap();
            let again = SigningKeyPair::from_private_bytes(alg, &pair.to_private_bytes().unwrap()).unwrap();
            assert_eq!(pair.kid(), again.kid());
            let public = pair.public_jwk();
            for private in ["d", "p", "q", "dp", "dq", "qi"] {
                assert!(!public.contains_key(private), "{private}");
            }
            assert_eq!(public["alg"], alg.as_str());
            assert_eq!(public["use"], "sig");
            assert_eq!(public["kid"], pair.kid());
        }
    }
}
