//! Removal of rows that nobody can use any more.

use std::time::Duration;

use async_trait::async_trait;
use service_kit::Timestamp;
use sql_kit::{Sql, args, sql};

use super::SqlStore;
use crate::ports::store::{Housekeeping, StoreError, Swept};

macro_rules! delete_some {
    ($table:literal, $key:literal, $end:literal, $tail:literal) => {
        concat!(
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
            " < ? LIMIT ?",
            $tail,
            ")"
        )
    };
}

/// The table, and what deletes some of its rows that ended before a moment; takes the moment and how many. Every node keeps house:
/// each takes rows that no other is deleting.
macro_rules! delete_ended {
    ($table:literal, $key:literal, $end:literal) => {
        (
            $table,
            sql!(
                sqlite: delete_some!($table, $key, $end, ""),
                postgres: delete_some!($table, $key, $end, " FOR UPDATE SKIP LOCKED"),
            ),
        )
    };
}

const DELETES: &[(&str, Sql)] = &[
    delete_ended!("authorization_code", "digest", "expires_at"),
    delete_ended!("pushed_request", "digest", "ends_at"),
    delete_ended!("decoupled_request", "digest", "expires_at"),
    delete_ended!("refresh_token", "grant_id", "ends_at"),
    delete_ended!("session", "sid", "ends_at"),
    delete_ended!("browser_session", "id", "expires_at"),
    delete_ended!("revocation", "id", "matters_until"),
    delete_ended!("login_throttle", "id", "ends_at"),
    delete_ended!("single_use", "id", "expires_at"),
    delete_ended!("logout_delivery", "id", "ends_at"),
    delete_ended!("initial_access_token", "id", "expires_at"),
    delete_ended!("signing_key", "kid", "retire_at"),
];

#[async_trait]
impl Housekeeping for SqlStore {
    async fn delete_expired(&self, now: Timestamp, keep: Duration, limit: u32) -> Vec<Swept> {
        let before = (now - keep).as_micros();
        let mut swept = Vec::with_capacity(DELETES.len());
        // One transaction each: none holds up the writer for longer than one small batch.
        for &(kind, delete) in DELETES {
            let outcome = self.db.execute(delete, args![before, limit]).await;
            swept.push(Swept {
                kind,
                outcome: outcome.map_err(StoreError::from),
            });
        }
        swept
    }
}
