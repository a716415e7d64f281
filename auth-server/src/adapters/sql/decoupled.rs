//! Requests that a person decides on elsewhere: those of devices and of CIBA.

use std::time::Duration;

use async_trait::async_trait;
use service_kit::Timestamp;
use sql_kit::{Arg, Sql, args, sql};

use super::SqlStore;
use super::dialect::{CLAIM_PINGS, HOLD_PERSON, HOLD_PERSON_ALONE};
use super::sessions::{SAVE_CONSENT, consent_values};
use super::stored::{self, Place};
use crate::domain::ciba::{BindingMessage, OpenLimits, Ping};
use crate::domain::decoupled::{DecoupledKind, DecoupledRequest, DecoupledState, Pace, SealedPing, UserCode};
use crate::domain::grant::{Grant, GrantDetails};
use crate::domain::ids::{ClientId, CodeDigest, GrantId, TenantId, UserId};
use crate::ports::decoupled::{Asking, DecoupledRequests, Denial, Permission, PingClaim, PingQueue};
use crate::ports::store::{StoreError, StoreResult};

const TABLE: &str = "decoupled_request";

macro_rules! select {
    ($rest:literal) => {
        sql!(concat!(
            "SELECT digest, kind, user_code, client_id, tenant, scope, details, requested_at, expires_at, interval_s, \
             next_poll_at, state, user_sub, grant_id, auth_time, amr, binding_message, ping FROM decoupled_request ",
            $rest
        ))
    };
}

const INSERT: Sql = sql!(
    "INSERT INTO decoupled_request (digest, kind, user_code, client_id, tenant, scope, details, requested_at, expires_at, \
     interval_s, next_poll_at, user_sub, binding_message, ping, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending')"
);
const WAITING_FOR: Sql = select!(
    "WHERE user_sub = ? AND kind = ? AND state = 'pending' AND expires_at > ? ORDER BY requested_at DESC, digest LIMIT 100"
);
/// Whose requests wait for a person, and until when; the first to expire first.
const OPEN_OF: Sql = sql!(
    "SELECT client_id, expires_at FROM decoupled_request WHERE user_sub = ? AND kind = ? AND state = 'pending' \
     AND expires_at > ? ORDER BY expires_at LIMIT 200"
);
const BY_DIGEST: Sql = select!("WHERE digest = ? AND kind = ?");
const BY_USER_CODE: Sql = select!("WHERE user_code = ? AND state = 'pending' AND expires_at > ?");
/// The moment that the poll found is in the condition: of two polls at once one is in time.
const NOTE_POLL: Sql = sql!(
    "UPDATE decoupled_request SET interval_s = ?, next_poll_at = ? WHERE digest = ? AND next_poll_at = ? AND state = 'pending'"
);
/// Takes until when the news is the caller's. Who is not to be told has none.
macro_rules! set_news {
    () => {
        "ping_due_at = CASE WHEN ping IS NULL THEN NULL ELSE CAST(? AS BIGINT) END, ping_attempts = 1 "
    };
}

/// Takes the grant, the news, the digest, the moment, the person, and the session, its person and the moment.
const ALLOW: Sql = sql!(concat!(
    "UPDATE decoupled_request SET state = 'allowed', user_sub = ?, scope = ?, details = ?, grant_id = ?, auth_time = ?, amr = ?, ",
    set_news!(),
    "WHERE digest = ? AND state = 'pending' AND expires_at > ? AND (user_sub IS NULL OR user_sub = ?) \
     AND EXISTS (SELECT 1 FROM session s WHERE s.sid = ? AND s.user_sub = ? AND s.ends_at > ?)"
));
const DENY: Sql = sql!(concat!(
    "UPDATE decoupled_request SET state = 'denied', ",
    set_news!(),
    "WHERE digest = ? AND state = 'pending' AND expires_at > ?"
));
/// Takes the digest and the moment. One statement, so that of N polls one counts a row.
pub(super) const REDEEM: Sql = sql!(
    "UPDATE decoupled_request SET state = 'redeemed', ping = NULL, ping_due_at = NULL \
     WHERE digest = ? AND state = 'allowed' AND expires_at > ?"
);
const ANY_DUE: Sql = sql!("SELECT client_id FROM decoupled_request WHERE ping_due_at <= ? AND expires_at > ? LIMIT 1");
const POSTPONE: Sql = sql!("UPDATE decoupled_request SET ping_due_at = ? WHERE digest = ? AND ping_due_at IS NOT NULL");
const FINISH: Sql = sql!("UPDATE decoupled_request SET ping = NULL, ping_due_at = NULL WHERE digest = ?");
const COUNT: Sql = sql!("SELECT COUNT(*) FROM decoupled_request WHERE ping_due_at IS NOT NULL AND expires_at > ?");
pub(super) const TAKE_OF_USER: Sql = sql!("DELETE FROM decoupled_request WHERE user_sub = ? RETURNING grant_id");
pub(super) const TAKE_OF_USER_AND_CLIENT: Sql =
    sql!("DELETE FROM decoupled_request WHERE user_sub = ? AND client_id = ? RETURNING grant_id");
pub(super) const TAKE_OF_CLIENT: Sql = sql!("DELETE FROM decoupled_request WHERE client_id = ?");

#[derive(sqlx::FromRow)]
struct Row {
    digest: Vec<u8>,
    kind: String,
    user_code: Option<String>,
    client_id: String,
    tenant: String,
    scope: String,
    details: String,
    requested_at: i64,
    expires_at: i64,
    interval_s: i64,
    next_poll_at: i64,
    state: String,
    user_sub: Option<String>,
    grant_id: Option<String>,
    auth_time: Option<i64>,
    amr: Option<String>,
    binding_message: Option<String>,
    ping: Option<Vec<u8>>,
}

#[async_trait]
impl DecoupledRequests for SqlStore {
    async fn insert_decoupled(&self, request: &DecoupledRequest) -> StoreResult<()> {
        self.db.execute(INSERT, values(request)?).await?;
        Ok(())
    }

    async fn insert_asking(&self, request: &DecoupledRequest, limits: OpenLimits) -> StoreResult<Asking> {
        let user = request.user.as_ref().map(UserId::as_str);
        let mut tx = self.db.begin().await?;
        let held: Option<(String,)> = tx.optional(HOLD_PERSON_ALONE, args![user]).await?;
        if held.is_none() {
            return Ok(Asking::Inactive);
        }
        let args = args![user, stored::word(&request.kind)?, request.requested_at.as_micros()];
        let open: Vec<(String, i64)> = tx.all(OPEN_OF, args).await?;
        let own = open.iter().filter(|(client, _)| client == request.client.as_str());
        let reached = match (own.clone().count() >= limits.per_client, open.len() >= limits.in_all) {
            (true, _) => own.map(|(_, until)| *until).next(),
            (false, true) => open.iter().map(|(_, until)| *until).next(),
            (false, false) => None,
        };
        if let Some(until) = reached {
            let until = Timestamp::from_micros(until);
            return Ok(Asking::TooMany { until });
        }
        tx.execute(INSERT, values(request)?).await?;
        tx.commit().await?;
        Ok(Asking::Saved)
    }

    async fn waiting_for(
        &self,
        kind: DecoupledKind,
        user: &UserId,
        now: Timestamp,
    ) -> StoreResult<Vec<DecoupledRequest>> {
        let args = args![user.as_str(), stored::word(&kind)?, now.as_micros()];
        let rows: Vec<Row> = self.db.all(WAITING_FOR, args).await?;
        rows.into_iter().map(DecoupledRequest::try_from).collect()
    }

    async fn find_decoupled(&self, kind: DecoupledKind, digest: &CodeDigest) -> StoreResult<Option<DecoupledRequest>> {
        let args = args![digest.0, stored::word(&kind)?];
        let row: Option<Row> = self.db.optional(BY_DIGEST, args).await?;
        row.map(DecoupledRequest::try_from).transpose()
    }

    async fn find_by_user_code(&self, code: &UserCode, now: Timestamp) -> StoreResult<Option<DecoupledRequest>> {
        let args = args![code.as_str(), now.as_micros()];
        let row: Option<Row> = self.db.optional(BY_USER_CODE, args).await?;
        row.map(DecoupledRequest::try_from).transpose()
    }

    async fn note_poll(&self, digest: &CodeDigest, seen: Timestamp, pace: Pace) -> StoreResult<bool> {
        let args = args![
            seconds(pace.interval),
            pace.next_poll_at.as_micros(),
            digest.0,
            seen.as_micros()
        ];
        Ok(self.db.execute(NOTE_POLL, args).await? == 1)
    }

    async fn allow_decoupled(&self, permission: &Permission) -> StoreResult<bool> {
        let Permission { grant, digest, .. } = permission;
        let (user, at) = (grant.user.as_str(), permission.at.as_micros());
        let mut tx = self.db.begin().await?;
        // First the person, then the request: in the order in which locking somebody takes them.
        let held: Option<(String,)> = tx.optional(HOLD_PERSON, args![user]).await?;
        if held.is_none() {
            return Ok(false);
        }
        let args = args![
            user,
            grant.scope.to_string(),
            stored::json(&grant.details)?,
            grant.grant_id.as_str(),
            grant.auth_time.as_micros(),
            stored::json(&grant.amr)?,
            permission.ping_due_at.as_micros(),
            digest.0,
            at,
            user,
            permission.sid.as_str(),
            user,
            at,
        ];
        if tx.execute(ALLOW, args).await? != 1 {
            return Ok(false);
        }
        if let Some(consent) = &permission.consent {
            tx.execute(SAVE_CONSENT, consent_values(consent)?).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    async fn deny_decoupled(&self, denial: &Denial) -> StoreResult<bool> {
        let args = args![denial.ping_due_at.as_micros(), denial.digest.0, denial.at.as_micros()];
        Ok(self.db.execute(DENY, args).await? == 1)
    }

    async fn redeem_decoupled(&self, digest: &CodeDigest, at: Timestamp) -> StoreResult<bool> {
        Ok(self.db.execute(REDEEM, redeem_args(digest, at)).await? == 1)
    }
}

#[derive(sqlx::FromRow)]
struct PingRow {
    digest: Vec<u8>,
    client_id: String,
    ping: Option<Vec<u8>>,
    ping_attempts: i64,
    expires_at: i64,
}

#[async_trait]
impl PingQueue for SqlStore {
    async fn claim_pings(&self, claim: PingClaim<'_>) -> StoreResult<Vec<Ping>> {
        let now = claim.now.as_micros();
        // Mostly there is nothing, and a look takes neither the writer nor a lock.
        let due: Option<(String,)> = self.db.optional(ANY_DUE, args![now, now]).await?;
        if due.is_none() || claim.limit == 0 {
            return Ok(Vec::new());
        }
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let args = args![
            claim.until.as_micros(),
            now,
            now,
            now,
            stored::json(claim.busy)?,
            count(claim.per_client),
            count(claim.limit),
        ];
        let rows: Vec<PingRow> = self.db.all(CLAIM_PINGS, args).await?;
        rows.into_iter().map(Ping::try_from).collect()
    }

    async fn postpone_ping(&self, digest: &CodeDigest, at: Timestamp) -> StoreResult<()> {
        self.db.execute(POSTPONE, args![at.as_micros(), digest.0]).await?;
        Ok(())
    }

    async fn finish_ping(&self, digest: &CodeDigest) -> StoreResult<()> {
        self.db.execute(FINISH, args![digest.0]).await?;
        Ok(())
    }

    async fn count_pings(&self, now: Timestamp) -> StoreResult<u64> {
        let (count,): (i64,) = self.db.one(COUNT, args![now.as_micros()]).await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

impl TryFrom<PingRow> for Ping {
    type Error = StoreError;

    fn try_from(row: PingRow) -> StoreResult<Self> {
        let at = |column| Place(TABLE, column);
        Ok(Self {
            digest: CodeDigest(row.digest.try_into().map_err(|_| at("digest").corrupt())?),
            client: ClientId::new(row.client_id),
            sealed: SealedPing(row.ping.ok_or(at("ping").corrupt())?),
            attempts: u32::try_from(row.ping_attempts).map_err(|_| at("ping_attempts").corrupt())?,
            ends_at: Timestamp::from_micros(row.expires_at),
        })
    }
}

/// As [`INSERT`] takes them.
fn values(request: &DecoupledRequest) -> StoreResult<[Arg; 14]> {
    Ok(args![
        request.digest.0,
        stored::word(&request.kind)?,
        request.user_code.as_ref().map(UserCode::as_str),
        request.client.as_str(),
        request.tenant.as_str(),
        request.scope.to_string(),
        stored::json(&request.details)?,
        request.requested_at.as_micros(),
        request.expires_at.as_micros(),
        seconds(request.interval),
        request.next_poll_at.as_micros(),
        request.user.as_ref().map(UserId::as_str),
        request.message.as_ref().map(BindingMessage::as_str),
        request.ping.as_ref().map(|ping| ping.0.clone()),
    ])
}

pub(super) fn redeem_args(digest: &CodeDigest, at: Timestamp) -> [Arg; 2] {
    args![digest.0, at.as_micros()]
}

fn seconds(length: Duration) -> i64 {
    i64::try_from(length.as_secs()).unwrap_or(i64::MAX)
}

impl TryFrom<Row> for DecoupledRequest {
    type Error = StoreError;

    fn try_from(row: Row) -> StoreResult<Self> {
        let at = |column| Place(TABLE, column);
        let user_code = |text: String| UserCode::parse(&text).ok_or(at("user_code").corrupt());
        let message = |text: String| BindingMessage::parse(&text).ok_or(at("binding_message").corrupt());
        let interval = u64::try_from(row.interval_s).map_err(|_| at("interval_s").corrupt())?;
        let client = ClientId::new(row.client_id);
        let tenant = TenantId::new(row.tenant);
        let user = row.user_sub.map(UserId::new);
        let scope = at("scope").scope(&row.scope)?;
        let details: GrantDetails = at("details").json(&row.details)?;
        let state = match row.state.as_str() {
            "pending" => DecoupledState::Pending,
            "denied" => DecoupledState::Denied,
            "redeemed" => DecoupledState::Redeemed,
            "allowed" => DecoupledState::Allowed(Box::new(Grant {
                grant_id: GrantId::new(row.grant_id.ok_or(at("grant_id").corrupt())?),
                client: client.clone(),
                tenant: tenant.clone(),
                user: user.clone().ok_or(at("user_sub").corrupt())?,
                sid: None,
                scope: scope.clone(),
                auth_time: Timestamp::from_micros(row.auth_time.ok_or(at("auth_time").corrupt())?),
                amr: at("amr").json(row.amr.as_deref().unwrap_or_default())?,
                details: details.clone(),
            })),
            _ => return Err(at("state").corrupt()),
        };
        Ok(Self {
            digest: CodeDigest(row.digest.try_into().map_err(|_| at("digest").corrupt())?),
            kind: at("kind").word(&row.kind)?,
            user_code: row.user_code.map(user_code).transpose()?,
            client,
            tenant,
            user,
            scope,
            details,
            message: row.binding_message.map(message).transpose()?,
            ping: row.ping.map(SealedPing),
            requested_at: Timestamp::from_micros(row.requested_at),
            expires_at: Timestamp::from_micros(row.expires_at),
            interval: Duration::from_secs(interval),
            next_poll_at: Timestamp::from_micros(row.next_poll_at),
            state,
        })
    }
}
