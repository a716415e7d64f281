//! What operators do with access keys. Who may is the admin API's to decide, which calls these.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use service_kit::{Clock, Entropy};

use super::KeyIds;
use crate::{
    domain::{
        access_key::{AccessKey, KeySettings, SECRET_PREFIX, Secrets, SettingFault},
        ids::{AccessKeyId, ClientId, TenantId},
    },
    ports::{
        access_keys::{AccessKeys, KeyPage, Written},
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

/// A page of keys.
#[derive(Debug)]
pub struct Keys {
    pub items: Vec<AccessKey>,
    /// Behind which key the next page begins, if there is one.
    pub next: Option<AccessKeyId>,
}

/// Why an operator's wish was not granted.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("there is no such access key")]
    Unknown,
    #[error("the access key was changed meanwhile")]
    Conflict,
    #[error("the settings make no sense")]
    Invalid(Vec<SettingFault>),
    #[error("the client and tenant of an access key cannot be changed")]
    Moved,
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
    pub async fn issue(&self, settings: KeySettings) -> Result<Issued, KeyError> {
        check(&settings)?;
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
        self.store.insert(&key, &secrets).await?;
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
    ) -> StoreResult<Keys> {
        let limit = limit.clamp(1, PAGE_LIMIT);
        // One more tells whether there is another page.
        let page = KeyPage {
            tenant,
            client_id,
            after,
            limit: limit + 1,
        };
        let mut items = self.store.list(&page).await?;
        let more = items.len() > limit as usize;
        items.truncate(limit as usize);
        let next = items.last().filter(|_| more).map(|key| key.id.clone());
        Ok(Keys { items, next })
    }

    /// One key.
    ///
    /// # Errors
    /// [`KeyError::Unknown`], [`KeyError::Store`].
    pub async fn load(&self, id: &AccessKeyId) -> Result<AccessKey, KeyError> {
        self.store.find(id).await?.ok_or(KeyError::Unknown)
    }

    /// Replaces the settings of the key at `version`. Its client and tenant stay: whoever needs another's issues another.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn replace(&self, id: &AccessKeyId, settings: KeySettings, version: i64) -> Result<AccessKey, KeyError> {
        check(&settings)?;
        let before = self.load(id).await?;
        if settings.client_id != before.settings.client_id || settings.tenant != before.settings.tenant {
            return Err(KeyError::Moved);
        }
        let key = AccessKey {
            settings,
            changed_at: self.clock.now(),
            version: version + 1,
            ..before
        };
        self.write(&key, None, version).await?;
        Ok(key)
    }

    /// Gives the key at `version` a new secret; the one that it had is good for another `overlap`. One from a rotation before ends
    /// now.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn rotate(&self, id: &AccessKeyId, overlap: Duration, version: i64) -> Result<Issued, KeyError> {
        let (before, had) = self.store.find_with_secrets(id).await?.ok_or(KeyError::Unknown)?;
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
            version: version + 1,
            ..before
        };
        self.write(&key, Some(&secrets), version).await?;
        Ok(Issued { key, secret })
    }

    /// Removes the key at `version`.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn delete(&self, id: &AccessKeyId, version: i64) -> Result<(), KeyError> {
        match self.store.delete(id, version).await? {
            Written::Done => Ok(()),
            Written::Conflict => Err(self.why_not(id).await?),
        }
    }

    async fn write(&self, key: &AccessKey, secrets: Option<&Secrets>, version: i64) -> Result<(), KeyError> {
        match self.store.replace(key, secrets, version).await? {
            Written::Done => Ok(()),
            Written::Conflict => Err(self.why_not(&key.id).await?),
        }
    }

    async fn why_not(&self, id: &AccessKeyId) -> StoreResult<KeyError> {
        let there = self.store.find(id).await?.is_some();
        Ok(if there { KeyError::Conflict } else { KeyError::Unknown })
    }

    fn new_secret(&self) -> SecretString {
        SecretString::from(format!("{SECRET_PREFIX}{}", self.entropy.secret()))
    }
}

fn check(settings: &KeySettings) -> Result<(), KeyError> {
    let faults = settings.faults();
    match faults.is_empty() {
        true => Ok(()),
        false => Err(KeyError::Invalid(faults)),
    }
}
