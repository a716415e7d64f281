//! The identity provider, as far as a resource server needs it: its keys and its revocations.

use std::fmt;

use async_trait::async_trait;
use oauth_wire::RevocationEvent;
use token_keys::VerifiedJwt;

/// Why a signature was not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Not this provider's signature, or no token at all.
    #[error("the signature does not hold")]
    Invalid,
    /// The provider's keys were never loaded: nothing can be said about any token.
    #[error("the provider's keys are not known yet")]
    NotLoaded,
}

/// A signature that holds, and the set of keys that it was checked with.
#[derive(Debug)]
pub struct Verified {
    pub jwt: VerifiedJwt,
    pub generation: KeyGeneration,
}

/// Changes whenever a key is withdrawn: what was verified before must be verified again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyGeneration(pub u64);

/// The provider's keys.
#[async_trait]
pub trait ProviderKeys: Send + Sync + fmt::Debug {
    /// Verifies a signature; asks the provider when the key is unknown.
    async fn verify(&self, token: &str) -> Result<Verified, KeysError>;
    fn generation(&self) -> KeyGeneration;
    /// Whether keys were loaded once.
    fn is_loaded(&self) -> bool;
}

/// Security events that the provider has for us (RFC 8936).
#[async_trait]
pub trait RevocationFeed: Send + Sync + fmt::Debug {
    /// Acknowledges what was taken in and fetches what is new; waits for news when `wait` says so.
    async fn poll(&self, acknowledged: &[String], wait: Wait) -> Result<Polled, FeedError>;
}

/// What a poll brought.
#[derive(Debug)]
pub struct Polled {
    pub events: Vec<SecurityEvent>,
    /// There are more than fitted in (RFC 8936 §2.3, `moreAvailable`).
    pub more: bool,
}

/// Whether a poll may be held open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    No,
    Long,
}

/// One event token of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityEvent {
    /// The id to acknowledge.
    pub id: String,
    /// `None`: signed by the provider, but of a kind that this version does not know.
    pub event: Option<RevocationEvent>,
}

/// Why the feed gave nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    #[error("the provider refused our credential ({0})")]
    Refused(u16),
    #[error("the provider cannot be reached or failed: {0}")]
    Unavailable(String),
}
