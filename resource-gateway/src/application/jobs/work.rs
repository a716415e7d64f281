//! Running jobs.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, header};
use service_kit::{Tasks, Timestamp};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::Jobs;
use crate::{
    application::{
        invoke::{Audience, CallerHeaders, Invocation, Invoke, InvokeError, Reply, WholeReply},
        revocations::Revocations,
    },
    domain::{
        call::Voice,
        caller::{Caller, Denied},
        chat::{messages_to_openai, responses_to_openai},
        fault::{ErrorKind, PublicError},
        ids::{JobId, NodeId, RequestId},
        job::JobError,
        multipart::Boundary,
    },
    ports::{
        access_keys::AccessKeys,
        config_source::{StoreError, StoreResult},
        jobs::{ClaimedJob, JobEnd, JobRequest, JobResult, Run},
    },
};

/// How often work is looked for that nobody told us of: other nodes take jobs, too.
const POLL: Duration = Duration::from_secs(1);
/// The same while no interface offers jobs: what is left of them still has to be done.
const IDLE_POLL: Duration = Duration::from_secs(30);
/// A node that does not renew its lease for so long is taken for dead.
const LEASE: Duration = Duration::from_secs(30);
const RENEW: Duration = Duration::from_secs(2);
const TIDY: Duration = Duration::from_secs(10);
/// Rows that one step of tidying changes.
const TIDY_AT_ONCE: u32 = 200;
/// A job whose node died is run again, once.
const MOST_LOST: u32 = 1;
/// When to try again what could not even begin, if nobody says.
const LATER: Duration = Duration::from_secs(5);
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// Runs jobs, so many at once.
#[derive(Debug)]
pub struct WorkJobs {
    pub jobs: Arc<Jobs>,
    pub invoke: Invoke,
    pub revocations: Arc<Revocations>,
    pub access_keys: Arc<dyn AccessKeys>,
    pub node: NodeId,
    pub workers: usize,
    pub max_result_bytes: usize,
    /// Of all workers one looks for work.
    pub turn: Mutex<()>,
    /// Until when others leave our runs alone.
    pub leased_until: AtomicI64,
}

/// What a run comes to.
enum Outcome {
    End(JobEnd),
    /// It could not begin; nothing was sent, nothing recorded.
    PutOff(Duration),
}

/// How long to wait before work is looked for once more.
pub(super) fn pause(invoke: &Invoke) -> Duration {
    if invoke.offers_jobs() { POLL } else { IDLE_POLL }
}

impl WorkJobs {
    /// Runs until shutdown; what is under way then waits for another node, or for the next start.
    pub fn start(self: &Arc<Self>, tasks: &Tasks) {
        for _ in 0..self.workers {
            let (this, stop) = (Arc::clone(self), tasks.stop_token());
            tasks.spawn(async move { this.work(stop).await });
        }
        let (this, stop) = (Arc::clone(self), tasks.stop_token());
        tasks.spawn(async move { this.renew(stop).await });
        let (this, stop) = (Arc::clone(self), tasks.stop_token());
        tasks.spawn(async move {
            stop.run_until_cancelled(this.tidy()).await;
        });
    }

    async fn work(&self, stop: CancellationToken) {
        loop {
            let claimed = {
                let Some(_turn) = stop.run_until_cancelled(self.turn.lock()).await else {
                    return;
                };
                self.next(&stop).await
            };
            let Some(claimed) = claimed else { return };
            self.run(claimed, &stop).await;
        }
    }

    /// The next job; `None` at shutdown. A claim is never cut off, so that no job is taken and forgotten.
    async fn next(&self, stop: &CancellationToken) -> Option<ClaimedJob> {
        while !stop.is_cancelled() {
            // Before that a revoked caller's job might run.
            let mut wait = POLL;
            if self.revocations.was_asked() {
                let now = self.jobs.clock.now();
                match self.jobs.store.claim_job(&self.node, now, now + LEASE, MOST_LOST).await {
                    Ok(Some(claimed)) => {
                        self.leased_until.fetch_max((now + LEASE).as_micros(), Ordering::AcqRel);
                        return Some(claimed);
                    }
                    Ok(None) => wait = pause(&self.invoke),
                    Err(error) => tracing::warn!(%error, "jobs cannot be looked up"),
                }
            }
            let news = tokio::time::timeout(wait, self.jobs.wakes.submitted.notified());
            let _ = stop.run_until_cancelled(news).await;
        }
        None
    }

    async fn run(&self, claimed: ClaimedJob, stop: &CancellationToken) {
        let run = claimed.run.clone();
        let dropped = self.jobs.wakes.begin(&run);
        let outcome = tokio::select! {
            biased;
            // The row is somebody else's, or has ended.
            () = dropped.cancelled() => None,
            () = stop.cancelled() => {
                let now = self.jobs.clock.now();
                note(self.jobs.store.release_job(&run, now, false).await, &run);
                None
            }
            outcome = AssertUnwindSafe(self.execute(claimed)).catch_unwind() => Some(outcome.unwrap_or_else(|_| failed(internal()))),
        };
        match outcome {
            None => {}
            Some(Outcome::PutOff(delay)) => {
                let due = self.jobs.clock.now() + delay;
                note(self.jobs.store.release_job(&run, due, true).await, &run);
            }
            Some(Outcome::End(end)) => self.finish(&run, end, stop).await,
        }
        self.jobs.wakes.end(&run);
    }

    /// Writes the end; while the database is away again and again, as long as the job is ours.
    async fn finish(&self, run: &Run, end: JobEnd, stop: &CancellationToken) {
        loop {
            match self.jobs.store.finish_job(run, &end, self.jobs.clock.now()).await {
                Err(StoreError::Unavailable(_)) if self.is_leased() && !stop.is_cancelled() => {
                    let _ = stop.run_until_cancelled(tokio::time::sleep(POLL)).await;
                }
                written => break note(written, run),
            }
        }
        self.jobs.wakes.ended.notify_one();
    }

    fn is_leased(&self) -> bool {
        self.jobs.clock.now() < Timestamp::from_micros(self.leased_until.load(Ordering::Acquire))
    }

    async fn execute(&self, claimed: ClaimedJob) -> Outcome {
        let (caller, request) = match claimed.content {
            Ok(content) => content,
            Err(error) => {
                tracing::error!(job.id = %claimed.run.id, %error, "a job cannot be read");
                return failed(internal());
            }
        };
        match self.is_still_good(&caller).await {
            Ok(true) => {}
            Ok(false) => return failed(revoked()),
            Err(error) => {
                tracing::warn!(job.id = %claimed.run.id, %error, "an access key cannot be looked up");
                return Outcome::PutOff(LATER);
            }
        }
        // Each run that reached a vendor is accounted for, also when the process died before it could say what came of it.
        let request_id = match claimed.run.number {
            ..=1 => claimed.request_id,
            number => RequestId::new(format!("{}.{number}", claimed.request_id)),
        };
        let (body, verbatim) = match said(claimed.voice, &request.body) {
            Ok(said) => said,
            Err(error) => return failed(error),
        };
        let invocation = Invocation {
            caller: Arc::new(caller),
            capability: claimed.capability,
            boundary: boundary(&request),
            traceparent: request.traceparent.and_then(|value| HeaderValue::try_from(value).ok()),
            raw: None,
            body,
            headers: CallerHeaders(request.headers),
            request_id,
            arrived: self.jobs.clock.now(),
            began: Instant::now(),
            voice: claimed.voice,
            verbatim,
            error_event: |_| Bytes::new(),
            audience: Audience::Job,
        };
        let mut headers = HeaderMap::new();
        match self.invoke.run(invocation, &mut headers).await {
            Ok(Reply::Whole(reply)) => self.keep(reply, headers),
            // The interface has changed since, and now makes streams of all calls.
            Ok(Reply::Stream(_) | Reply::Kept(_)) => failed(not_whole()),
            Ok(Reply::Recorded(answer)) if answer.stream => failed(not_whole()),
            Ok(Reply::Recorded(answer)) => {
                let whole = WholeReply {
                    status: answer.status,
                    body: answer.pieces.first().cloned().unwrap_or_default(),
                    content_type: answer.content_type.clone(),
                    headers: answer.headers.clone(),
                };
                self.keep(whole, headers)
            }
            Err(InvokeError::Denied(denied)) => {
                self.invoke.meters.denied(&denied);
                failed(denied_now(&denied))
            }
            Err(InvokeError::PutOff(error)) => Outcome::PutOff(self.delay(&error)),
            Err(InvokeError::Error(error)) if error.code.as_deref() == Some("usage_unavailable") => {
                Outcome::PutOff(LATER)
            }
            Err(InvokeError::Error(error)) => failed(error),
        }
    }

    /// Whether the caller would be let in today. Its token may have expired since: it was good when the job was asked for.
    async fn is_still_good(&self, caller: &Caller) -> StoreResult<bool> {
        if self.revocations.covers(caller.facts()) {
            return Ok(false);
        }
        let Some(id) = &caller.access_key else { return Ok(true) };
        let key = self.access_keys.find(id).await?;
        Ok(key.is_some_and(|key| key.settings.enabled.is_on()))
    }

    fn keep(&self, reply: WholeReply, mut headers: HeaderMap) -> Outcome {
        if reply.body.len() > self.max_result_bytes {
            return failed(too_long(self.max_result_bytes));
        }
        headers.extend(reply.headers);
        // What is about this moment is not about the answer.
        let lasting = headers
            .iter()
            .filter(|(name, _)| name.as_str().starts_with("x-hexgate-"));
        let headers = lasting.map(|(name, value)| (name.clone(), value.clone())).collect();
        Outcome::End(JobEnd::Succeeded(JobResult {
            body: reply.body,
            content_type: reply
                .content_type
                .to_str()
                .unwrap_or("application/octet-stream")
                .to_owned(),
            headers,
        }))
    }

    fn delay(&self, error: &PublicError) -> Duration {
        let wait = error.hints.wait(self.jobs.clock.now().as_seconds());
        wait.unwrap_or(LATER).clamp(Duration::from_millis(50), LONGEST_DELAY)
    }

    /// Keeps this node's runs until shutdown, and drops those that are not its own any more.
    async fn renew(&self, stop: CancellationToken) {
        let mut tick = tokio::time::interval(RENEW);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let begun = self.jobs.wakes.runs();
            if begun.is_empty() {
                continue;
            }
            let until = self.jobs.clock.now() + LEASE;
            match self.jobs.store.renew_jobs(&self.node, &begun, until).await {
                Ok(kept) => {
                    self.leased_until.fetch_max(until.as_micros(), Ordering::AcqRel);
                    self.jobs.wakes.keep(&kept, &begun);
                }
                Err(error) => {
                    tracing::warn!(%error, "the leases of jobs cannot be renewed");
                    if !self.is_leased() {
                        self.jobs.wakes.keep(&[], &begun);
                    }
                }
            }
        }
    }

    async fn tidy(&self) {
        let mut tick = tokio::time::interval(TIDY);
        loop {
            tick.tick().await;
            let lost = JobError::from(lost());
            loop {
                let now = self.jobs.clock.now();
                match self.jobs.store.tidy_jobs(now, MOST_LOST, &lost, TIDY_AT_ONCE).await {
                    Ok(tidied) => {
                        if tidied.expired + tidied.lost > 0 {
                            self.jobs.wakes.ended.notify_one();
                        }
                        if tidied.most() < u64::from(TIDY_AT_ONCE) {
                            break;
                        }
                    }
                    Err(error) => break tracing::warn!(%error, "old jobs cannot be removed"),
                }
            }
            if let Err(error) = self.fail_revoked().await {
                tracing::warn!(%error, "jobs of revoked callers cannot be looked for");
            }
        }
    }

    /// Fails what waits for a caller whose access has ended: the provider's word is forgotten when its last token has expired, and a
    /// job may wait for longer.
    async fn fail_revoked(&self) -> StoreResult<()> {
        if self.revocations.is_empty() {
            return Ok(());
        }
        let error = JobError::from(revoked());
        let mut after: Option<JobId> = None;
        loop {
            let page = self.jobs.store.waiting_callers(after.as_ref(), TIDY_AT_ONCE).await?;
            for (id, caller) in &page {
                let ended = caller
                    .as_ref()
                    .is_some_and(|caller| self.revocations.covers(caller.facts()));
                if ended && self.jobs.store.fail_waiting(id, &error, self.jobs.clock.now()).await? {
                    self.jobs.wakes.ended.notify_one();
                }
            }
            match page.last() {
                Some((id, _)) => after = Some(id.clone()),
                None => return Ok(()),
            }
        }
    }
}

fn note(written: StoreResult<bool>, run: &Run) {
    match written {
        Ok(true) => {}
        Ok(false) => tracing::info!(job.id = %run.id, run = run.number, "a job went on without this run"),
        Err(error) => {
            tracing::error!(job.id = %run.id, run = run.number, %error, "the end of a run cannot be written; the job is run again");
        }
    }
}

/// A request's body in the words of chat completions, and in its caller's own where those are others.
fn said(voice: Voice, body: &Bytes) -> Result<(Bytes, Option<Bytes>), PublicError> {
    let translated = match voice {
        Voice::OpenAi => return Ok((body.clone(), None)),
        Voice::Anthropic => messages_to_openai(body)?,
        Voice::Responses => responses_to_openai(body)?,
    };
    Ok((translated.into(), Some(body.clone())))
}

fn boundary(request: &JobRequest) -> Option<Boundary> {
    let value = request.headers.get(header::CONTENT_TYPE)?;
    Boundary::of_content_type(value.to_str().ok()?)
}

fn failed(error: PublicError) -> Outcome {
    Outcome::End(JobEnd::Failed(error.into()))
}

fn internal() -> PublicError {
    PublicError::new(500, ErrorKind::Server, "internal_error", "The gateway failed.")
}

fn lost() -> PublicError {
    let message = "The processes that ran the job ended before it did.";
    PublicError::new(500, ErrorKind::Server, "job_lost", message)
}

fn revoked() -> PublicError {
    let message = "The access that the job was asked for with has been revoked.";
    PublicError::new(403, ErrorKind::Permission, "access_revoked", message)
}

fn not_whole() -> PublicError {
    let message = "The model answers in streams only.";
    PublicError::new(409, ErrorKind::InvalidRequest, "stream_not_deferrable", message)
}

fn too_long(most: usize) -> PublicError {
    let message = format!("The answer is longer than the {most} bytes that are kept.");
    PublicError::new(502, ErrorKind::Server, "result_too_large", message)
}

fn denied_now(denied: &Denied) -> PublicError {
    let code = match denied {
        Denied::Scope(_) => "insufficient_scope",
        Denied::Interface => "interface_not_granted",
        Denied::Details | Denied::DetailsEnded => "authorization_details_denied",
        Denied::Permission(_) | Denied::Installation(_) => "permission_denied",
    };
    let message = "When the job's turn came, it was not allowed to use the model any more.";
    PublicError::new(403, ErrorKind::Permission, code, message)
}
