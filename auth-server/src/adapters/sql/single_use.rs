//! Ids that were used and must not be used again.

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use sql_kit::{Arg, Sql, SqlError, sql};

use super::SqlStore;
use crate::ports::store::{SingleUse, SingleUseId, StoreError, StoreResult};

/// By how many there are, since statement text is static. A plain INSERT: it takes all rows or none.
const INSERTS: [Sql; 8] = [
    sql!("INSERT INTO single_use (id, expires_at) VALUES (?, ?)"),
    sql!("INSERT INTO single_use (id, expires_at) VALUES (?, ?), (?, ?)"),
    sql!("INSERT INTO single_use (id, expires_at) VALUES (?, ?), (?, ?), (?, ?)"),
    sql!("INSERT INTO single_use (id, expires_at) VALUES (?, ?), (?, ?), (?, ?), (?, ?)"),
    sql!("INSERT INTO single_use (id, expires_at) VALUES (?, ?), (?, ?), (?, ?), (?, ?), (?, ?)"),
    sql!("INSERT INTO single_use (id, expires_at) VALUES (?, ?), (?, ?), (?, ?), (?, ?), (?, ?), (?, ?)"),
    sql!("INSERT INTO single_use (id, expires_at) VALUES (?, ?), (?, ?), (?, ?), (?, ?), (?, ?), (?, ?), (?, ?)"),
    sql!(
        "INSERT INTO single_use (id, expires_at) VALUES (?, ?), (?, ?), (?, ?), (?, ?), (?, ?), (?, ?), (?, ?), (?, ?)"
    ),
];

#[async_trait]
impl SingleUse for SqlStore {
    async fn spend(&self, ids: &[SingleUseId]) -> StoreResult<bool> {
        let Some((insert, values)) = insert(ids)? else {
            return Ok(true);
        };
        outcome(self.db.execute(insert, values).await)
    }
}

/// The statement that notes the ids; `None` if there are none.
pub(super) fn insert(ids: &[SingleUseId]) -> StoreResult<Option<(Sql, Vec<Arg>)>> {
    let Some(last) = ids.len().checked_sub(1) else {
        return Ok(None);
    };
    let insert = *INSERTS
        .get(last)
        .ok_or_else(|| StoreError::Failed("too many ids are spent at once".into()))?;
    let values = ids
        .iter()
        .flat_map(|one| [Arg::from(digest(one)), Arg::from(one.expires_at.as_micros())]);
    Ok(Some((insert, values.collect())))
}

/// Whether all were noted.
pub(super) fn outcome(noted: Result<u64, SqlError>) -> StoreResult<bool> {
    match noted {
        Ok(_) => Ok(true),
        Err(SqlError::Unique { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The kind comes first and holds no NUL, so that no id of one kind is one of another.
fn digest(one: &SingleUseId) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(one.namespace.as_str());
    hash.update([0]);
    hash.update(&one.id);
    hash.finalize().into()
}
