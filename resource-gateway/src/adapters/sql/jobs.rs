//! The table `job`.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use service_kit::Timestamp;
use sql_kit::{Db, args};
use sqlx::FromRow;
use token_keys::MasterKey;

use super::statements_jobs as sql;
use crate::{
    domain::{
        call::Voice,
        caller::Caller,
        ids::{ClientId, InterfaceName, JobId, NodeId, RequestId, Subject, TenantId},
        interface::Capability,
        job::{Job, JobError, JobStatus, Owner, Webhook, WebhookState},
    },
    ports::{
        config_source::{StoreError, StoreResult},
        jobs::{ClaimedJob, Delivery, JobEnd, JobRequest, JobResult, JobStore, NewJob, Run, Submitted, Tidied, Told},
    },
};

/// Rows that submissions take turns at.
const GATES: u64 = 64;
/// How long a job is shown that was cancelled before it ran.
const CANCELLED_STAY: Duration = Duration::from_mins(5);

/// Jobs, sealed on the way in and unsealed on the way out.
#[derive(Debug, Clone)]
pub struct SqlJobs {
    db: Db,
    keys: Arc<MasterKey>,
}

#[derive(FromRow)]
struct JobRow {
    id: String,
    interface: String,
    capability: String,
    request_id: String,
    status: String,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    expires_at: i64,
    due_at: i64,
    runs: i64,
    error: Option<String>,
    result_type: Option<String>,
    result_bytes: Option<i64>,
    webhook_state: Option<String>,
    webhook_attempts: i64,
    voice: String,
}

#[derive(FromRow)]
struct ClaimedRow {
    id: String,
    interface: String,
    capability: String,
    request_id: String,
    runs: i64,
    voice: String,
    caller: Option<Vec<u8>>,
    request: Option<Vec<u8>>,
}

#[derive(FromRow)]
struct DeliveryRow {
    id: String,
    tenant: String,
    client_id: String,
    sub: String,
    status: String,
    finished_at: Option<i64>,
    webhook: Option<Vec<u8>>,
    webhook_attempts: i64,
}

/// What stands before a body.
#[derive(Serialize, Deserialize)]
struct Head {
    headers: Vec<(String, String)>,
    traceparent: Option<String>,
}

fn corrupt(column: &'static str, row: &str) -> StoreError {
    StoreError::Corrupt {
        table: "job",
        column,
        row: row.to_owned(),
    }
}

fn failed(error: serde_json::Error) -> StoreError {
    StoreError::Failed(Box::new(error))
}

/// A body behind its head, whose length comes first.
fn pack(headers: &HeaderMap, traceparent: Option<&str>, body: &[u8]) -> StoreResult<Vec<u8>> {
    let text = |(name, value): (&HeaderName, &HeaderValue)| {
        let value = value.to_str().ok()?.to_owned();
        Some((name.as_str().to_owned(), value))
    };
    let head = Head {
        headers: headers.iter().filter_map(text).collect(),
        traceparent: traceparent.map(str::to_owned),
    };
    let head = serde_json::to_vec(&head).map_err(failed)?;
    let length = u32::try_from(head.len()).unwrap_or(u32::MAX).to_be_bytes();
    Ok([&length, head.as_slice(), body].concat())
}

fn unpack(packed: &[u8]) -> Option<(HeaderMap, Option<String>, Bytes)> {
    let (length, rest) = packed.split_first_chunk()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (head, body) = rest.split_at_checked(length)?;
    let head: Head = serde_json::from_slice(head).ok()?;
    let mut headers = HeaderMap::new();
    for (name, value) in head.headers {
        let name = HeaderName::try_from(name).ok()?;
        headers.append(name, HeaderValue::try_from(value).ok()?);
    }
    Some((headers, head.traceparent, Bytes::copy_from_slice(body)))
}

impl JobRow {
    fn into_job(self) -> StoreResult<Job> {
        let bad = |column| corrupt(column, &self.id);
        let status = JobStatus::parse(&self.status).ok_or_else(|| bad("status"))?;
        let capability = Capability::parse(&self.capability).ok_or_else(|| bad("capability"))?;
        let voice = Voice::parse(&self.voice).ok_or_else(|| bad("voice"))?;
        let error = self.error.as_deref().map(serde_json::from_str).transpose();
        let state = self.webhook_state.as_deref().map(|word| {
            let state = WebhookState::parse(word).ok_or_else(|| bad("webhook_state"))?;
            Ok::<_, StoreError>(Webhook {
                state,
                attempts: self.webhook_attempts,
            })
        });
        let until = if status.has_ended() {
            self.due_at
        } else {
            self.expires_at
        };
        Ok(Job {
            error: error.map_err(|_| bad("error"))?,
            webhook: state.transpose()?,
            status,
            capability,
            voice,
            interface: InterfaceName::new(self.interface),
            request_id: RequestId::new(self.request_id),
            created_at: Timestamp::from_micros(self.created_at),
            started_at: self.started_at.map(Timestamp::from_micros),
            finished_at: self.finished_at.map(Timestamp::from_micros),
            expires_at: Timestamp::from_micros(until),
            runs: self.runs,
            result: self.result_type.zip(self.result_bytes),
            id: JobId::new(self.id),
        })
    }
}

impl SqlJobs {
    pub fn new(db: Db, keys: Arc<MasterKey>) -> Self {
        Self { db, keys }
    }

    fn seal(&self, column: &str, id: &JobId, plain: &[u8]) -> StoreResult<Vec<u8>> {
        let sealed = self.keys.seal(&place(column, id), plain);
        sealed.map_err(|error| StoreError::Failed(Box::new(error)))
    }

    /// What was sealed for this column of this row.
    fn unseal<T>(
        &self,
        column: &'static str,
        id: &JobId,
        sealed: Option<&[u8]>,
        read: impl FnOnce(&[u8]) -> Option<T>,
    ) -> StoreResult<T> {
        let plain = sealed.and_then(|sealed| self.keys.unseal(&place(column, id), sealed).ok());
        let value = plain.and_then(|plain| read(&plain));
        value.ok_or_else(|| corrupt(column, id.as_str()))
    }

    fn content(&self, id: &JobId, row: &ClaimedRow) -> StoreResult<(Caller, JobRequest)> {
        let caller = self.unseal("caller", id, row.caller.as_deref(), |plain| {
            serde_json::from_slice(plain).ok()
        })?;
        let request = self.unseal("request", id, row.request.as_deref(), unpack)?;
        let (headers, traceparent, body) = request;
        let request = JobRequest {
            body,
            headers,
            traceparent,
        };
        Ok((caller, request))
    }
}

/// What a text is sealed for, so that it opens in no other row and column.
fn place(column: &str, id: &JobId) -> String {
    format!("job/{column}/{id}")
}

fn gate(owner: &Owner) -> i64 {
    let mut hasher = DefaultHasher::new();
    (owner.tenant_text(), owner.client_id.as_str()).hash(&mut hasher);
    i64::try_from(hasher.finish() % GATES).unwrap_or(0)
}

fn micros(length: Duration) -> i64 {
    i64::try_from(length.as_micros()).unwrap_or(i64::MAX)
}

#[async_trait]
impl JobStore for SqlJobs {
    async fn insert_job(&self, job: &NewJob<'_>) -> StoreResult<Submitted> {
        let (id, owner) = (&job.id, &job.owner);
        let caller = serde_json::to_vec(job.caller).map_err(failed)?;
        let request = pack(
            &job.request.headers,
            job.request.traceparent.as_deref(),
            &job.request.body,
        )?;
        let webhook = job.webhook.map(|url| self.seal("webhook", id, url.as_bytes()));
        let created = job.created_at.as_micros();
        let row = args![
            id.as_str(),
            owner.tenant_text(),
            owner.client_id.as_str(),
            owner.sub.as_str(),
            job.interface.as_str(),
            job.capability.as_str(),
            job.request_id.as_str(),
            created,
            (job.created_at + job.retention).as_micros(),
            micros(job.retention),
            created,
            self.seal("caller", id, &caller)?,
            self.seal("request", id, &request)?,
            webhook.transpose()?,
            job.webhook.map(|_| WebhookState::Waiting.as_str().to_owned()),
            job.repeat.as_ref().map(|repeat| repeat.key.clone()),
            job.repeat.as_ref().map(|repeat| repeat.fingerprint.clone()),
            job.voice.as_str(),
        ];
        let mut tx = self.db.begin().await?;
        tx.execute(sql::PASS_GATE, args![gate(owner)]).await?;
        if let Some(repeat) = &job.repeat {
            let args = args![repeat.key.as_str(), created];
            let earlier: Option<(String, Option<String>)> = tx.optional(sql::REPEATED, args).await?;
            match earlier {
                Some((id, first)) if first.as_deref() == Some(&*repeat.fingerprint) => {
                    return Ok(Submitted::Again(JobId::new(id)));
                }
                Some(_) => return Ok(Submitted::OtherRequest),
                None => tx.execute(sql::RELEASE_REPEAT, args![repeat.key.as_str()]).await?,
            };
        }
        let args = args![owner.client_id.as_str(), job.interface.as_str(), owner.tenant_text()];
        let (unfinished,): (i64,) = tx.one(sql::UNFINISHED, args).await?;
        if unfinished >= i64::from(job.most_waiting) {
            return Ok(Submitted::TooMany);
        }
        tx.execute(sql::INSERT, row).await?;
        tx.commit().await?;
        Ok(Submitted::Done)
    }

    async fn find_job(&self, owner: &Owner, id: &JobId, now: Timestamp) -> StoreResult<Option<Job>> {
        let args = args![
            id.as_str(),
            owner.client_id.as_str(),
            owner.sub.as_str(),
            owner.tenant_text(),
            now.as_micros()
        ];
        let row: Option<JobRow> = self.db.optional(sql::FIND, args).await?;
        row.map(JobRow::into_job).transpose()
    }

    async fn list_jobs(
        &self,
        owner: &Owner,
        before: Option<&JobId>,
        limit: u32,
        now: Timestamp,
    ) -> StoreResult<Vec<Job>> {
        let args = args![
            owner.client_id.as_str(),
            owner.sub.as_str(),
            owner.tenant_text(),
            before.is_none(),
            before.map_or("", JobId::as_str),
            now.as_micros(),
            limit
        ];
        let rows: Vec<JobRow> = self.db.all(sql::LIST, args).await?;
        rows.into_iter().map(JobRow::into_job).collect()
    }

    async fn find_result(&self, owner: &Owner, id: &JobId, now: Timestamp) -> StoreResult<Option<JobResult>> {
        let args = args![
            id.as_str(),
            owner.client_id.as_str(),
            owner.sub.as_str(),
            owner.tenant_text(),
            now.as_micros()
        ];
        let row: Option<(Option<Vec<u8>>, Option<String>)> = self.db.optional(sql::RESULT, args).await?;
        let Some((sealed, content_type)) = row else {
            return Ok(None);
        };
        let (headers, _, body) = self.unseal("result", id, sealed.as_deref(), unpack)?;
        Ok(Some(JobResult {
            body,
            content_type: content_type.ok_or_else(|| corrupt("result_type", id.as_str()))?,
            headers,
        }))
    }

    async fn cancel_job(&self, owner: &Owner, id: &JobId, now: Timestamp) -> StoreResult<bool> {
        let at = now.as_micros();
        let brief = micros(CANCELLED_STAY);
        let args = args![
            at,
            at,
            brief,
            brief,
            at,
            id.as_str(),
            owner.client_id.as_str(),
            owner.sub.as_str(),
            owner.tenant_text()
        ];
        Ok(self.db.execute(sql::CANCEL, args).await? == 1)
    }

    async fn claim_job(
        &self,
        node: &NodeId,
        now: Timestamp,
        until: Timestamp,
        most_lost: u32,
    ) -> StoreResult<Option<ClaimedJob>> {
        let at = now.as_micros();
        let args = args![node.as_str(), until.as_micros(), at, at, at, most_lost, at];
        let row: Option<ClaimedRow> = self.db.optional(sql::CLAIM, args).await?;
        let Some(row) = row else { return Ok(None) };
        let id = JobId::new(row.id.as_str());
        let content = self.content(&id, &row);
        Ok(Some(ClaimedJob {
            capability: Capability::parse(&row.capability).ok_or_else(|| corrupt("capability", &row.id))?,
            voice: Voice::parse(&row.voice).ok_or_else(|| corrupt("voice", &row.id))?,
            interface: InterfaceName::new(row.interface),
            request_id: RequestId::new(row.request_id),
            content,
            run: Run {
                id,
                node: node.clone(),
                number: row.runs,
            },
        }))
    }

    async fn renew_jobs(&self, node: &NodeId, runs: &[(JobId, i64)], until: Timestamp) -> StoreResult<Vec<Run>> {
        let known: Vec<_> = runs
            .iter()
            .map(|(id, number)| serde_json::json!({"id": id.as_str(), "runs": number}))
            .collect();
        let known = serde_json::to_string(&known).map_err(failed)?;
        let mut tx = self.db.begin().await?;
        let rows: Vec<(String, i64)> = tx
            .all(sql::RENEW, args![until.as_micros(), node.as_str(), known])
            .await?;
        tx.commit().await?;
        let run = |(id, number): (String, i64)| Run {
            id: JobId::new(id),
            node: node.clone(),
            number,
        };
        Ok(rows.into_iter().map(run).collect())
    }

    async fn release_job(&self, run: &Run, due: Timestamp, unused: bool) -> StoreResult<bool> {
        let args = args![
            due.as_micros(),
            i64::from(unused),
            run.id.as_str(),
            run.node.as_str(),
            run.number
        ];
        Ok(self.db.execute(sql::RELEASE, args).await? == 1)
    }

    async fn finish_job(&self, run: &Run, end: &JobEnd, now: Timestamp) -> StoreResult<bool> {
        let at = now.as_micros();
        let (status, error, result) = match end {
            JobEnd::Succeeded(result) => (JobStatus::Succeeded, None, Some(result)),
            JobEnd::Failed(error) => {
                let error = serde_json::to_string(error).map_err(failed)?;
                (JobStatus::Failed, Some(error), None)
            }
        };
        let sealed = result.map(|result| self.seal("result", &run.id, &pack(&result.headers, None, &result.body)?));
        let length = |result: &JobResult| i64::try_from(result.body.len()).unwrap_or(i64::MAX);
        let args = args![
            status.as_str(),
            at,
            at,
            error,
            sealed.transpose()?,
            result.map(|result| result.content_type.clone()),
            result.map(length),
            at,
            run.id.as_str(),
            run.node.as_str(),
            run.number
        ];
        Ok(self.db.execute(sql::FINISH, args).await? == 1)
    }

    async fn waiting_callers(&self, after: Option<&JobId>, limit: u32) -> StoreResult<Vec<(JobId, Option<Caller>)>> {
        let args = args![after.map_or("", JobId::as_str), limit];
        let rows: Vec<(String, Option<Vec<u8>>)> = self.db.all(sql::WAITING_CALLERS, args).await?;
        let read = |(id, sealed): (String, Option<Vec<u8>>)| {
            let id = JobId::new(id);
            let caller = self.unseal("caller", &id, sealed.as_deref(), |plain| {
                serde_json::from_slice(plain).ok()
            });
            (id, caller.ok())
        };
        Ok(rows.into_iter().map(read).collect())
    }

    async fn fail_waiting(&self, id: &JobId, error: &JobError, now: Timestamp) -> StoreResult<bool> {
        let at = now.as_micros();
        let error = serde_json::to_string(error).map_err(failed)?;
        let args = args![at, at, error, at, id.as_str()];
        Ok(self.db.execute(sql::FAIL_WAITING, args).await? == 1)
    }

    async fn tidy_jobs(&self, now: Timestamp, most_lost: u32, lost: &JobError, limit: u32) -> StoreResult<Tidied> {
        let at = now.as_micros();
        let lost = serde_json::to_string(lost).map_err(failed)?;
        let expire = args![at, at, at, at, at, limit, at];
        let fail = args![at, at, lost, at, at, most_lost, limit, at];
        Ok(Tidied {
            expired: self.db.execute(sql::EXPIRE, expire).await?,
            lost: self.db.execute(sql::FAIL_LOST, fail).await?,
            removed: self.db.execute(sql::REMOVE, args![at, limit]).await?,
        })
    }

    async fn claim_delivery(
        &self,
        now: Timestamp,
        until: Timestamp,
        busy: &[(Option<TenantId>, ClientId)],
    ) -> StoreResult<Option<Delivery>> {
        let at = now.as_micros();
        let text = |tenant: &Option<TenantId>| tenant.as_ref().map_or("", TenantId::as_str).to_owned();
        let busy: Vec<_> = busy
            .iter()
            .map(|(tenant, client)| serde_json::json!({"tenant": text(tenant), "client_id": client.as_str()}))
            .collect();
        let busy = serde_json::to_string(&busy).map_err(failed)?;
        let args = args![until.as_micros(), at, busy, at];
        let row: Option<DeliveryRow> = self.db.optional(sql::CLAIM_DELIVERY, args).await?;
        let Some(row) = row else { return Ok(None) };
        let id = JobId::new(row.id.as_str());
        let url = self.unseal("webhook", &id, row.webhook.as_deref(), |plain| {
            std::str::from_utf8(plain).ok().map(SecretString::from)
        });
        Ok(Some(Delivery {
            status: JobStatus::parse(&row.status).ok_or_else(|| corrupt("status", &row.id))?,
            finished_at: Timestamp::from_micros(row.finished_at.unwrap_or(at)),
            owner: Owner {
                tenant: (!row.tenant.is_empty()).then(|| TenantId::new(row.tenant)),
                client_id: ClientId::new(row.client_id),
                sub: Subject::new(row.sub),
            },
            attempts: row.webhook_attempts,
            url: url.ok(),
            id,
        }))
    }

    async fn note_delivery(&self, id: &JobId, attempts: i64, told: Told) -> StoreResult<bool> {
        let (state, due) = match told {
            Told::Delivered => (WebhookState::Delivered, None),
            Told::Dead => (WebhookState::Dead, None),
            Told::Again(at) => (WebhookState::Pending, Some(at.as_micros())),
        };
        let args = args![state.as_str(), due, id.as_str(), attempts];
        Ok(self.db.execute(sql::NOTE_DELIVERY, args).await? == 1)
    }
}
