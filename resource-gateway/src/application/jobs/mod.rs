//! Jobs: calls that are accepted now and run later, by whichever node comes to it first.

mod deliver;
mod secrets;
mod work;

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderName};
use oauth_wire::AI_SCOPE;
use service_kit::{Clock, Entropy, Timestamp};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use self::{
    deliver::{TellEnds, UnderWay},
    secrets::WebhookSecrets,
    work::WorkJobs,
};
use super::{
    invoke::Invocation,
    page::Page,
    replay::{IDEMPOTENCY_KEY, another, named},
};
use crate::{
    domain::{
        caller::Caller,
        fault::{ErrorKind, PublicError},
        ids::JobId,
        interface::Interface,
        job::{Job, JobStatus, Owner},
        raw::may_go,
    },
    ports::{
        config_source::StoreError,
        jobs::{JobRequest, JobResult, JobStore, NewJob, Repeat, Run, Submitted, WebhookSender},
    },
};

/// What was about the submission, and is not kept of a request.
const OF_THE_SUBMISSION: [HeaderName; 2] = [HeaderName::from_static("prefer"), IDEMPOTENCY_KEY];

/// Takes jobs and answers for them.
#[derive(Debug)]
pub struct Jobs {
    pub store: Arc<dyn JobStore>,
    pub webhooks: Arc<dyn WebhookSender>,
    pub secrets: WebhookSecrets,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub max_request_bytes: usize,
    pub wakes: Wakes,
}

/// A call that is run later.
#[derive(Debug)]
pub enum Accepted {
    New(Job),
    /// The job of a submission that is repeated.
    Again(Job),
}

/// Why there is no job for the caller.
#[derive(Debug)]
pub enum NotAccepted {
    /// The call may not become one.
    Refused(PublicError),
    /// There may be one: the database did not say.
    Unknown(PublicError),
}

/// What of a job happens on this node: it is known here sooner than by looking at rows.
#[derive(Debug, Default)]
pub struct Wakes {
    submitted: Notify,
    ended: Notify,
    running: Mutex<HashMap<JobId, (i64, CancellationToken)>>,
}

impl Wakes {
    fn running(&self) -> MutexGuard<'_, HashMap<JobId, (i64, CancellationToken)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, run: &Run) -> CancellationToken {
        let token = CancellationToken::new();
        self.running().insert(run.id.clone(), (run.number, token.clone()));
        token
    }

    fn end(&self, run: &Run) {
        let mut running = self.running();
        if running.get(&run.id).is_some_and(|(number, _)| *number == run.number) {
            running.remove(&run.id);
        }
    }

    /// Drops every run that is not one of `kept`.
    fn keep(&self, kept: &[Run], begun: &[(JobId, i64)]) {
        for (id, (number, token)) in self.running().iter() {
            let is_kept = kept.iter().any(|run| run.id == *id && run.number == *number);
            // What began after the rows were looked at cannot be among them.
            if !is_kept && begun.iter().any(|(known, run)| known == id && run == number) {
                token.cancel();
            }
        }
    }

    /// The runs that are under way.
    fn runs(&self) -> Vec<(JobId, i64)> {
        let running = self.running();
        running.iter().map(|(id, (number, _))| (id.clone(), *number)).collect()
    }
}

impl Jobs {
    /// Accepts a call that may be run later. A submission that its caller repeats under a key of its own is accepted once.
    ///
    /// # Errors
    /// [`NotAccepted`].
    pub async fn submit(
        &self,
        invocation: &Invocation,
        interface: &Interface,
        webhook: Option<&str>,
    ) -> Result<Accepted, NotAccepted> {
        self.check(invocation, webhook).map_err(NotAccepted::Refused)?;
        let (now, policy) = (self.clock.now(), interface.policy.jobs);
        let traceparent = invocation.traceparent.as_ref();
        let request = JobRequest {
            // In the caller's own words: it is translated again when it is run.
            body: invocation.verbatim.as_ref().unwrap_or(&invocation.body).clone(),
            headers: kept(&invocation.headers.0),
            traceparent: traceparent.and_then(|value| value.to_str().ok()).map(str::to_owned),
        };
        let owner = Owner::of(&invocation.caller);
        let job = NewJob {
            id: self.new_id(now),
            owner: owner.clone(),
            interface: interface.name.clone(),
            capability: interface.capability,
            voice: invocation.voice,
            request_id: invocation.request_id.clone(),
            created_at: now,
            retention: policy.retention(),
            most_waiting: policy.max_waiting_per_client,
            caller: &invocation.caller,
            request: &request,
            webhook,
            repeat: repeat(invocation).map_err(NotAccepted::Refused)?,
        };
        let unknown = |error| NotAccepted::Unknown(unavailable(error));
        let (id, repeated) = match self.store.insert_job(&job).await.map_err(unknown)? {
            Submitted::Done => (job.id.clone(), false),
            Submitted::Again(id) => (id, true),
            Submitted::OtherRequest => return Err(NotAccepted::Refused(another())),
            Submitted::TooMany => return Err(NotAccepted::Refused(too_many(policy.max_waiting_per_client))),
        };
        let saved = self.store.find_job(&owner, &id, now).await.map_err(unknown)?;
        // After the look, so that the caller sees a job that waits.
        if !repeated {
            self.wakes.submitted.notify_one();
        }
        let job = saved.ok_or_else(|| NotAccepted::Unknown(not_found()))?;
        Ok(match repeated {
            true => Accepted::Again(job),
            false => Accepted::New(job),
        })
    }

    /// Whether a call can be kept, and its caller be told of the end.
    fn check(&self, invocation: &Invocation, webhook: Option<&str>) -> Result<(), PublicError> {
        let said = invocation.verbatim.as_ref().unwrap_or(&invocation.body);
        if said.len() > self.max_request_bytes {
            let message = format!(
                "The body of a request that is answered later has {} bytes at most.",
                self.max_request_bytes
            );
            return Err(PublicError::new(
                413,
                ErrorKind::InvalidRequest,
                "request_too_large",
                message,
            ));
        }
        if let Some(url) = webhook {
            self.webhooks.check(url).map_err(|why| {
                let message = format!("The header x-hexgate-webhook {why}.");
                PublicError::invalid(Some("x-hexgate-webhook"), "invalid_webhook", message)
            })?;
        }
        Ok(())
    }

    /// A job of the caller's.
    ///
    /// # Errors
    /// What to tell the caller: nobody learns of other people's jobs.
    pub async fn load(&self, caller: &Caller, id: &str) -> Result<Job, PublicError> {
        let found = self
            .store
            .find_job(&Owner::of(caller), &JobId::new(id), self.clock.now())
            .await
            .map_err(unavailable)?;
        found.filter(|job| may_see(caller, job)).ok_or_else(not_found)
    }

    /// The answer that a job came to.
    ///
    /// # Errors
    /// What to tell the caller. The error of a job that failed is in the job.
    pub async fn result(&self, caller: &Caller, id: &str) -> Result<(Job, Option<JobResult>), PublicError> {
        let job = self.load(caller, id).await?;
        match job.status {
            JobStatus::Succeeded => {}
            JobStatus::Failed => return Ok((job, None)),
            status => return Err(no_result(status)),
        }
        let found = self
            .store
            .find_result(&Owner::of(caller), &job.id, self.clock.now())
            .await
            .map_err(unavailable)?;
        let result = found.ok_or_else(not_found)?;
        Ok((job, Some(result)))
    }

    /// The caller's jobs, newest first.
    ///
    /// # Errors
    /// What to tell the caller.
    pub async fn list(
        &self,
        caller: &Caller,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Page<Job, JobId>, PublicError> {
        let (before, more) = (before.map(JobId::new), limit.saturating_add(1));
        let found = self
            .store
            .list_jobs(&Owner::of(caller), before.as_ref(), more, self.clock.now())
            .await
            .map_err(unavailable)?;
        let mut page = Page::cut(found, limit, |job| job.id.clone());
        page.items.retain(|job| may_see(caller, job));
        Ok(page)
    }

    /// Cancels a job; one that has ended stays as it is. A call that is under way is dropped.
    ///
    /// # Errors
    /// What to tell the caller.
    pub async fn cancel(&self, caller: &Caller, id: &str) -> Result<Job, PublicError> {
        let job = self.load(caller, id).await?;
        let cancelled = self
            .store
            .cancel_job(&Owner::of(caller), &job.id, self.clock.now())
            .await
            .map_err(unavailable)?;
        if cancelled {
            if let Some((_, token)) = self.wakes.running().get(&job.id) {
                token.cancel();
            }
            self.wakes.ended.notify_one();
        }
        self.load(caller, id).await
    }

    /// By time, so that the order of ids is the order of jobs; not to be guessed.
    fn new_id(&self, now: Timestamp) -> JobId {
        let mut chance = [0; 16];
        self.entropy.fill(&mut chance);
        let mut id = format!("job_{:016x}", now.as_micros());
        for byte in chance {
            // Writing to a string does not fail.
            let _ = write!(id, "{byte:02x}");
        }
        JobId::new(id)
    }
}

fn repeat(invocation: &Invocation) -> Result<Option<Repeat>, PublicError> {
    let named = named(&invocation.headers.0, &invocation.caller, invocation)?;
    Ok(named.map(|(place, request)| Repeat {
        key: URL_SAFE_NO_PAD.encode(place),
        fingerprint: URL_SAFE_NO_PAD.encode(request),
    }))
}

/// What a run may ask for. Credentials, and what is about a connection, end with the submission, at whichever door they came in.
fn kept(headers: &HeaderMap) -> HeaderMap {
    let kept = headers
        .iter()
        .filter(|(name, _)| may_go(name) && !OF_THE_SUBMISSION.contains(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// A token with fewer scopes than the one that asked for the job does not get at what it could not have asked for.
fn may_see(caller: &Caller, job: &Job) -> bool {
    caller.has_scope(&format!("{AI_SCOPE}{}:{}", job.capability.as_str(), job.interface))
}

fn unavailable(error: StoreError) -> PublicError {
    tracing::error!(%error, source = ?std::error::Error::source(&error).map(ToString::to_string), "jobs cannot be read or written");
    let message = "Jobs cannot be taken or looked up now.";
    let mut error = PublicError::new(503, ErrorKind::Server, "jobs_unavailable", message);
    error.hints.retry_after = Some("1".into());
    error
}

fn too_many(most: u32) -> PublicError {
    let message = format!("Your client has {most} unfinished jobs of this model, which is as many as it may have.");
    let mut error = PublicError::new(429, ErrorKind::RateLimit, "too_many_jobs", message);
    error.hints.retry_after = Some("5".into());
    error
}

fn not_found() -> PublicError {
    PublicError::new(404, ErrorKind::InvalidRequest, "job_not_found", "There is no such job.")
}

fn no_result(status: JobStatus) -> PublicError {
    let (code, message) = match status {
        JobStatus::Cancelled => ("job_cancelled", "The job was cancelled and has no result."),
        JobStatus::Expired => ("job_expired", "The job could not be run in time and has no result."),
        _ => ("job_not_finished", "The job has no result yet."),
    };
    PublicError::new(409, ErrorKind::InvalidRequest, code, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_keeps_what_a_run_may_ask_for_and_no_credential() {
        let mut sent = HeaderMap::new();
        for name in [
            "authorization",
            "cookie",
            "dpop",
            "x-api-key",
            "api-key",
            "x-goog-api-key",
            "x-forwarded-access-token",
            "x-hexgate-webhook",
            "host",
            "connection",
            "prefer",
            "idempotency-key",
            "content-type",
            "anthropic-beta",
            "cache-control",
            "x-shard",
        ] {
            sent.append(name, "v".parse().unwrap());
        }
        let kept = kept(&sent);
        let names: Vec<&str> = kept.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["content-type", "anthropic-beta", "cache-control", "x-shard"]);
    }
}
