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

/// Access keys at rest; their secrets are sealed.
#[async_trait]
pub trait AccessKeys: Send + Sync + fmt::Debug {
    /// A key with what it signs with. `Corrupt` when its secrets do not open.
    async fn find_with_secrets(&self, id: &AccessKeyId) -> StoreResult<Option<(AccessKey, Secrets)>>;

    async fn find(&self, id: &AccessKeyId) -> StoreResult<Option<AccessKey>>;

    /// The versions of those keys that exist.
    async fn versions(&self, ids: &[AccessKeyId]) -> StoreResult<Vec<(AccessKeyId, i64)>>;

    /// A page of keys by id.
    async fn list(&self, page: &KeyPage) -> StoreResult<Vec<AccessKey>>;

    /// The enabled keys of a client or person that nobody has stood by since the end of the second `before`.
    async fn find_ended(&self, whose: &Ended, before: i64) -> StoreResult<Vec<AccessKey>>;

    /// Begins a change. Of several at once, of keys and of the configuration, one goes on, the others wait.
    async fn begin_change(&self) -> StoreResult<Box<dyn KeyChange>>;

    /// Remembers when keys were used last. An earlier moment changes nothing. This alone leaves no trace and no revision.
    async fn note_uses(&self, uses: &[(AccessKeyId, Timestamp)]) -> StoreResult<()>;
}

/// A change of keys: nothing of it is visible before `commit`, dropping it undoes it.
#[async_trait]
pub trait KeyChange: Send {
    /// A key as this change sees it.
    async fn find(&mut self, id: &AccessKeyId) -> StoreResult<Option<AccessKey>>;

    /// The same with what it signs with. `Corrupt` when its secrets do not open.
    async fn find_with_secrets(&mut self, id: &AccessKeyId) -> StoreResult<Option<(AccessKey, Secrets)>>;

    /// Saves a new key.
    async fn insert(&mut self, key: &AccessKey, secrets: &Secrets) -> StoreResult<()>;

    /// Replaces a key's settings and stamps; its secrets only when there are new ones.
    async fn replace(&mut self, key: &AccessKey, secrets: Option<&Secrets>) -> StoreResult<()>;

    async fn delete(&mut self, id: &AccessKeyId) -> StoreResult<()>;

    /// Writes down who did what, at the revision that this change will make and in the order of the calls.
    async fn note(&mut self, event: AuditEvent) -> StoreResult<()>;

    /// Counts up the revision that all gateways watch, and makes all of it visible at once.
    async fn commit(self: Box<Self>) -> StoreResult<()>;
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

/// Nonces that have been used.
#[async_trait]
pub trait NonceMemory: Send + Sync + fmt::Debug {
    /// Spends a key's nonce until its request is too old anyway. MUST let one of several callers of one nonce win, and MUST NOT
    /// forget a nonce to make room for another.
    async fn spend(&self, key: &AccessKeyId, nonce: SignedNonce<'_>, now: i64) -> Spent;
}

/// A nonce with the times of its request, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct SignedNonce<'a> {
    pub text: &'a str,
    pub signed_at: i64,
    /// From the second after on the request is too old.
    pub until: i64,
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
    /// The memory cannot be asked, or does not reach back to when the request was signed.
    Unknown,
}
