//! What a client decrypts with, for tests: a reader that nobody here wrote.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use josekit::{
    jwe::{ECDH_ES, ECDH_ES_A128KW, ECDH_ES_A256KW, JweDecrypter, RSA_OAEP, RSA_OAEP_256, deserialize_compact},
    jwk::{Jwk, alg::ec::EcCurve},
};
use oauth_wire::JweAlg;
use serde_json::{Map, Value, json};

use crate::with;

/// A private key to be encrypted to.
pub struct TestReader {
    alg: JweAlg,
    jwk: Jwk,
}

impl TestReader {
    /// A fresh key that fits the algorithm.
    ///
    /// # Panics
    /// When OpenSSL makes no key.
    pub fn new(alg: JweAlg) -> Self {
        let jwk = match alg {
            JweAlg::RsaOaep | JweAlg::RsaOaep256 => Jwk::generate_rsa_key(2048).unwrap(),
            JweAlg::EcdhEs | JweAlg::EcdhEsA128Kw | JweAlg::EcdhEsA256Kw => {
                Jwk::generate_ec_key(EcCurve::P256).unwrap()
            }
        };
        Self { alg, jwk }
    }

    pub fn alg(&self) -> JweAlg {
        self.alg
    }

    /// The public key, `kid` and `use` included.
    pub fn public(&self, kid: &str) -> Value {
        let private = Value::Object(self.jwk.as_ref().clone());
        let more = json!({
            "d": null, "p": null, "q": null, "dp": null, "dq": null, "qi": null, "kid": kid, "use": "enc",
        });
        with(&private, more)
    }

    /// What a token says to this reader, and its header; `None` when it is not for this reader.
    ///
    /// # Panics
    /// When the key does not fit its algorithm.
    pub fn read(&self, token: &str) -> Option<(Vec<u8>, Map<String, Value>)> {
        let decrypter: Box<dyn JweDecrypter> = match self.alg {
            JweAlg::RsaOaep => Box::new(RSA_OAEP.decrypter_from_jwk(&self.jwk).unwrap()),
            JweAlg::RsaOaep256 => Box::new(RSA_OAEP_256.decrypter_from_jwk(&self.jwk).unwrap()),
            JweAlg::EcdhEs => Box::new(ECDH_ES.decrypter_from_jwk(&self.jwk).unwrap()),
            JweAlg::EcdhEsA128Kw => Box::new(ECDH_ES_A128KW.decrypter_from_jwk(&self.jwk).unwrap()),
            JweAlg::EcdhEsA256Kw => Box::new(ECDH_ES_A256KW.decrypter_from_jwk(&self.jwk).unwrap()),
        };
        let (payload, header) = deserialize_compact(token, &*decrypter).ok()?;
        Some((payload, header.claims_set().clone()))
    }
}

impl std::fmt::Debug for TestReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestReader")
            .field("alg", &self.alg)
            .finish_non_exhaustive()
    }
}
