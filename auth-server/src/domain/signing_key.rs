//! Signing keys and the order in which they serve.

use serde_json::{Map, Value};
use service_kit::Timestamp;

use super::{client::SigningAlg, ids::KeyId};

/// A signing key at rest.
#[derive(Debug, Clone, PartialEq)]
pub struct SigningKey {
    pub kid: KeyId,
    pub alg: SigningAlg,
    pub stage: KeyStage,
    /// The public JWK, as it stands in the JWKS.
    pub public_jwk: Map<String, Value>,
    /// The private key, sealed by the master key.
    pub sealed_private: Vec<u8>,
    pub created_at: Timestamp,
    /// Since when it signs, or signed.
    pub activated_at: Option<Timestamp>,
    /// When a retiring key leaves the JWKS: every token that it signed has expired by then.
    pub retire_at: Option<Timestamp>,
}

/// A key's place in the rotation. Per algorithm there is one `Next`, one `Current`, any number of `Retiring` ones; all
/// are in the JWKS, so that a resource server knows a key before the first token signed by it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyStage {
    Next,
    Current,
    Retiring,
}

impl KeyStage {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Current => "current",
            Self::Retiring => "retiring",
        }
    }

    pub fn from_stored(text: &str) -> Option<Self> {
        [Self::Next, Self::Current, Self::Retiring]
            .into_iter()
            .find(|stage| stage.as_str() == text)
    }
}
