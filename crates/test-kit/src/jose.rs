//! Keys of clients, for tests: they sign whatever header they are told to.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "helpers of tests fail as tests do"
)]

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use josekit::{
    jwk::{
        Jwk,
        alg::{ec::EcCurve, ed::EdCurve},
    },
    jws::{ES256, ES384, ES512, EdDSA, JwsSigner, PS256, PS384, PS512, RS256, RS384, RS512},
};
use oauth_wire::SigningAlg;
use serde_json::{Map, Value, json};

/// A private key whose owner is somebody else.
pub struct TestKey {
    alg: SigningAlg,
    jwk: Jwk,
    signer: Box<dyn JwsSigner>,
}

impl TestKey {
    /// A fresh key.
    pub fn new(alg: SigningAlg) -> Self {
        let jwk = match alg {
            SigningAlg::Es256 => Jwk::generate_ec_key(EcCurve::P256).unwrap(),
            SigningAlg::Es384 => Jwk::generate_ec_key(EcCurve::P384).unwrap(),
            SigningAlg::Es512 => Jwk::generate_ec_key(EcCurve::P521).unwrap(),
            SigningAlg::EdDsa => Jwk::generate_ed_key(EdCurve::Ed25519).unwrap(),
            _ => Jwk::generate_rsa_key(2048).unwrap(),
        };
        Self::of(alg, jwk)
    }

    /// A key that was made elsewhere, by its private JWK.
    pub fn from_private(alg: SigningAlg, jwk: &[u8]) -> Self {
        Self::of(alg, Jwk::from_bytes(jwk).unwrap())
    }

    /// The same key for another algorithm.
    #[must_use]
    pub fn by(&self, alg: SigningAlg) -> Self {
        Self::of(alg, self.jwk.clone())
    }

    fn of(alg: SigningAlg, jwk: Jwk) -> Self {
        let signer: Box<dyn JwsSigner> = match alg {
            SigningAlg::Es256 => Box::new(ES256.signer_from_jwk(&jwk).unwrap()),
            SigningAlg::Es384 => Box::new(ES384.signer_from_jwk(&jwk).unwrap()),
            SigningAlg::Es512 => Box::new(ES512.signer_from_jwk(&jwk).unwrap()),
            SigningAlg::EdDsa => Box::new(EdDSA.signer_from_jwk(&jwk).unwrap()),
            SigningAlg::Rs256 => Box::new(RS256.signer_from_jwk(&jwk).unwrap()),
            SigningAlg::Rs384 => Box::new(RS384.signer_from_jwk(&jwk).unwrap()),
            SigningAlg::Rs512 => Box::new(RS512.signer_from_jwk(&jwk).unwrap()),
            SigningAlg::Ps256 => Box::new(PS256.signer_from_jwk(&jwk).unwrap()),
            SigningAlg::Ps384 => Box::new(PS384.signer_from_jwk(&jwk).unwrap()),
            SigningAlg::Ps512 => Box::new(PS512.signer_from_jwk(&jwk).unwrap()),
        };
        Self { alg, jwk, signer }
    }

    pub fn alg(&self) -> SigningAlg {
        self.alg
    }

    pub fn private(&self) -> Map<String, Value> {
        self.jwk.as_ref().clone()
    }

    pub fn public(&self) -> Value {
        let mut jwk = self.private();
        for private in ["d", "p", "q", "dp", "dq", "qi"] {
            jwk.remove(private);
        }
        Value::Object(jwk)
    }

    /// The public key with more members.
    pub fn public_with(&self, more: Value) -> Value {
        with(&self.public(), more)
    }

    /// Signs with the header's own `alg`, and `more` in it.
    pub fn sign(&self, more: Value, claims: &Value) -> String {
        let header = with(&json!({"alg": self.alg.as_str()}), more);
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// Signs any text.
    pub fn sign_text(&self, header: &str, payload: &str) -> String {
        self.sign_bytes(header.as_bytes(), payload.as_bytes())
    }

    /// Signs any bytes.
    pub fn sign_bytes(&self, header: &[u8], payload: &[u8]) -> String {
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.signer.sign(signed.as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Overlays members; null takes a member away.
pub fn with(object: &Value, more: Value) -> Value {
    let mut object = object.as_object().unwrap().clone();
    for (name, value) in more.as_object().unwrap() {
        match value {
            Value::Null => object.remove(name),
            value => object.insert(name.clone(), value.clone()),
        };
    }
    Value::Object(object)
}

/// A token's header.
pub fn header(token: &str) -> Value {
    let (header, _) = token.split_once('.').unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
}

impl std::fmt::Debug for TestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestKey")
            .field("alg", &self.alg)
            .finish_non_exhaustive()
    }
}

impl TestKey {
    /// A DPoP proof (RFC 9449 §4.2) with these claims, made with the key that its header names.
    pub fn proof(&self, claims: &Value) -> String {
        self.sign(json!({"typ": "dpop+jwt", "jwk": self.public()}), claims)
    }

    /// RFC 7638 thumbprint of the public key.
    pub fn thumbprint(&self) -> String {
        let key = self.public();
        let members: &[&str] = match key["kty"].as_str().unwrap() {
            "EC" => &["crv", "kty", "x", "y"],
            "RSA" => &["e", "kty", "n"],
            _ => &["crv", "kty", "x"],
        };
        let text: Vec<String> = members
            .iter()
            .map(|name| format!("\"{name}\":{}", key[*name]))
            .collect();
        URL_SAFE_NO_PAD.encode(openssl::sha::sha256(format!("{{{}}}", text.join(",")).as_bytes()))
    }
}

/// `ath` (RFC 9449 §4.2).
pub fn token_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(openssl::sha::sha256(token.as_bytes()))
}
