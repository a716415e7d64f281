//! From a signature to a caller.

use std::{net::IpAddr, sync::Arc};

use service_kit::{Clock, Timestamp};
use sha2::{Digest, Sha256};

use super::KnownKeys;
use crate::{
    application::revocations::Revocations,
    domain::{
        caller::Caller,
        signature::{Authorization, SignatureFault, SignedRequest},
    },
    ports::{
        access_keys::{NonceMemory, SignedNonce, Spent},
        config_source::StoreError,
    },
};

/// Verifies request signatures of access keys. In the steady state it reads no row: keys are remembered until the configuration
/// changes.
#[derive(Debug)]
pub struct VerifySignature {
    pub keys: KnownKeys,
    pub nonces: Arc<dyn NonceMemory>,
    pub revocations: Arc<Revocations>,
    pub clock: Arc<dyn Clock>,
}

/// A request whose signature holds. What it says of its body is yet to be compared with the body.
#[derive(Debug, Clone)]
pub struct Signed {
    pub caller: Arc<Caller>,
    /// SHA-256 of the body that was signed for.
    pub body_digest: [u8; 32],
}

impl Signed {
    /// Whether this is the body that was signed for.
    pub fn is_for_body(&self, digest: [u8; 32]) -> bool {
        // What is compared is public, so time tells nothing.
        self.body_digest == digest
    }

    /// Whether it was signed for a request without a body.
    pub fn is_for_no_body(&self) -> bool {
        self.is_for_body(Sha256::digest([]).into())
    }
}

/// Why a signature was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// It cannot be compared with anything. The caller's fault.
    #[error(transparent)]
    Malformed(#[from] SignatureFault),
    #[error("x-hexgate-date is not of this time, or the request has expired; here it is {now}")]
    Stale { now: Timestamp },
    /// One word for keys that do not exist and signatures that do not hold.
    #[error("the access key is unknown, or the signature does not hold")]
    Unverified,
    #[error("the access key is disabled")]
    Disabled,
    #[error("the access key has been revoked")]
    Revoked,
    #[error("the access key may not be used from this address")]
    Address,
    #[error("the nonce was used before")]
    Replayed,
    #[error("the access key has signed too many requests in too short a time")]
    TooMany,
    /// Ours, not the caller's: nonces cannot be remembered.
    #[error("signed requests cannot be told from replays now")]
    Full,
    /// Likewise, but the next attempt may succeed at once.
    #[error("signed requests cannot be told from replays at the moment; sign anew and try again")]
    Unknown,
    #[error("signatures cannot be verified yet")]
    NotReady,
    #[error("access keys cannot be read")]
    Store(#[from] StoreError),
}

impl VerifySignature {
    /// The caller whose key signed the request that came from `address`, `None` where that is not known.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub async fn verify(
        &self,
        authorization: &Authorization<'_>,
        request: &SignedRequest<'_>,
        address: Option<IpAddr>,
    ) -> Result<Signed, SignatureError> {
        let claimed = authorization.claims(request)?;
        let moment = self.clock.now();
        let now = moment.as_seconds();
        if !claimed.is_fresh(authorization.expires, now) {
            return Err(SignatureError::Stale { now: moment });
        }
        let digest = Sha256::digest(claimed.canonical());
        let text = authorization.string_to_sign(&claimed, &digest);
        let key = self.keys.find(authorization.credential).await?;
        let key = key
            .filter(|key| key.signed(&text, &authorization.signature, moment))
            .ok_or(SignatureError::Unverified)?;
        // From here on it is the key's holder who asks, and may know more.
        if !key.enabled.is_on() {
            return Err(SignatureError::Disabled);
        }
        let from_there = |address: IpAddr| key.ip_allow.iter().any(|network| network.contains(address));
        if !key.ip_allow.is_empty() && !address.is_some_and(from_there) {
            return Err(SignatureError::Address);
        }
        // What was revoked before this process began is not known until the provider was asked.
        if !self.revocations.was_asked() {
            return Err(SignatureError::NotReady);
        }
        if self.revocations.covers(key.caller.facts()) {
            return Err(SignatureError::Revoked);
        }
        let nonce = SignedNonce {
            text: claimed.nonce,
            signed_at: claimed.date,
            until: claimed.date.saturating_add(i64::from(authorization.expires)),
        };
        // Last, since it spends the nonce.
        match self.nonces.spend(&key.id, nonce, now).await {
            Spent::Fresh => {}
            Spent::Replayed => return Err(SignatureError::Replayed),
            Spent::TooMany => return Err(SignatureError::TooMany),
            Spent::Full => return Err(SignatureError::Full),
            Spent::Unknown => return Err(SignatureError::Unknown),
        }
        key.note_use(moment);
        Ok(Signed {
            caller: Arc::clone(&key.caller),
            body_digest: claimed.body_digest,
        })
    }
}
