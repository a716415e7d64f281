//! Registered clients in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    application::register::cimd::{CimdError, MetadataDocuments},
    domain::{client::Client, ids::ClientId},
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
        match self.remembered(id) {
            Some(client) => Ok(Some(client)),
            None => self.read(id).await,
        }
    }

    /// The client as far as it is in memory.
    pub(super) fn remembered(&self, id: &ClientId) -> Option<Arc<Client>> {
        self.cache.get(id)
    }

    /// The client as it stands in the store, or in its document.
    pub(super) async fn read(&self, id: &ClientId) -> StoreResult<Option<Arc<Client>>> {
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
