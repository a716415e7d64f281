//! Keys that are in use, ready to verify with.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use hmac::{Hmac, KeyInit as _, Mac as _};
use moka::sync::Cache;
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::{Network, Timestamp};
use sha2::Sha256;
use tokio::sync::Mutex;

use super::KeyIds;
use crate::{
    application::snapshots::Snapshots,
    domain::{
        access_key::{AccessKey, Secrets},
        caller::Caller,
        ids::AccessKeyId,
        snapshot::Revision,
        vendor::Switch,
    },
    ports::{access_keys::AccessKeys, config_source::StoreResult},
};

/// Keys that are read at once; of one key a single caller reads.
const DOORS: usize = 16;
/// Keys whose versions are asked for in one go.
const VERSIONS_AT_ONCE: usize = 1000;

/// A key as requests meet it.
pub(super) struct BoundKey {
    pub(super) id: AccessKeyId,
    pub(super) caller: Arc<Caller>,
    pub(super) enabled: Switch,
    pub(super) ip_allow: Vec<Network>,
    current: Hmac<Sha256>,
    previous: Option<(Hmac<Sha256>, Timestamp)>,
    used: Arc<LastUse>,
}

/// When a key was used, and what of it the database knows. In microseconds; 0 is never.
#[derive(Debug, Default)]
struct LastUse {
    at: AtomicI64,
    noted: AtomicI64,
}

impl BoundKey {
    fn new(key: AccessKey, secrets: &Secrets, used: Arc<LastUse>) -> Option<Self> {
        let previous = match (&secrets.previous, key.previous_until) {
            (Some(secret), Some(until)) => Some((keyed(secret)?, until)),
            (_, _) => None,
        };
        Some(Self {
            caller: Arc::new(Caller::of_access_key(&key)),
            enabled: key.settings.enabled,
            ip_allow: key.settings.ip_allow,
            current: keyed(&secrets.current)?,
            previous,
            id: key.id,
            used,
        })
    }

    /// Whether one of the secrets that are good at `now` made the signature. Compares in constant time.
    pub(super) fn signed(&self, text: &str, signature: &[u8; 32], now: Timestamp) -> bool {
        let made_by = |mac: &Hmac<Sha256>| {
            let mut mac = mac.clone();
            mac.update(text.as_bytes());
            mac.verify_slice(signature).is_ok()
        };
        made_by(&self.current)
            || self
                .previous
                .as_ref()
                .is_some_and(|(mac, until)| now < *until && made_by(mac))
    }

    pub(super) fn note_use(&self, now: Timestamp) {
        self.used.at.fetch_max(now.as_micros(), Ordering::Relaxed);
    }
}

fn keyed(secret: &SecretString) -> Option<Hmac<Sha256>> {
    Hmac::new_from_slice(secret.expose_secret().as_bytes()).ok()
}

#[derive(Clone)]
struct Known {
    revision: Revision,
    /// Of the row that the key was made of.
    version: Option<i64>,
    /// `None`: there is none of that id.
    key: Option<Arc<BoundKey>>,
}

/// Keys that were asked for, as of the newest revision that the database has told of. After a change of any row it is asked once
/// which keys have changed, for all of them together, and only those are read again; between changes nothing is read. Ids that were
/// never minted are not even looked for.
pub struct KnownKeys {
    store: Arc<dyn AccessKeys>,
    snapshots: Arc<Snapshots>,
    ids: KeyIds,
    cache: Cache<AccessKeyId, Known>,
    doors: Vec<Mutex<()>>,
    hasher: RandomState,
    /// The revision as of which the known keys were compared with the rows.
    compared: Mutex<Option<Revision>>,
}

impl KnownKeys {
    /// Keeps at most `entries` keys.
    pub fn new(store: Arc<dyn AccessKeys>, snapshots: Arc<Snapshots>, ids: KeyIds, entries: u64) -> Self {
        Self {
            store,
            snapshots,
            ids,
            cache: Cache::new(entries),
            doors: (0..DOORS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            compared: Mutex::default(),
        }
    }

    /// The key of an id, disabled ones included.
    pub(super) async fn find(&self, id: &str) -> StoreResult<Option<Arc<BoundKey>>> {
        if let Some(known) = self.fresh(id) {
            return Ok(known.key);
        }
        if !self.ids.knows(id) {
            return Ok(None);
        }
        if self.cache.contains_key(id) {
            self.compare().await?;
            if let Some(known) = self.fresh(id) {
                return Ok(known.key);
            }
        }
        let place = usize::try_from(self.hasher.hash_one(id) % DOORS as u64).unwrap_or(0);
        let _turn = match self.doors.get(place) {
            Some(door) => Some(door.lock().await),
            None => None,
        };
        // Whoever went first may have read it.
        if let Some(known) = self.fresh(id) {
            return Ok(known.key);
        }
        // The revision is taken before the row is read: a row that is newer than its revision is merely read again.
        let revision = self.snapshots.seen_revision();
        let id = AccessKeyId::new(id);
        let used = self
            .cache
            .get(&id)
            .and_then(|known| known.key)
            .map(|key| key.used.clone());
        let found = self.store.find_with_secrets(&id).await?;
        let version = found.as_ref().map(|(key, _)| key.version);
        let key = found
            .and_then(|(key, secrets)| BoundKey::new(key, &secrets, used.unwrap_or_default()))
            .map(Arc::new);
        let known = Known {
            revision,
            version,
            key: key.clone(),
        };
        self.cache.insert(id, known);
        Ok(key)
    }

    /// Looks which of the known keys have not changed: they are as good as read again. Of many who ask at once one looks.
    async fn compare(&self) -> StoreResult<()> {
        let mut compared = self.compared.lock().await;
        // Taken before the rows are looked at, as above.
        let revision = self.snapshots.seen_revision();
        if *compared == Some(revision) {
            return Ok(());
        }
        let outdated = |(id, known): (Arc<AccessKeyId>, Known)| (known.revision != revision).then_some((id, known));
        let known: Vec<_> = self.cache.iter().filter_map(outdated).collect();
        for known in known.chunks(VERSIONS_AT_ONCE) {
            let ids: Vec<_> = known.iter().map(|(id, _)| AccessKeyId::clone(id)).collect();
            let versions: HashMap<_, _> = self.store.versions(&ids).await?.into_iter().collect();
            for (id, known) in known {
                if versions.get(id.as_ref()).copied() == known.version {
                    let known = Known {
                        revision,
                        ..known.clone()
                    };
                    self.cache.insert(AccessKeyId::clone(id), known);
                }
            }
        }
        *compared = Some(revision);
        Ok(())
    }

    fn fresh(&self, id: &str) -> Option<Known> {
        let revision = self.snapshots.seen_revision();
        self.cache.get(id).filter(|known| known.revision == revision)
    }

    /// Tells the database which keys were used since it was told last.
    pub(super) async fn note_uses(&self) -> StoreResult<()> {
        let used = |(_, known): (_, Known)| {
            let key = known.key?;
            let at = key.used.at.load(Ordering::Relaxed);
            (at > key.used.noted.load(Ordering::Relaxed)).then_some((key, at))
        };
        let keys: Vec<_> = self.cache.iter().filter_map(used).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let uses: Vec<_> = keys
            .iter()
            .map(|(key, at)| (key.id.clone(), Timestamp::from_micros(*at)))
            .collect();
        self.store.note_uses(&uses).await?;
        for (key, at) in keys {
            key.used.noted.fetch_max(at, Ordering::Relaxed);
        }
        Ok(())
    }
}

impl fmt::Debug for KnownKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownKeys")
            .field("entries", &self.cache.entry_count())
            .finish_non_exhaustive()
    }
}
