//! Which applications a session has reached, and the deliveries that wait.

use async_trait::async_trait;
use service_kit::Timestamp;
use sql_kit::{Sql, args, sql};

use super::dialect::CLAIM_LOGOUTS;
use super::stored::{self, Place};
use super::{SqlStore, SqlTx};
use crate::domain::ids::{ClientId, SessionId, UserId};
use crate::domain::logout::{LogoutDelivery, LogoutPlan};
use crate::ports::logout::{LogoutClaim, LogoutQueue, LogoutWrites};
use crate::ports::store::{StoreError, StoreResult};

const CLIENTS_OF_SESSION: Sql =
    sql!("SELECT client_id FROM session_client WHERE sid = ? ORDER BY first_at, client_id LIMIT 200");
/// Takes the person and the client.
const LEAVE: Sql = sql!(
    "DELETE FROM session_client WHERE sid IN (SELECT s.sid FROM session s WHERE s.user_sub = ? AND s.ended_at IS NULL) \
     AND client_id = ?"
);

/// Takes how many attempts that is, the moment, when it is due, and the end. Which member names stand in `protocol` is clear from its text:
/// inside of a value the quotes would be escaped. Whoever sends looks again. What is queued already starts anew.
macro_rules! queue {
    ($where:literal) => {
        concat!(
            "INSERT INTO logout_delivery (id, sid, client_id, user_sub, attempts, queued_at, due_at, ends_at) \
             SELECT p.sid || ' ' || p.client_id, p.sid, p.client_id, s.user_sub, ?, ?, ?, ? \
             FROM session_client p JOIN session s ON s.sid = p.sid \
             JOIN client c ON c.client_id = p.client_id AND c.protocol LIKE '%\"backchannel_logout_uri\":%' \
             WHERE ",
            $where,
            // One order for all, so that two who queue the same do not wait for each other.
            " ORDER BY p.sid, p.client_id ON CONFLICT (id) DO UPDATE SET attempts = excluded.attempts, queued_at = excluded.queued_at, \
             due_at = excluded.due_at, ends_at = excluded.ends_at \
             RETURNING sid, client_id, user_sub, attempts, queued_at, ends_at"
        )
    };
}

const QUEUE_OF_SESSION: Sql = sql!(queue!("p.sid = ?"));
const QUEUE_OF_CLIENT: Sql = sql!(queue!("s.user_sub = ? AND s.ended_at IS NULL AND p.client_id = ?"));

const ANY_DUE: Sql = sql!("SELECT id FROM logout_delivery WHERE due_at <= ? LIMIT 1");
/// The moment of queueing is in the condition, so that news that came meanwhile is not taken for the one that was delivered.
const POSTPONE: Sql = sql!("UPDATE logout_delivery SET due_at = ? WHERE id = ? AND queued_at = ?");
const FINISH: Sql = sql!("DELETE FROM logout_delivery WHERE id = ? AND queued_at = ?");
const COUNT: Sql = sql!("SELECT COUNT(*) FROM logout_delivery");

#[derive(sqlx::FromRow)]
struct DeliveryRow {
    sid: String,
    client_id: String,
    user_sub: String,
    attempts: i64,
    queued_at: i64,
    ends_at: i64,
}

#[async_trait]
impl LogoutQueue for SqlStore {
    async fn claim_logouts(&self, claim: LogoutClaim<'_>) -> StoreResult<Vec<LogoutDelivery>> {
        let now = claim.now.as_micros();
        // Mostly there is nothing, and a look takes neither the writer nor a lock.
        let due: Option<(String,)> = self.db.optional(ANY_DUE, args![now]).await?;
        if due.is_none() || claim.limit == 0 {
            return Ok(Vec::new());
        }
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let args = args![
            claim.until.as_micros(),
            now,
            now,
            stored::json(claim.busy)?,
            count(claim.per_client),
            count(claim.limit),
        ];
        let rows: Vec<DeliveryRow> = self.db.all(CLAIM_LOGOUTS, args).await?;
        rows.into_iter().map(LogoutDelivery::try_from).collect()
    }

    async fn postpone_logout(&self, delivery: &LogoutDelivery, at: Timestamp) -> StoreResult<()> {
        let args = args![at.as_micros(), id(delivery), delivery.queued_at.as_micros()];
        self.db.execute(POSTPONE, args).await?;
        Ok(())
    }

    async fn finish_logout(&self, delivery: &LogoutDelivery) -> StoreResult<()> {
        self.db
            .execute(FINISH, args![id(delivery), delivery.queued_at.as_micros()])
            .await?;
        Ok(())
    }

    async fn count_logouts(&self) -> StoreResult<u64> {
        let (count,): (i64,) = self.db.one(COUNT, args![]).await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

#[async_trait]
impl LogoutWrites for SqlTx {
    async fn clients_of_session(&mut self, sid: &SessionId) -> StoreResult<Vec<ClientId>> {
        let rows: Vec<(String,)> = self.tx.all(CLIENTS_OF_SESSION, args![sid.as_str()]).await?;
        Ok(rows.into_iter().map(|(client,)| ClientId::new(client)).collect())
    }

    async fn queue_logouts(&mut self, sid: &SessionId, plan: LogoutPlan) -> StoreResult<Vec<LogoutDelivery>> {
        let args = planned(plan).into_iter().chain(args![sid.as_str()]);
        let rows: Vec<DeliveryRow> = self.tx.all(QUEUE_OF_SESSION, args).await?;
        rows.into_iter().map(LogoutDelivery::try_from).collect()
    }

    async fn leave_sessions(
        &mut self,
        user: &UserId,
        client: &ClientId,
        plan: LogoutPlan,
    ) -> StoreResult<Vec<LogoutDelivery>> {
        let args = planned(plan).into_iter().chain(args![user.as_str(), client.as_str()]);
        let rows: Vec<DeliveryRow> = self.tx.all(QUEUE_OF_CLIENT, args).await?;
        self.tx.execute(LEAVE, args![user.as_str(), client.as_str()]).await?;
        rows.into_iter().map(LogoutDelivery::try_from).collect()
    }
}

/// As `queue!` takes them.
fn planned(plan: LogoutPlan) -> [sql_kit::Arg; 4] {
    args![
        i64::from(plan.claimed_until.is_some()),
        plan.at.as_micros(),
        plan.claimed_until.unwrap_or(plan.at).as_micros(),
        plan.ends_at().as_micros(),
    ]
}

/// As `queue!` makes it. Neither part has a blank.
fn id(delivery: &LogoutDelivery) -> String {
    format!("{} {}", delivery.sid, delivery.client)
}

impl TryFrom<DeliveryRow> for LogoutDelivery {
    type Error = StoreError;

    fn try_from(row: DeliveryRow) -> StoreResult<Self> {
        let corrupt = |_| Place("logout_delivery", "attempts").corrupt();
        Ok(Self {
            sid: SessionId::new(row.sid),
            client: ClientId::new(row.client_id),
            user: UserId::new(row.user_sub),
            attempts: u32::try_from(row.attempts).map_err(corrupt)?,
            queued_at: Timestamp::from_micros(row.queued_at),
            ends_at: Timestamp::from_micros(row.ends_at),
        })
    }
}
