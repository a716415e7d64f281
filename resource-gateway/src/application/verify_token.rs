//! From an access token to a caller.

use std::sync::Arc;

use moka::sync::Cache;
use service_kit::Clock;
use sha2::{Digest, Sha256};

use crate::{
    application::{
        check_possession::{CheckPossession, PossessionFault, Presented},
        revocations::Revocations,
    },
    domain::caller::{Caller, Expected, TokenFault},
    ports::provider::{KeyGeneration, KeysError, ProviderKeys},
};

/// `typ` of an access token (RFC 9068 §2.1).
const ACCESS_TOKEN_TYP: &str = "at+jwt";

/// Verifies access tokens, each once: a verified one is remembered by its digest until it expires.
pub struct VerifyToken {
    keys: Arc<dyn ProviderKeys>,
    revocations: Arc<Revocations>,
    possession: CheckPossession,
    expected: Expected,
    clock: Arc<dyn Clock>,
    cache: Cache<[u8; 32], Remembered>,
}

#[derive(Clone)]
struct Remembered {
    caller: Arc<Caller>,
    generation: KeyGeneration,
}

/// Why a token was not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    #[error("the token cannot be verified")]
    Unverified,
    #[error(transparent)]
    Fault(#[from] TokenFault),
    /// The token is good, but not in these hands.
    #[error(transparent)]
    Possession(#[from] PossessionFault),
    #[error("the token has been revoked")]
    Revoked,
    /// Not the token's fault: keys or revocations have not been fetched yet.
    #[error("tokens cannot be verified yet")]
    NotReady,
}

impl std::fmt::Debug for VerifyToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerifyToken")
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}

impl VerifyToken {
    /// Remembers at most `cache_entries` tokens.
    pub fn new(
        keys: Arc<dyn ProviderKeys>,
        revocations: Arc<Revocations>,
        possession: CheckPossession,
        expected: Expected,
        clock: Arc<dyn Clock>,
        cache_entries: u64,
    ) -> Self {
        Self {
            keys,
            revocations,
            possession,
            expected,
            clock,
            cache: Cache::new(cache_entries),
        }
    }

    /// The caller that the token stands for. Expiry, revocation and possession are checked every time.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn verify(&self, presented: &Presented<'_>) -> Result<Arc<Caller>, TokenError> {
        let token = presented.token;
        let now = self.clock.now().as_seconds();
        let digest: [u8; 32] = Sha256::digest(token).into();
        let remembered = self
            .cache
            .get(&digest)
            .filter(|known| known.generation == self.keys.generation());
        let caller = match remembered {
            Some(known) => known.caller,
            None => self.verify_afresh(token, digest, now).await?,
        };
        if caller.has_expired(&self.expected, now) {
            self.cache.invalidate(&digest);
            return Err(TokenFault::Expired.into());
        }
        // What was revoked before this process began is not known until the provider was asked.
        if !self.revocations.was_asked() {
            return Err(TokenError::NotReady);
        }
        if self.revocations.covers(caller.facts()) {
            return Err(TokenError::Revoked);
        }
        // Last, since it spends the proof.
        self.possession.check(presented, caller.confirmation())?;
        Ok(caller)
    }

    async fn verify_afresh(&self, token: &str, digest: [u8; 32], now: i64) -> Result<Arc<Caller>, TokenError> {
        let verified = self.keys.verify(token).await.map_err(|error| match error {
            KeysError::Invalid => TokenError::Unverified,
            KeysError::NotLoaded => TokenError::NotReady,
        })?;
        // RFC 9068 §4: the type keeps ID tokens and event tokens of the same keys out.
        if !verified.jwt.is_typ(ACCESS_TOKEN_TYP) {
            return Err(TokenFault::WrongType.into());
        }
        let caller = Arc::new(Caller::from_claims(&verified.jwt.claims, &self.expected, now)?);
        let known = Remembered {
            caller: Arc::clone(&caller),
            generation: verified.generation,
        };
        self.cache.insert(digest, known);
        Ok(caller)
    }
}
