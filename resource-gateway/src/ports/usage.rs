//! Usage: where records go.

use std::fmt;

use async_trait::async_trait;

use super::config_source::StoreResult;
use crate::domain::{ids::NodeId, usage::UsageRecord};

/// Takes usage records and never loses one that it took.
///
/// How a call uses it:
/// 1. Before anything is sent to a vendor, [`UsageSink::admit`]; on an error answer 503 and call nobody.
/// 2. When the call ended, and BEFORE the last byte of the reply goes out, [`UsageSink::take`], once. A stream does that before
///    its final piece; a reply that is dropped does it in `Drop`: it is synchronous, takes microseconds and needs no runtime,
///    so that no task has to outlive the reply.
/// 3. Before anything is written to a caller, and at once where nothing will be, [`UsageSink::flush`]: records that were taken
///    one after the other are saved together.
///
/// No future is awaited here on purpose. What is slow (the database) happens behind the sink.
pub trait UsageSink: Send + Sync + fmt::Debug {
    /// Whether another call may begin.
    ///
    /// # Errors
    /// The sink has no room for its record: the database was away for too long, or the disk is full.
    fn admit(&self) -> Result<(), UsageUnavailable>;

    /// Takes a record, to be saved by the next [`UsageSink::flush`], and without one soon.
    ///
    /// It has room for the records of admitted calls even when `admit` has begun to refuse. Records of refused calls
    /// (`Rejected`) were never admitted: while `admit` refuses they are not taken.
    ///
    /// # Errors
    /// The record is lost.
    fn take(&self, record: &UsageRecord) -> Result<(), UsageUnavailable>;

    /// Saves what was taken. When this returns, killing the process (SIGKILL) no longer loses it, unless the disk refuses: then the
    /// records are kept in memory and tried again, and `admit` refuses until that succeeds.
    fn flush(&self);

    /// For `/status` and `/readyz`.
    fn status(&self) -> UsageStatus;
}

/// Usage cannot be saved now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UsageUnavailable {
    #[error("the usage journal holds {bytes} bytes that the database has not taken, its cap is {cap}")]
    Full { bytes: u64, cap: u64 },
    #[error("the usage journal cannot be written: {0}")]
    Disk(String),
}

/// How it stands with records that the database has not taken yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct UsageStatus {
    /// Why calls are refused, if they are.
    pub refusing: Option<String>,
    /// Bytes of the journal that the database has not taken, those of processes that died included.
    pub pending_bytes: u64,
    pub cap_bytes: u64,
    /// Records that this process wrote and that the database has not taken.
    pub pending_records: u64,
    /// Why the database did not take the last batch.
    pub store_error: Option<String>,
    /// Records that the database refused for good; they stand in the journal's `refused.jsonl`.
    pub refused_records: u64,
    /// Records that neither the disk nor memory had room for.
    pub lost_records: u64,
    /// Damaged bytes that were skipped when journals of dead processes were read (power loss, disk fault).
    pub damaged_bytes: u64,
}

/// Usage records at rest.
#[async_trait]
pub trait UsageStore: Send + Sync {
    /// Inserts a batch in one transaction; records whose `request_id` is there already are left as they are. In the same
    /// transaction the costs of new records are charged to their budgets, each once. An empty batch changes nothing and MUST fail if
    /// no batch could succeed.
    async fn insert_usage(&self, batch: &UsageBatch) -> StoreResult<()>;
    /// A process is dead and all that it recorded was inserted: what its leases still hold goes back to their budgets.
    async fn end_node(&self, node: &NodeId) -> StoreResult<()>;
}

/// Encoded records: what the journal holds is what the store takes, so that nobody decodes on the way.
#[derive(Clone, PartialEq, Eq)]
pub struct UsageBatch {
    json: String,
    records: usize,
}

impl UsageBatch {
    pub fn new() -> Self {
        Self {
            json: "[]".to_owned(),
            records: 0,
        }
    }

    /// With room for records of so many bytes together.
    pub fn with_room(bytes: usize, records: usize) -> Self {
        let mut batch = Self::new();
        batch.json.reserve(bytes + records);
        batch
    }

    /// Adds a [`UsageRecord`] as JSON text.
    pub fn push(&mut self, record: &str) {
        // The bracket, which goes behind it again.
        self.json.pop();
        if self.records > 0 {
            self.json.push(',');
        }
        self.json.push_str(record);
        self.json.push(']');
        self.records += 1;
    }

    pub fn len(&self) -> usize {
        self.records
    }

    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The records as one JSON array.
    pub fn as_json_array(&self) -> &str {
        &self.json
    }
}

impl Default for UsageBatch {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for UsageBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UsageBatch")
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}
