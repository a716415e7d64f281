//! Removal of rows that nobody can use any more.

use std::time::Duration;

use async_trait::async_trait;
use service_kit::Timestamp;
use sql_kit::{Sql, args, sql};

use super::SqlStore;
use crate::ports::store::{Housekeeping, StoreResult};

/// Deletes some rows of a table that ended before a moment; takes the moment and how many.
macro_rules! delete_ended {
    ($table:literal, $key:literal, $end:literal) => {
        sql!(concat!(
            "DELETE FROM ",
            $table,
            " WHERE ",
            $key,
            " IN (SELECT ",
            $key,
            " FROM ",
            $table,
            " WHERE ",
            $end,
            " < ? LIMIT ?)"
        ))
    };
}

const DELETES: [Sql; 7] = [
    delete_ended!("authorization_code", "digest", "expires_at"),
    delete_ended!("refresh_token", "grant_id", "ends_at"),
    delete_ended!("session", "sid", "ends_at"),
    delete_ended!("browser_session", "id", "expires_at"),
    delete_ended!("revocation", "id", "matters_until"),
    delete_ended!("login_throttle", "id", "ends_at"),
    delete_ended!("signing_key", "kid", "retire_at"),
];

#[async_trait]
impl Housekeeping for SqlStore {
    async fn delete_expired(&self, now: Timestamp, keep: Duration, limit: u32) -> StoreResult<u64> {
        let before = (now - keep).as_micros();
        let mut deleted = 0;
        // One transaction each: none holds up the writer for longer than one small batch.
        for delete in DELETES {
            deleted += self.db.execute(delete, args![before, limit]).await?;
        }
        Ok(deleted)
    }
}
