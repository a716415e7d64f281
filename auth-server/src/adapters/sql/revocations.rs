//! Revocations, for this node's index and the feed.

use async_trait::async_trait;
use oauth_wire::RevocationEvent;
use service_kit::Timestamp;
use sql_kit::{Arg, Sql, args, sql};

use super::SqlStore;
use super::dialect::REVOCATION_HORIZON;
use super::stored::{self, Place};
use crate::ports::store::{RecordedRevocation, RevocationCursor, RevocationPage, Revocations, StoreError, StoreResult};

pub(super) const INSERT: Sql = sql!(
    "INSERT INTO revocation (id, event, matters_until, recorded_at) VALUES (?, ?, ?, ?) ON CONFLICT (event) DO NOTHING"
);
const FROM: Sql = sql!(
    "SELECT id, event, matters_until, recorded_at FROM revocation WHERE position >= ? AND matters_until > ? \
     ORDER BY position, id"
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
    async fn read_revocations(&self, from: RevocationCursor, after: Timestamp) -> StoreResult<RevocationPage> {
        // First how far, then what: whatever commits in between is read now and once more next time.
        let (next,) = self.db.one(REVOCATION_HORIZON, args![]).await?;
        let rows: Vec<RevocationRow> = self.db.all(FROM, args![from.0, after.as_micros()]).await?;
        let revocations = rows.into_iter().map(RecordedRevocation::try_from);
        Ok(RevocationPage {
            revocations: revocations.collect::<StoreResult<_>>()?,
            next: RevocationCursor(next),
        })
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
