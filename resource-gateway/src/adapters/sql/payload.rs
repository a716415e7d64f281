//! Payload rows.

use async_trait::async_trait;
use service_kit::Timestamp;
use sql_kit::{Db, args};
use sqlx::FromRow;

use super::statements;
use crate::ports::{
    config_source::StoreResult,
    payload_log::{PayloadQuery, PayloadStore, StoredPayload},
};

/// The table `call_payload`.
#[derive(Debug, Clone)]
pub struct SqlPayloads(Db);

impl SqlPayloads {
    pub fn new(db: Db) -> Self {
        Self(db)
    }
}

#[derive(FromRow)]
struct PayloadRow {
    request_id: String,
    time: i64,
    tenant: Option<String>,
    client_id: String,
    sub: String,
    interface: String,
    state: String,
    request: String,
    request_bytes: i64,
    request_cut: bool,
    reply: String,
    reply_bytes: i64,
    reply_cut: bool,
}

#[async_trait]
impl PayloadStore for SqlPayloads {
    async fn insert_payloads(&self, batch: &[StoredPayload]) -> StoreResult<()> {
        let mut tx = self.0.begin().await?;
        for row in batch {
            let args = args![
                row.request_id.as_str(),
                row.time.as_micros(),
                row.tenant.clone(),
                row.client_id.as_str(),
                row.sub.as_str(),
                row.interface.as_str(),
                row.state.as_str(),
                // NUL cannot be stored by PostgreSQL, and shows nothing.
                row.request.replace('\0', "\u{fffd}"),
                row.request_bytes,
                row.request_cut,
                row.reply.replace('\0', "\u{fffd}"),
                row.reply_bytes,
                row.reply_cut
            ];
            tx.execute(statements::INSERT_PAYLOAD, args).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    async fn list_payloads(&self, query: &PayloadQuery) -> StoreResult<Vec<StoredPayload>> {
        let (time, id) = match &query.before {
            None => (i64::MAX, String::new()),
            Some((time, id)) => (time.as_micros(), id.clone()),
        };
        let tenant = query.tenant.as_ref().map(|tenant| tenant.as_str().to_owned());
        let args = args![
            time,
            time,
            id,
            tenant.is_none(),
            tenant,
            query.request_id.is_none(),
            query.request_id.clone(),
            query.interface.is_none(),
            query.interface.clone(),
            query.client_id.is_none(),
            query.client_id.clone(),
            query.limit
        ];
        let rows: Vec<PayloadRow> = self.0.all(statements::PAYLOADS_BEFORE, args).await?;
        Ok(rows.into_iter().map(StoredPayload::from).collect())
    }

    async fn forget_payloads(&self, before: Timestamp, limit: u32) -> StoreResult<u64> {
        let args = args![before.as_micros(), limit];
        Ok(self.0.execute(statements::FORGET_PAYLOADS, args).await?)
    }
}

impl From<PayloadRow> for StoredPayload {
    fn from(row: PayloadRow) -> Self {
        Self {
            request_id: row.request_id,
            time: Timestamp::from_micros(row.time),
            tenant: row.tenant,
            client_id: row.client_id,
            sub: row.sub,
            interface: row.interface,
            state: row.state,
            request: row.request,
            request_bytes: row.request_bytes,
            request_cut: row.request_cut,
            reply: row.reply,
            reply_bytes: row.reply_bytes,
            reply_cut: row.reply_cut,
        }
    }
}
