//! What operators do with access keys. Who may is decided by whoever calls these.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use service_kit::{Clock, Entropy};

use super::{
    KeyIds, form,
    trail::{self, Rotated},
};
use crate::{
    application::{
        documents::{DocumentFault, Faults, Place},
        page::Page,
    },
    domain::{
        access_key::{AccessKey, KeySettings, SECRET_PREFIX, Secrets},
        audit::Actor,
        ids::{AccessKeyId, ClientId, TenantId},
    },
    ports::{
        access_keys::{AccessKeys, KeyPage},
        config_source::{StoreError, StoreResult},
    },
};

/// Keys on one page at most.
pub const PAGE_LIMIT: u32 = 500;

/// Looks after access keys.
#[derive(Debug)]
pub struct ManageAccessKeys {
    pub store: Arc<dyn AccessKeys>,
    pub ids: KeyIds,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

/// A key with its secret, which nobody can read again.
#[derive(Debug)]
pub struct Issued {
    pub key: AccessKey,
    pub secret: SecretString,
}

/// Why an operator's wish was not granted.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("there is no such access key")]
    Unknown,
    #[error("the access key was changed meanwhile")]
    Conflict,
    #[error("the settings make no sense")]
    Invalid(Vec<DocumentFault>),
    #[error("cryptography failed")]
    Crypto,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ManageAccessKeys {
    /// The secret before a rotation is good for so long, unless somebody says otherwise.
    pub const OVERLAP: Duration = Duration::from_secs(24 * 60 * 60);
    /// For longer, two secrets are no rotation.
    pub const LONGEST_OVERLAP: Duration = Duration::from_secs(30 * 24 * 60 * 60);

    /// Issues a key.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn issue(&self, settings: KeySettings, actor: &Actor) -> Result<Issued, KeyError> {
        form::check(&settings, Faults::default())?;
        let now = self.clock.now();
        let secret = self.new_secret();
        let key = AccessKey {
            id: self.ids.mint(self.entropy.as_ref()).ok_or(KeyError::Crypto)?,
            settings,
            created_at: now,
            rotated_at: None,
            changed_at: now,
            last_used_at: None,
            previous_until: None,
            version: 1,
        };
        let secrets = Secrets {
            current: secret.clone(),
            previous: None,
        };
        let event = trail::event(now, actor, None, Some(&key), Rotated::Yes);
        let mut change = self.store.begin_change().await?;
        change.insert(&key, &secrets).await?;
        change.note(event).await?;
        change.commit().await?;
        Ok(Issued { key, secret })
    }

    /// Keys by id.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn list(
        &self,
        tenant: Option<TenantId>,
        client_id: Option<ClientId>,
        after: Option<AccessKeyId>,
        limit: u32,
    ) -> StoreResult<Page<AccessKey, AccessKeyId>> {
        let limit = limit.clamp(1, PAGE_LIMIT);
        let page = KeyPage {
            tenant,
            client_id,
            after,
            limit: limit + 1,
        };
        let keys = self.store.list(&page).await?;
        Ok(Page::cut(keys, limit, |key| key.id.clone()))
    }

    /// One key.
    ///
    /// # Errors
    /// [`KeyError::Unknown`], [`KeyError::Store`].
    pub async fn load(&self, id: &AccessKeyId) -> Result<AccessKey, KeyError> {
        self.store.find(id).await?.ok_or(KeyError::Unknown)
    }

    /// Replaces the settings of a key by what `settings` makes of the key as it stands. Its client and tenant stay: whoever needs
    /// another's issues another. Of several writers each sees what the one before it wrote.
    ///
    /// # Errors
    /// [`KeyError`], those of `settings` among them; then nothing was written.
    pub async fn replace(
        &self,
        id: &AccessKeyId,
        actor: &Actor,
        settings: impl FnOnce(&AccessKey) -> Result<KeySettings, KeyError> + Send,
    ) -> Result<AccessKey, KeyError> {
        let mut change = self.store.begin_change().await?;
        let before = change.find(id).await?.ok_or(KeyError::Unknown)?;
        let settings = settings(&before)?;
        let mut faults = Faults::default();
        for (path, same) in [
            ("client_id", settings.client_id == before.settings.client_id),
            ("tenant", settings.tenant == before.settings.tenant),
        ] {
            if !same {
                faults.add(Place::of(path), "cannot be changed; issue another key");
            }
        }
        form::check(&settings, faults)?;
        let now = self.clock.now();
        let key = AccessKey {
            settings,
            changed_at: now,
            version: before.version + 1,
            ..before.clone()
        };
        change.replace(&key, None).await?;
        let event = trail::event(now, actor, Some(&before), Some(&key), Rotated::No);
        change.note(event).await?;
        change.commit().await?;
        Ok(key)
    }

    /// Gives a key a new secret if `permit` allows that of the key as it stands; the one that it had is good for another `overlap`.
    /// One from a rotation before ends now.
    ///
    /// # Errors
    /// [`KeyError`], those of `permit` among them; then nothing was written.
    pub async fn rotate(
        &self,
        id: &AccessKeyId,
        overlap: Duration,
        actor: &Actor,
        permit: impl FnOnce(&AccessKey) -> Result<(), KeyError> + Send,
    ) -> Result<Issued, KeyError> {
        let mut change = self.store.begin_change().await?;
        let before = change.find(id).await?.ok_or(KeyError::Unknown)?;
        permit(&before)?;
        let (before, had) = change.find_with_secrets(id).await?.ok_or(KeyError::Unknown)?;
        let now = self.clock.now();
        let secret = self.new_secret();
        let overlap = overlap.min(Self::LONGEST_OVERLAP);
        let secrets = Secrets {
            current: secret.clone(),
            previous: (!overlap.is_zero()).then_some(had.current),
        };
        let key = AccessKey {
            rotated_at: Some(now),
            changed_at: now,
            previous_until: secrets.previous.as_ref().map(|_| now + overlap),
            version: before.version + 1,
            ..before.clone()
        };
        change.replace(&key, Some(&secrets)).await?;
        let event = trail::event(now, actor, Some(&before), Some(&key), Rotated::Yes);
        change.note(event).await?;
        change.commit().await?;
        Ok(Issued { key, secret })
    }

    /// Removes a key if `permit` allows that of the key as it stands.
    ///
    /// # Errors
    /// [`KeyError`], those of `permit` among them; then nothing was removed.
    pub async fn delete(
        &self,
        id: &AccessKeyId,
        actor: &Actor,
        permit: impl FnOnce(&AccessKey) -> Result<(), KeyError> + Send,
    ) -> Result<(), KeyError> {
        let mut change = self.store.begin_change().await?;
        let key = change.find(id).await?.ok_or(KeyError::Unknown)?;
        permit(&key)?;
        change.delete(id).await?;
        let event = trail::event(self.clock.now(), actor, Some(&key), None, Rotated::Yes);
        change.note(event).await?;
        Ok(change.commit().await?)
    }

    fn new_secret(&self) -> SecretString {
        SecretString::from(format!("{SECRET_PREFIX}{}", self.entropy.secret()))
    }
}
