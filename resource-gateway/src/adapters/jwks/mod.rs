//! The provider's keys, found by discovery and kept fresh.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use oauth_wire::metadata::ProviderKeysLocation;
use service_kit::Tasks;
use token_keys::{Jwks, VerifyError};
use tokio::sync::Mutex;

use crate::ports::provider::{KeyGeneration, KeysError, ProviderKeys, Verified};

/// Until the keys are there the provider is asked this often.
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// A failed refresh is tried again after this long.
const RETRY: Duration = Duration::from_secs(5);
/// Tokens with unknown keys make the provider be asked this often at most, however many there are.
const COOLDOWN: Duration = Duration::from_secs(1);
/// Longer documents are no key sets.
const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// Why keys could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{what} cannot be fetched: {reason}")]
    Fetch { what: &'static str, reason: String },
    #[error("the discovery document cannot be read: {0}")]
    Discovery(String),
    // OpenID Connect Discovery §4.3: a document of another issuer must not be used.
    #[error("the discovery document is of another issuer")]
    WrongIssuer,
    #[error("the key set cannot be used: {0}")]
    Keys(#[from] token_keys::JwksError),
}

/// Keys of one issuer. The last good set stays when the provider is away.
pub struct DiscoveredKeys {
    issuer: String,
    http: reqwest::Client,
    refresh_interval: Duration,
    current: ArcSwapOption<KeySet>,
    generation: AtomicU64,
    /// Held while the provider is asked, so that of many who want an unknown key one asks; holds when that was last done.
    last_asked: Mutex<Option<Instant>>,
}

struct KeySet {
    jwks: Jwks,
    generation: KeyGeneration,
    document: Vec<u8>,
}

impl fmt::Debug for DiscoveredKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiscoveredKeys")
            .field("issuer", &self.issuer)
            .finish_non_exhaustive()
    }
}

impl DiscoveredKeys {
    pub fn new(issuer: String, http: reqwest::Client, refresh_interval: Duration) -> Self {
        Self {
            issuer,
            http,
            refresh_interval,
            current: ArcSwapOption::empty(),
            generation: AtomicU64::new(0),
            last_asked: Mutex::new(None),
        }
    }

    /// Loads keys and keeps them fresh until shutdown.
    pub async fn keep_fresh(self: Arc<Self>, tasks: Tasks) {
        let stop = tasks.stop_token();
        // A change is worth a line, not each of a series of equal results.
        let mut well = None;
        loop {
            let Some(loaded) = stop.run_until_cancelled(self.refresh()).await else {
                return;
            };
            let before = well.replace(loaded.is_ok());
            let pause = match loaded {
                Ok(()) => {
                    if before != Some(true) {
                        tracing::info!(issuer = self.issuer, "the provider's keys are loaded");
                    }
                    self.refresh_interval
                }
                Err(error) => {
                    if before != Some(false) {
                        tracing::warn!(issuer = self.issuer, %error, "the provider's keys cannot be loaded, trying on");
                    }
                    if self.is_loaded() { RETRY } else { FIRST_RETRY }
                }
            };
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
        }
    }

    /// Asks the provider, whether or not anybody needs it.
    ///
    /// # Errors
    /// [`LoadError`]; the last good keys stay.
    pub async fn refresh(&self) -> Result<(), LoadError> {
        let mut last_asked = self.last_asked.lock().await;
        *last_asked = Some(Instant::now());
        self.load().await
    }

    /// Asks the provider because of an unknown key, unless somebody just did. Whoever waits for somebody else's asking shares
    /// its result.
    async fn refresh_for_unknown_key(&self) {
        let wanted_at = Instant::now();
        let mut last_asked = self.last_asked.lock().await;
        let asked_since = last_asked.is_some_and(|at| at >= wanted_at || wanted_at.duration_since(at) < COOLDOWN);
        if asked_since {
            return;
        }
        *last_asked = Some(Instant::now());
        if let Err(error) = self.load().await {
            tracing::warn!(issuer = self.issuer, %error, "a token names an unknown key, and the provider cannot be asked");
        }
    }

    async fn load(&self) -> Result<(), LoadError> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let metadata = self.fetch(&url, "the discovery document").await?;
        let location: ProviderKeysLocation =
            serde_json::from_slice(&metadata).map_err(|error| LoadError::Discovery(error.to_string()))?;
        if location.issuer != self.issuer {
            return Err(LoadError::WrongIssuer);
        }
        let document = self.fetch(&location.jwks_uri, "the key set").await?;
        let current = self.current.load();
        if current.as_ref().is_some_and(|known| known.document == document) {
            return Ok(());
        }
        let jwks = Jwks::from_slice(&document)?;
        // A changed set may have lost a key; what was verified with it is verified again.
        let generation = KeyGeneration(self.generation.fetch_add(1, Ordering::AcqRel) + 1);
        self.current.store(Some(Arc::new(KeySet {
            jwks,
            generation,
            document,
        })));
        Ok(())
    }

    async fn fetch(&self, url: &str, what: &'static str) -> Result<Vec<u8>, LoadError> {
        let failed = |error: reqwest::Error| LoadError::Fetch {
            what,
            reason: error.without_url().to_string(),
        };
        let mut response = self
            .http
            .get(url)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status)
            .map_err(failed)?;
        let mut document = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(failed)? {
            if document.len() + piece.len() > MAX_DOCUMENT_BYTES {
                return Err(LoadError::Fetch {
                    what,
                    reason: "it is too long".to_owned(),
                });
            }
            document.extend_from_slice(&piece);
        }
        Ok(document)
    }

    fn verify_now(&self, token: &str) -> Result<Result<Verified, VerifyError>, KeysError> {
        let current = self.current.load();
        let keys = current.as_ref().ok_or(KeysError::NotLoaded)?;
        let verified = keys.jwks.verify(token);
        Ok(verified.map(|jwt| Verified {
            jwt,
            generation: keys.generation,
        }))
    }
}

#[async_trait]
impl ProviderKeys for DiscoveredKeys {
    async fn verify(&self, token: &str) -> Result<Verified, KeysError> {
        match self.verify_now(token)? {
            Ok(verified) => return Ok(verified),
            Err(VerifyError::UnknownKey) if names_a_key(token) => {}
            Err(_) => return Err(KeysError::Invalid),
        }
        self.refresh_for_unknown_key().await;
        self.verify_now(token)?.map_err(|_| KeysError::Invalid)
    }

    fn generation(&self) -> KeyGeneration {
        KeyGeneration(self.generation.load(Ordering::Acquire))
    }

    fn is_loaded(&self) -> bool {
        self.current.load().is_some()
    }
}

/// A token without a `kid` cannot be verified by any set, so the provider is not bothered.
fn names_a_key(token: &str) -> bool {
    token_keys::peek_header(token).is_ok_and(|header| header.kid.is_some())
}
