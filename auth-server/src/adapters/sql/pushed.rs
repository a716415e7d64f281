//! Pushed authorization requests.

use async_trait::async_trait;
use service_kit::Timestamp;
use sql_kit::{Arg, Sql, args, sql};

use super::SqlStore;
use super::stored::{self, Place};
use crate::domain::authorization::PushedRequest;
use crate::domain::ids::PushedDigest;
use crate::ports::store::{PushedRequests, StoreError, StoreResult};

pub(super) const INSERT: Sql =
    sql!("INSERT INTO pushed_request (digest, client_id, contents, expires_at, ends_at) VALUES (?, ?, ?, ?, ?)");
const BY_DIGEST: Sql = sql!("SELECT digest, contents, expires_at FROM pushed_request WHERE digest = ?");
/// One statement, so that of N answers one counts a row.
pub(super) const TAKE: Sql = sql!("DELETE FROM pushed_request WHERE digest = ?");
pub(super) const TAKE_OF_CLIENT: Sql = sql!("DELETE FROM pushed_request WHERE client_id = ?");

#[derive(sqlx::FromRow)]
struct PushedRow {
    digest: Vec<u8>,
    contents: String,
    expires_at: i64,
}

#[async_trait]
impl PushedRequests for SqlStore {
    async fn insert_pushed_request(&self, pushed: &PushedRequest) -> StoreResult<()> {
        self.db.execute(INSERT, values(pushed)?).await?;
        Ok(())
    }

    async fn find_pushed_request(&self, digest: &PushedDigest) -> StoreResult<Option<PushedRequest>> {
        let row: Option<PushedRow> = self.db.optional(BY_DIGEST, args![digest.0]).await?;
        row.map(PushedRequest::try_from).transpose()
    }

    async fn take_pushed_request(&self, digest: &PushedDigest) -> StoreResult<bool> {
        Ok(self.db.execute(TAKE, args![digest.0]).await? == 1)
    }
}

pub(super) fn values(pushed: &PushedRequest) -> StoreResult<[Arg; 5]> {
    Ok(args![
        pushed.digest.0,
        pushed.request.client_id.as_str(),
        stored::json(&pushed.request)?,
        pushed.expires_at.as_micros(),
        pushed.ends_at().as_micros(),
    ])
}

impl TryFrom<PushedRow> for PushedRequest {
    type Error = StoreError;

    fn try_from(row: PushedRow) -> StoreResult<Self> {
        let at = |column| Place("pushed_request", column);
        Ok(Self {
            digest: PushedDigest(row.digest.try_into().map_err(|_| at("digest").corrupt())?),
            request: at("contents").json(&row.contents)?,
            expires_at: Timestamp::from_micros(row.expires_at),
        })
    }
}
