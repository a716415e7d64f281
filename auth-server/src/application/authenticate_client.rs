//! Who is calling the token endpoint and its neighbours (RFC 6749 §2.3).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::{Clock, Timestamp};
use subtle::ConstantTimeEq as _;
use token_keys::MacKey;

use crate::{
    application::{
        register::cimd::{CimdError, MetadataDocuments},
        token_error::TokenError,
    },
    domain::{
        client::{Client, ClientSecret},
        ids::ClientId,
    },
    ports::store::{Clients, StoreResult},
};

/// Clients kept in memory at most.
const CACHED_CLIENTS: u64 = 10_000;
/// A cached client is read again after this long, whatever happens.
const CACHED_FOR: Duration = Duration::from_secs(60);

/// Registered clients, kept in memory until the revision counter moves.
#[derive(Clone)]
pub struct ClientDirectory {
    store: Arc<dyn Clients>,
    documents: Option<MetadataDocuments>,
    cache: moka::sync::Cache<ClientId, Arc<Client>>,
    /// Moves with every [`ClientDirectory::invalidate`].
    generation: Arc<AtomicU64>,
}

impl std::fmt::Debug for ClientDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientDirectory").finish_non_exhaustive()
    }
}

impl ClientDirectory {
    /// `documents`: where clients are looked for that are described at the URL which is their id.
    pub fn new(store: Arc<dyn Clients>, documents: Option<MetadataDocuments>) -> Self {
        let cache = moka::sync::Cache::builder()
            .max_capacity(CACHED_CLIENTS)
            .time_to_live(CACHED_FOR)
            .build();
        Self {
            store,
            documents,
            cache,
            generation: Arc::default(),
        }
    }

    /// The client, whatever its status.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find(&self, id: &ClientId) -> StoreResult<Option<Arc<Client>>> {
        if let Some(client) = self.cache.get(id) {
            return Ok(Some(client));
        }
        let generation = self.generation.load(Ordering::Acquire);
        let row = self.store.find_client(id).await?;
        let found = match self.documents.as_ref().filter(|documents| documents.serves(id)) {
            // A row for a URL says only that its client is not wanted here.
            Some(documents) => match row.filter(|row| !row.is_active()) {
                Some(blocked) => Some(blocked),
                None => documents.resolve(id).await.ok(),
            },
            None => row,
        };
        // Unknown ids are not kept: strangers could fill the cache with them.
        let Some(client) = found.map(Arc::new) else {
            return Ok(None);
        };
        self.cache.insert(id.clone(), Arc::clone(&client));
        // The row may have been read before a change that was announced meanwhile.
        if self.generation.load(Ordering::Acquire) != generation {
            self.cache.invalidate(id);
        }
        Ok(Some(client))
    }

    /// As [`ClientDirectory::find`], but no host is asked for a document: a client that is described elsewhere is told by its name alone.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find_known(&self, id: &ClientId) -> StoreResult<Option<Arc<Client>>> {
        match self.documents.as_ref().filter(|documents| documents.serves(id)) {
            Some(documents) if !self.cache.contains_key(id) => Ok(Some(Arc::new(documents.outline(id)))),
            _ => self.find(id).await,
        }
    }

    /// Why there is no client of this id, if there is more to say than that it is unknown.
    pub async fn why_unknown(&self, id: &ClientId) -> Option<CimdError> {
        let documents = self.documents.as_ref().filter(|documents| documents.serves(id))?;
        documents.resolve(id).await.err()
    }

    /// Forgets everything, since some client has changed.
    pub fn invalidate(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.cache.invalidate_all();
    }
}

/// Keyed hashing of client secrets. They are made by machines and unguessable, so a slow password hash would only cost time.
#[derive(Debug, Clone)]
pub struct ClientSecrets {
    key: MacKey,
}

impl ClientSecrets {
    /// `key` is derived from the master key for this purpose alone.
    pub fn new(key: MacKey) -> Self {
        Self { key }
    }

    /// The hash of a secret, to be stored.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn seal(&self, secret: &SecretString, expires_at: Option<Timestamp>) -> Result<ClientSecret, TokenError> {
        Ok(ClientSecret {
            mac: self.mac(secret)?,
            expires_at,
        })
    }

    /// Tells whether `secret` is one of the stored ones that still work.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn matches(&self, secret: &SecretString, stored: &[ClientSecret], now: Timestamp) -> Result<bool, TokenError> {
        let mac = self.mac(secret)?;
        let usable = stored.iter().filter(|one| one.expires_at.is_none_or(|at| at > now));
        Ok(usable.fold(false, |found, one| {
            found | bool::from(one.mac.as_bytes().ct_eq(mac.as_bytes()))
        }))
    }

    fn mac(&self, secret: &SecretString) -> Result<String, TokenError> {
        let mac = self
            .key
            .mac(&[secret.expose_secret().as_bytes()])
            .map_err(TokenError::internal)?;
        Ok(URL_SAFE_NO_PAD.encode(mac))
    }
}

/// What a request shows of its client.
#[derive(Debug)]
pub enum PresentedClient {
    /// A secret, in a Basic header or in the body.
    Secret { client_id: ClientId, secret: SecretString },
    /// A `client_id` alone.
    Public { client_id: ClientId },
}

/// Authenticates clients.
#[derive(Debug, Clone)]
pub struct AuthenticateClient {
    pub clients: ClientDirectory,
    pub secrets: ClientSecrets,
    pub clock: Arc<dyn Clock>,
}

impl AuthenticateClient {
    /// The client that the request comes from. The two secret methods carry the same proof, so a client that is registered for one
    /// may use the other.
    ///
    /// # Errors
    /// [`TokenError::InvalidClient`] for an unknown or disabled client, a wrong secret, a secret from a public client or none from
    /// a confidential one.
    pub async fn authenticate(&self, presented: PresentedClient) -> Result<Arc<Client>, TokenError> {
        let (client_id, secret) = match presented {
            PresentedClient::Secret { client_id, secret } => (client_id, Some(secret)),
            PresentedClient::Public { client_id } => (client_id, None),
        };
        let client = self.clients.find(&client_id).await?.filter(|client| client.is_active());
        let genuine = match (&client, &secret) {
            (Some(client), None) => client.is_public(),
            (Some(client), Some(secret)) => {
                self.secrets.matches(secret, &client.secrets, self.clock.now())? && !client.is_public()
            }
            (None, _) => false,
        };
        client.filter(|_| genuine).ok_or(TokenError::InvalidClient)
    }
}
