//! Usage rows.

use async_trait::async_trait;
use sql_kit::{Db, args};

use super::statements;
use crate::ports::{
    config_source::StoreResult,
    usage::{UsageBatch, UsageStore},
};

/// The table `usage_record`.
#[derive(Debug, Clone)]
pub struct SqlUsage(Db);

impl SqlUsage {
    pub fn new(db: Db) -> Self {
        Self(db)
    }
}

#[async_trait]
impl UsageStore for SqlUsage {
    async fn insert_usage(&self, batch: &UsageBatch) -> StoreResult<()> {
        // Also when it is empty: the statement still proves that the table is there and may be written.
        self.0
            .execute(statements::INSERT_USAGE, args![batch.to_json_array()])
            .await?;
        Ok(())
    }
}
