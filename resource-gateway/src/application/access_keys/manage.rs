//! What operators do with access keys. Who may is decided by whoever calls these.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use service_kit::{Clock, Entropy};

use super::{KeyIds, form, render_settings};
use crate::{
    application::{
        documents::{DocumentFault, Faults, Place},
        page::Page,
    },
    domain::{
        access_key::{AccessKey, KeySettings, SECRET_PREFIX, Secrets},
        audit::{Actor, AuditAction, AuditEvent, AuditKind, AuditPlace, Audited},
        ids::{AccessKeyId, ClientId, TenantId},
        snapshot::Revision,
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
        let audit = self.audit(None, Some(&key), actor, Rotated::Yes);
        self.store.insert(&key, &secrets, audit).await?;
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
        // One more tells whether there is another page.
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

    /// Replaces the settings of the key at `version`. Its client and tenant stay: whoever needs another's issues another.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn replace(
        &self,
        id: &AccessKeyId,
        settings: KeySettings,
        version: i64,
        actor: &Actor,
    ) -> Result<AccessKey, KeyError> {
        let mut faults = Faults::default();
        let before = self.load(id).await?;
        for (path, same) in [
            ("client_id", settings.client_id == before.settings.client_id),
            ("tenant", settings.tenant == before.settings.tenant),
        ] {
            if !same {
                faults.add(Place::of(path), "cannot be changed; issue another key");
            }
        }
        form::check(&settings, faults)?;
        let key = AccessKey {
            settings,
            changed_at: self.clock.now(),
            version: version + 1,
            ..before.clone()
        };
        let audit = self.audit(Some(&before), Some(&key), actor, Rotated::No);
        self.write(&key, None, version, audit).await?;
        Ok(key)
    }

    /// Gives the key at `version` a new secret; the one that it had is good for another `overlap`. One from a rotation before ends
    /// now.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn rotate(
        &self,
        id: &AccessKeyId,
        overlap: Duration,
        version: i64,
        actor: &Actor,
    ) -> Result<Issued, KeyError> {
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
            ..before.clone()
        };
        let audit = self.audit(Some(&before), Some(&key), actor, Rotated::Yes);
        self.write(&key, Some(&secrets), version, audit).await?;
        Ok(Issued { key, secret })
    }

    /// Removes the key, if it is still as it is given.
    ///
    /// # Errors
    /// [`KeyError`].
    pub async fn delete(&self, key: &AccessKey, actor: &Actor) -> Result<(), KeyError> {
        let audit = self.audit(Some(key), None, actor, Rotated::Yes);
        match self.store.delete(&key.id, key.version, audit).await? {
            Written::Done => Ok(()),
            Written::Conflict => Err(self.why_not(&key.id).await?),
        }
    }

    async fn write(
        &self,
        key: &AccessKey,
        secrets: Option<&Secrets>,
        version: i64,
        audit: AuditEvent,
    ) -> Result<(), KeyError> {
        match self.store.replace(key, secrets, version, audit).await? {
            Written::Done => Ok(()),
            Written::Conflict => Err(self.why_not(&key.id).await?),
        }
    }

    async fn why_not(&self, id: &AccessKeyId) -> StoreResult<KeyError> {
        let there = self.store.find(id).await?.is_some();
        Ok(if there { KeyError::Conflict } else { KeyError::Unknown })
    }

    fn audit(
        &self,
        before: Option<&AccessKey>,
        after: Option<&AccessKey>,
        actor: &Actor,
        secret: Rotated,
    ) -> AuditEvent {
        let (action, key) = match (before, after) {
            (None, key) => (AuditAction::Created, key),
            (Some(_), Some(key)) => (AuditAction::Replaced, Some(key)),
            (Some(key), None) => (AuditAction::Deleted, Some(key)),
        };
        let form = |key: &AccessKey| render_settings(&key.settings);
        AuditEvent {
            // Which revision it will be is known to the store.
            place: AuditPlace {
                revision: Revision(0),
                position: 0,
            },
            time: self.clock.now(),
            actor: actor.clone(),
            action,
            row: Audited {
                kind: AuditKind::AccessKey,
                name: key.map(|key| key.id.to_string()).unwrap_or_default(),
            },
            row_tenant: key.and_then(|key| key.settings.tenant.clone()),
            before: before.map(form),
            after: after.map(form),
            secret_changed: secret == Rotated::Yes,
        }
    }

    fn new_secret(&self) -> SecretString {
        SecretString::from(format!("{SECRET_PREFIX}{}", self.entropy.secret()))
    }
}

/// Whether a change concerned the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rotated {
    Yes,
    No,
}
