//! Requests and answers, kept for those interfaces whose operator wants to read them.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use service_kit::Timestamp;

use super::config_source::StoreResult;
use crate::domain::{
    ids::{ClientId, InterfaceName, RequestId, Subject, TenantId},
    usage::UsageState,
};

/// A request and its answer as they went over the wire.
#[derive(Clone)]
pub struct Payload {
    pub request_id: RequestId,
    pub time: Timestamp,
    pub tenant: Option<TenantId>,
    pub client_id: ClientId,
    pub sub: Subject,
    pub interface: InterfaceName,
    pub state: UsageState,
    /// After the field rules.
    pub request: Bytes,
    /// The beginning of the answer, after the confidence filter.
    pub reply: Vec<Bytes>,
    /// The length of the whole answer.
    pub reply_bytes: u64,
    pub keep_base64: bool,
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Prompts and answers are nobody's business in a log.
        f.debug_struct("Payload")
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

/// Takes payloads. They are no accounts: when there is no room, they are dropped and counted.
pub trait PayloadLog: Send + Sync + fmt::Debug {
    /// Takes a payload without waiting.
    fn offer(&self, payload: Payload);
    /// Bytes of an answer that are worth keeping until then.
    fn reply_bytes(&self) -> usize;
}

/// A payload fit for storage: data and secrets replaced, cut to a number of bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredPayload {
    pub request_id: String,
    pub time: Timestamp,
    pub tenant: Option<String>,
    pub client_id: String,
    pub sub: String,
    pub interface: String,
    pub state: String,
    pub request: String,
    pub request_bytes: i64,
    pub request_cut: bool,
    pub reply: String,
    pub reply_bytes: i64,
    pub reply_cut: bool,
}

impl fmt::Debug for StoredPayload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredPayload")
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}

/// Which payloads. Absent is any.
#[derive(Debug, Clone, Default)]
pub struct PayloadQuery {
    pub tenant: Option<TenantId>,
    pub request_id: Option<String>,
    pub interface: Option<String>,
    pub client_id: Option<String>,
    /// Only those before this place, the newest first.
    pub before: Option<(Timestamp, String)>,
    pub limit: u32,
}

/// Payloads at rest.
#[async_trait]
pub trait PayloadStore: Send + Sync + fmt::Debug {
    /// Inserts a batch; a request that is there already stays as it is.
    async fn insert_payloads(&self, batch: &[StoredPayload]) -> StoreResult<()>;
    /// The newest first.
    async fn list_payloads(&self, query: &PayloadQuery) -> StoreResult<Vec<StoredPayload>>;
    /// Removes some of those that are older; answers how many went, at most `limit`.
    async fn forget_payloads(&self, before: Timestamp, limit: u32) -> StoreResult<u64>;
}
