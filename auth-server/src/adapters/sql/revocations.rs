//! Revocations, for this node's index and the feed.

use async_trait::async_trait;
use oauth_wire::RevocationEvent;
use service_kit::Timestamp;
use sql_kit::{Arg, Sql, args, sql};

use super::SqlStore;
use super::stored::{self, Place};
use crate::ports::store::{RecordedRevocation, Revocations, StoreError, StoreResult};

pub(super) const INSERT: Sql =
    sql!("INSERT INTO revocation (id, event, matters_until, recorded_at) VALUES (?, ?, ?, ?)");
const SINCE: Sql = sql!(
    "SELECT id, event, matters_until, recorded_at FROM revocation WHERE recorded_at >= ? AND matters_until > ? \
     ORDER BY recorded_at, id"
);

#[derive(sqlx::FromRow)]
struct RevocationRow {
    id: String,
    event: String,
    matters_until: i64,
    recorded_at: i64,
}

#[async_trait]
impl Revocations for SqlStore {
    async fn revocations_since(
        &self,
        recorded_since: Timestamp,
        now: Timestamp,
    ) -> StoreResult<Vec<RecordedRevocation>> {
        let args = args![recorded_since.as_micros(), now.as_micros()];
        let rows: Vec<RevocationRow> = self.db.all(SINCE, args).await?;
        rows.into_iter().map(RecordedRevocation::try_from).collect()
    }
}

pub(super) fn values(revocation: &RecordedRevocation) -> StoreResult<[Arg; 4]> {
    Ok(args![
        revocation.id.as_str(),
        stored::json(&revocation.event.revoked)?,
        Timestamp::from_seconds(revocation.event.until).as_micros(),
        revocation.recorded_at.as_micros(),
    ])
}

impl TryFrom<RevocationRow> for RecordedRevocation {
    type Error = StoreError;

    fn try_from(row: RevocationRow) -> StoreResult<Self> {
        Ok(Self {
            id: row.id,
            event: RevocationEvent {
                revoked: Place("revocation", "event").json(&row.event)?,
                until: Timestamp::from_micros(row.matters_until).as_seconds(),
            },
            recorded_at: Timestamp::from_micros(row.recorded_at),
        })
    }
}
