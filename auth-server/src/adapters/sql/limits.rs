//! Password attempts, and the revision of the configuration.

use async_trait::async_trait;
use service_kit::Timestamp;
use sql_kit::{Sql, args, sql};

use super::SqlStore;
use crate::domain::throttle::{Attempt, ThrottleKey, ThrottlePolicy};
use crate::ports::store::{LoginThrottle, Revisions, StoreResult};

/// Takes the key, the end of a new window, and the moment twice. Counting and looking are one statement: of N parallel
/// guesses no two see the same number.
const COUNT: Sql = sql!(
    "INSERT INTO login_throttle (id, attempts, ends_at) VALUES (?, 1, ?) ON CONFLICT (id) DO UPDATE SET \
     attempts = CASE WHEN login_throttle.ends_at > ? THEN login_throttle.attempts + 1 ELSE 1 END, \
     ends_at = CASE WHEN login_throttle.ends_at > ? THEN login_throttle.ends_at ELSE excluded.ends_at END \
     RETURNING attempts, ends_at"
);
const FORGIVE: Sql = sql!("UPDATE login_throttle SET attempts = attempts - 1 WHERE id = ? AND attempts > 0");
const CLEAR: Sql = sql!("DELETE FROM login_throttle WHERE id = ?");

pub(super) const REVISION: Sql = sql!("SELECT value FROM revision WHERE name = 'configuration'");
pub(super) const BUMP: Sql = sql!("UPDATE revision SET value = value + 1 WHERE name = 'configuration'");

#[async_trait]
impl LoginThrottle for SqlStore {
    async fn count_attempt(&self, key: &ThrottleKey, policy: ThrottlePolicy, now: Timestamp) -> StoreResult<Attempt> {
        let (end, at) = ((now + policy.window).as_micros(), now.as_micros());
        let (attempts, ends_at): (i64, i64) = self.db.one(COUNT, args![key.to_text(), end, at, at]).await?;
        if attempts > i64::from(policy.limit) {
            return Ok(Attempt::Blocked(Timestamp::from_micros(ends_at)));
        }
        Ok(Attempt::Allowed)
    }

    async fn forgive_attempt(&self, key: &ThrottleKey) -> StoreResult<()> {
        self.db.execute(FORGIVE, args![key.to_text()]).await?;
        Ok(())
    }

    async fn clear_attempts(&self, key: &ThrottleKey) -> StoreResult<()> {
        self.db.execute(CLEAR, args![key.to_text()]).await?;
        Ok(())
    }
}

#[async_trait]
impl Revisions for SqlStore {
    async fn current_revision(&self) -> StoreResult<i64> {
        let (value,) = self.db.one(REVISION, args![]).await?;
        Ok(value)
    }
}
