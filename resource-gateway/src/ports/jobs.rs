//! Jobs at rest, and the way on which their ends are told.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;
use secrecy::SecretString;
use service_kit::Timestamp;

use super::config_source::StoreResult;
use crate::domain::{
    call::Voice,
    caller::Caller,
    ids::{ClientId, InterfaceName, JobId, NodeId, RequestId, TenantId},
    interface::Capability,
    job::{Job, JobError, JobStatus, Owner},
};

/// A job that was just asked for.
#[derive(Debug)]
pub struct NewJob<'a> {
    pub id: JobId,
    pub owner: Owner,
    pub interface: InterfaceName,
    pub capability: Capability,
    /// The format of the request.
    pub voice: Voice,
    pub request_id: RequestId,
    pub created_at: Timestamp,
    /// How long it may wait, and how long its result is kept.
    pub retention: Duration,
    /// Unfinished jobs that its client may have at its interface, this one included.
    pub most_waiting: u32,
    pub caller: &'a Caller,
    pub request: &'a JobRequest,
    pub webhook: Option<&'a str>,
    /// For a request that its caller may repeat.
    pub repeat: Option<Repeat>,
}

/// What a caller calls its request, and what the request is: digests, of which the first is the owner's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeat {
    pub key: String,
    pub fingerprint: String,
}

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    Done,
    /// It is a repeated one: that is its job.
    Again(JobId),
    /// What was asked for under that name was something else.
    OtherRequest,
    /// The client has as many unfinished jobs as it may have.
    TooMany,
}

/// The request of a job. It holds prompts, so it does not show.
#[derive(Clone, Default)]
pub struct JobRequest {
    pub body: Bytes,
    /// Without credentials; `content-type` among them.
    pub headers: HeaderMap,
    pub traceparent: Option<String>,
}

impl fmt::Debug for JobRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobRequest")
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// One run of a job, which may write its end as long as nobody else has taken the job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Run {
    pub id: JobId,
    pub node: NodeId,
    pub number: i64,
}

/// A job that is to be run now.
#[derive(Debug)]
pub struct ClaimedJob {
    pub run: Run,
    pub interface: InterfaceName,
    pub capability: Capability,
    pub voice: Voice,
    pub request_id: RequestId,
    /// Who asked for it, and for what; an error when that cannot be unsealed.
    pub content: StoreResult<(Caller, JobRequest)>,
}

/// How a run ended.
#[derive(Debug)]
pub enum JobEnd {
    Succeeded(JobResult),
    Failed(JobError),
}

/// An answer that waits for its caller.
#[derive(Clone, PartialEq, Eq)]
pub struct JobResult {
    pub body: Bytes,
    pub content_type: String,
    /// What the answer says about itself beside its body.
    pub headers: HeaderMap,
}

impl fmt::Debug for JobResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobResult")
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}

/// What became of jobs that nobody runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tidied {
    pub expired: u64,
    /// Failed, since the processes that ran them died too often.
    pub lost: u64,
    pub removed: u64,
}

impl Tidied {
    /// The most that one of the steps did.
    pub fn most(&self) -> u64 {
        self.expired.max(self.lost).max(self.removed)
    }
}

/// News of a job's end, to be told now.
#[derive(Debug)]
pub struct Delivery {
    pub id: JobId,
    pub owner: Owner,
    pub status: JobStatus,
    pub finished_at: Timestamp,
    /// Attempts, this one included.
    pub attempts: i64,
    /// `None` when it cannot be unsealed.
    pub url: Option<SecretString>,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    Delivered,
    Again(Timestamp),
    Dead,
}

/// Jobs at rest. What callers sent and are to get is sealed.
#[async_trait]
pub trait JobStore: Send + Sync + fmt::Debug {
    /// Saves a job unless its client has as many unfinished ones at the interface as it may have; of several at once no more pass. Of
    /// a request that is repeated there is one job, until that has ended without a result or is gone: of several at once one is saved.
    async fn insert_job(&self, job: &NewJob<'_>) -> StoreResult<Submitted>;

    /// A job of this owner, unless its time is over.
    async fn find_job(&self, owner: &Owner, id: &JobId, now: Timestamp) -> StoreResult<Option<Job>>;

    /// An owner's jobs, newest first, those before `before`.
    async fn list_jobs(
        &self,
        owner: &Owner,
        before: Option<&JobId>,
        limit: u32,
        now: Timestamp,
    ) -> StoreResult<Vec<Job>>;

    /// The result of a job that succeeded.
    async fn find_result(&self, owner: &Owner, id: &JobId, now: Timestamp) -> StoreResult<Option<JobResult>>;

    /// Cancels a job that has not ended; `false` when there is no such job.
    async fn cancel_job(&self, owner: &Owner, id: &JobId, now: Timestamp) -> StoreResult<bool>;

    /// Takes the job that is due longest, for one node of many: one that waits, or one whose node stopped renewing its lease and that
    /// was not lost `most_lost` times before.
    async fn claim_job(
        &self,
        node: &NodeId,
        now: Timestamp,
        until: Timestamp,
        most_lost: u32,
    ) -> StoreResult<Option<ClaimedJob>>;

    /// Prolongs the leases of a node's runs, and of no other rows of that node; answers those that are still its own.
    async fn renew_jobs(&self, node: &NodeId, runs: &[(JobId, i64)], until: Timestamp) -> StoreResult<Vec<Run>>;

    /// Puts a job back to be run from `due` on. `unused`: nothing was sent to a vendor, and the run does not count.
    async fn release_job(&self, run: &Run, due: Timestamp, unused: bool) -> StoreResult<bool>;

    /// Writes how a run ended; `false` when the job is not the run's any more.
    async fn finish_job(&self, run: &Run, end: &JobEnd, now: Timestamp) -> StoreResult<bool>;

    /// Callers of waiting jobs, by id from `after` on.
    async fn waiting_callers(&self, after: Option<&JobId>, limit: u32) -> StoreResult<Vec<(JobId, Option<Caller>)>>;

    /// Fails a job that waits.
    async fn fail_waiting(&self, id: &JobId, error: &JobError, now: Timestamp) -> StoreResult<bool>;

    /// Ends jobs that nobody runs, and removes those whose time is over; at most `limit` of each.
    async fn tidy_jobs(&self, now: Timestamp, most_lost: u32, lost: &JobError, limit: u32) -> StoreResult<Tidied>;

    /// Takes the news that are due longest, for one node of many; another may try again from `until` on. Those for the clients in
    /// `busy` wait.
    async fn claim_delivery(
        &self,
        now: Timestamp,
        until: Timestamp,
        busy: &[(Option<TenantId>, ClientId)],
    ) -> StoreResult<Option<Delivery>>;

    /// Writes what became of an attempt.
    async fn note_delivery(&self, id: &JobId, attempts: i64, told: Told) -> StoreResult<bool>;
}

/// A message for somebody's server.
pub struct WebhookMessage<'a> {
    pub url: &'a SecretString,
    pub headers: [(&'static str, String); 3],
    pub body: String,
}

impl fmt::Debug for WebhookMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookMessage").finish_non_exhaustive()
    }
}

/// Why a message was not taken. Holds no URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WebhookFault {
    #[error("the host is not, or no longer, allowed")]
    Refused,
    #[error("no connection could be made, or it broke")]
    Transport,
    #[error("no answer came in time")]
    Timeout,
    #[error("the answer was {0}")]
    Status(u16),
}

/// Brings messages to the servers of callers: only where operators allow it.
#[async_trait]
pub trait WebhookSender: Send + Sync + fmt::Debug {
    /// Whether a URL may be used, as far as its text tells.
    ///
    /// # Errors
    /// Why not, in words for the caller.
    fn check(&self, url: &str) -> Result<(), &'static str>;

    /// Posts a message. Redirects are not followed.
    async fn post(&self, message: WebhookMessage<'_>) -> Result<(), WebhookFault>;
}
