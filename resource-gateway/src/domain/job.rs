//! Calls that are run later, and whose callers come back for the result.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use service_kit::Timestamp;

pub use super::owner::Owner;
use super::{
    call::Voice,
    fault::{ErrorKind, PublicError, RetryHints},
    ids::{InterfaceName, JobId, RequestId},
    interface::Capability,
    vendor::Switch,
};

/// What the operator decided about jobs of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobPolicy {
    pub enabled: Switch,
    /// Hours that results are kept, and that a job may wait.
    pub retention_hours: u32,
    /// Jobs that one client may have unfinished.
    pub max_waiting_per_client: u32,
}

impl JobPolicy {
    /// A month.
    pub const LONGEST_RETENTION: u32 = 744;
    pub const MOST_WAITING: u32 = 100_000;

    pub fn retention(&self) -> Duration {
        Duration::from_hours(u64::from(self.retention_hours))
    }
}

impl Default for JobPolicy {
    fn default() -> Self {
        Self {
            enabled: Switch::Off,
            retention_hours: 24,
            max_waiting_per_client: 100,
        }
    }
}

/// How it stands with a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobStatus {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    /// It could not be run for so long that nobody waits any more.
    Expired,
}

impl JobStatus {
    pub const ALL: [Self; 6] = [
        Self::Queued,
        Self::Running,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
        Self::Expired,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    pub fn has_ended(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// A job as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: JobId,
    pub interface: InterfaceName,
    pub capability: Capability,
    /// The format of its request, and of its result.
    pub voice: Voice,
    pub request_id: RequestId,
    pub status: JobStatus,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// When a waiting job is given up, and a finished one is gone.
    pub expires_at: Timestamp,
    pub runs: i64,
    pub error: Option<JobError>,
    /// Media type and length of the result.
    pub result: Option<(String, i64)>,
    pub webhook: Option<Webhook>,
}

/// How it stands with the news of a job's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Webhook {
    pub state: WebhookState,
    pub attempts: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookState {
    /// The job has not ended.
    Waiting,
    Pending,
    Delivered,
    /// It was tried often enough.
    Dead,
}

impl WebhookState {
    pub const ALL: [Self; 4] = [Self::Waiting, Self::Pending, Self::Delivered, Self::Dead];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// Why a job failed: what its caller would have been answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    pub status: u16,
    #[serde(rename = "type")]
    pub kind: String,
    pub code: Option<String>,
    pub message: String,
    pub param: Option<String>,
}

impl From<PublicError> for JobError {
    fn from(error: PublicError) -> Self {
        Self {
            status: error.status,
            kind: error.kind.as_str().to_owned(),
            code: error.code.map(Into::into),
            message: error.message.into(),
            param: error.param.map(Into::into),
        }
    }
}

impl JobError {
    /// What its caller is answered.
    pub fn to_public(&self) -> PublicError {
        PublicError {
            status: self.status,
            kind: ErrorKind::parse(&self.kind).unwrap_or(ErrorKind::Server),
            code: self.code.as_deref().map(Into::into),
            message: self.message.as_str().into(),
            param: self.param.as_deref().map(Into::into),
            hints: RetryHints::default(),
        }
    }
}

/// Which attempt at news of a job's end comes how long after the one before; after the last the news is dead.
pub const WEBHOOK_PAUSES: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(10),
    Duration::from_mins(30),
    Duration::from_hours(1),
    Duration::from_hours(3),
];

/// When to try again after so many attempts.
pub fn webhook_pause(attempts: i64) -> Option<Duration> {
    let at = usize::try_from(attempts.checked_sub(1)?).ok()?;
    WEBHOOK_PAUSES.get(at).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back() {
        for status in JobStatus::ALL {
            assert_eq!(JobStatus::parse(status.as_str()), Some(status));
        }
        for voice in Voice::ALL {
            assert_eq!(Voice::parse(voice.as_str()), Some(voice));
        }
        for state in WebhookState::ALL {
            assert_eq!(WebhookState::parse(state.as_str()), Some(state));
        }
    }

    #[test]
    fn an_error_is_the_same_after_it_was_kept() {
        for kind in ErrorKind::ALL {
            let error = PublicError {
                param: Some("p".into()),
                ..PublicError::new(418, kind, "c", "m")
            };
            assert_eq!(JobError::from(error.clone()).to_public(), error);
        }
    }

    #[test]
    fn pauses_grow_and_end() {
        assert!(WEBHOOK_PAUSES.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(webhook_pause(1), Some(WEBHOOK_PAUSES[0]));
        assert_eq!(webhook_pause(7), Some(WEBHOOK_PAUSES[6]));
        assert_eq!((webhook_pause(8), webhook_pause(0)), (None, None));
    }
}
