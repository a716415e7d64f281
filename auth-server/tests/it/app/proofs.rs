//! Clients that prove who they are by keys, secrets used as keys, and certificates.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use oauth_wire::{JWT_BEARER_ASSERTION, SigningAlg};
use serde_json::{Value, json};
use sha2::Sha256;
use test_kit::{TestKey, with};

use super::{Fields, TestApp, fields};

/// A secret that is long enough for every MAC.
const MAC_SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef-mac";

static NEXT_JTI: AtomicU64 = AtomicU64::new(1);

/// A client that signs assertions.
#[derive(Debug)]
pub(crate) struct Signatory {
    pub(crate) id: &'static str,
    pub(crate) by: By,
}

/// By what it signs.
#[derive(Debug)]
pub(crate) enum By {
    Key(TestKey),
    Secret(&'static str),
}

impl Signatory {
    /// `private_key_jwt`.
    pub(crate) fn with_key(id: &'static str, alg: SigningAlg) -> Self {
        Self {
            id,
            by: By::Key(TestKey::new(alg)),
        }
    }

    /// `client_secret_jwt`.
    pub(crate) fn with_secret(id: &'static str) -> Self {
        Self {
            id,
            by: By::Secret(MAC_SECRET),
        }
    }

    /// A machine that may do what tests ask of it; `more` overlays its registration.
    pub(crate) fn registration(&self, more: Value) -> Value {
        let machine = json!({
            "client_id": self.id,
            "grant_types": ["client_credentials", "authorization_code"],
            "redirect_uris": ["https://signatory.example/cb"],
            "scope": "ai:chat",
        });
        let own = match &self.by {
            By::Key(key) => json!({
                "token_endpoint_auth_method": "private_key_jwt",
                "jwks": {"keys": [key.public_with(json!({"kid": "k1", "use": "sig"}))]},
            }),
            By::Secret(secret) => json!({
                "token_endpoint_auth_method": "client_secret_jwt",
                "client_secret": secret,
            }),
        };
        with(&with(&machine, own), more)
    }

    /// The header of a good assertion.
    pub(crate) fn header(&self) -> Value {
        match &self.by {
            By::Key(key) => json!({"alg": key.alg().as_str(), "kid": "k1"}),
            By::Secret(_) => json!({"alg": "HS256"}),
        }
    }

    /// The claims of a good assertion, never twice the same.
    pub(crate) fn claims(&self, app: &TestApp) -> Value {
        let now = app.now();
        let jti = format!("jti-{}", NEXT_JTI.fetch_add(1, Ordering::Relaxed));
        json!({
            "iss": self.id, "sub": self.id, "aud": app.issuer, "jti": jti,
            "iat": now, "nbf": now, "exp": now + 60,
        })
    }

    /// Signs any header and claims.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        match &self.by {
            By::Key(key) => key.sign_text(header, claims),
            By::Secret(secret) => under_mac(secret.as_bytes(), header, claims),
        }
    }

    /// A good assertion.
    pub(crate) fn assertion(&self, app: &TestApp) -> String {
        self.assertion_with(app, json!({}))
    }

    /// A good assertion with other claims; null takes one away.
    pub(crate) fn assertion_with(&self, app: &TestApp, claims: Value) -> String {
        let claims = with(&self.claims(app), claims);
        self.sign(&self.header().to_string(), &claims.to_string())
    }
}

/// An assertion as it is sent.
pub(crate) fn proof(assertion: &str) -> Fields {
    fields([
        ("client_assertion_type", JWT_BEARER_ASSERTION),
        ("client_assertion", assertion),
    ])
}

/// A token under an HS256 MAC.
pub(crate) fn under_mac(secret: &[u8], header: &str, claims: &str) -> String {
    bytes_under_mac(secret, header.as_bytes(), claims.as_bytes())
}

/// The same of any bytes.
pub(crate) fn bytes_under_mac(secret: &[u8], header: &[u8], claims: &[u8]) -> String {
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let mut mac = <Hmac<Sha256>>::new_from_slice(secret).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

/// A document that registers clients.
pub(crate) fn clients(registrations: &[Value]) -> String {
    toml::to_string(&json!({"client": registrations})).unwrap()
}
