//! Access keys at rest, and the memory of what was signed by them.

use std::fmt;

use async_trait::async_trait;
use service_kit::Timestamp;

use super::config_source::StoreResult;
use crate::domain::{
    access_key::{AccessKey, Ended, Secrets},
    audit::AuditEvent,
    ids::{AccessKeyId, ClientId, TenantId},
};

/// Access keys at rest; their secrets are sealed. Every change but [`AccessKeys::note_uses`] counts up the revision that all
/// gateways watch, and leaves its audit row at that revision, in one transaction.
#[async_trait]
pub trait AccessKeys: Send + Sync + fmt::Debug {
    /// A key with what it signs with. `Corrupt` when its secrets do not open.
    async fn find_with_secrets(&self, id: &AccessKeyId) -> StoreResult<Option<(AccessKey, Secrets)>>;

    async fn find(&self, id: &AccessKeyId) -> StoreResult<Option<AccessKey>>;

    /// The versions of those keys that exist.
    async fn versions(&self, ids: &[AccessKeyId]) -> StoreResult<Vec<(AccessKeyId, i64)>>;

    /// A page of keys by id.
    async fn list(&self, page: &KeyPage) -> StoreResult<Vec<AccessKey>>;

    /// Saves a new key.
    async fn insert(&self, key: &AccessKey, secrets: &Secrets, audit: AuditEvent) -> StoreResult<()>;

    /// Replaces a key's settings and stamps if it is still at `version`; its secrets only when there are new ones. MUST let one
    /// of several callers win.
    async fn replace(
        &self,
        key: &AccessKey,
        secrets: Option<&Secrets>,
        version: i64,
        audit: AuditEvent,
    ) -> StoreResult<Written>;

    /// Removes a key if it is still at `version`.
    async fn delete(&self, id: &AccessKeyId, version: i64, audit: AuditEvent) -> StoreResult<Written>;

    /// Remembers when keys were used last. An earlier moment changes nothing.
    async fn note_uses(&self, uses: &[(AccessKeyId, Timestamp)]) -> StoreResult<()>;

    /// Disables the keys of a client or person that nobody has changed since the end of the second `before`; answers how many.
    async fn end(&self, whose: &Ended, before: i64) -> StoreResult<u64>;
}

/// What a list is to hold.
#[derive(Debug, Clone)]
pub struct KeyPage {
    /// Keys of this tenant alone; `None`: of all tenants.
    pub tenant: Option<TenantId>,
    /// Keys of this client alone.
    pub client_id: Option<ClientId>,
    /// Keys behind this one.
    pub after: Option<AccessKeyId>,
    pub limit: u32,
}

/// Whether a change that depends on a version took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    Done,
    /// Somebody else changed it meanwhile, or it is gone.
    Conflict,
}

/// Nonces that have been used.
#[async_trait]
pub trait NonceMemory: Send + Sync + fmt::Debug {
    /// Spends a key's nonce until the moment `until` (seconds), from when on its request is too old anyway. MUST let one of
    /// several callers of one nonce win, and MUST NOT forget a nonce to make room for another.
    async fn spend(&self, key: &AccessKeyId, nonce: &str, until: i64, now: i64) -> Spent;
}

/// What became of a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    Fresh,
    Replayed,
    /// The key has used up its share of the memory.
    TooMany,
    /// Nothing more can be remembered, so nothing more can be let in.
    Full,
}
