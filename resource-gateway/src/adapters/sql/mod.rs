//! SQLite and PostgreSQL behind the storage ports.

mod access_keys;
mod audit;
mod change;
mod config;
mod conversations;
mod convert;
mod forms;
mod jobs;
mod ledger;
mod ledger_statements;
mod notices;
mod payload;
mod reports;
mod statements;
mod statements_access_keys;
mod statements_conversations;
mod statements_jobs;
mod statements_notices;
mod usage;

pub use access_keys::SqlAccessKeys;
pub use config::SqlConfig;
pub use conversations::SqlConversations;
pub use jobs::SqlJobs;
pub use ledger::SqlLedger;
pub use payload::SqlPayloads;
pub use reports::SqlReports;
pub use usage::SqlUsage;

use sql_kit::{Db, Migrations, SqlError, args};

use crate::ports::config_source::StoreError;

/// The gateway's schema.
pub static MIGRATIONS: Migrations = sql_kit::migrations!(
    "gateway_migrations",
    "/../migrations/gateway",
    [
        "0001_create_gateway",
        "0002_add_policy_and_audit",
        "0003_create_call_payload",
        "0004_create_conversation",
        "0006_create_job",
        "0013_add_usage_costs",
        "0014_create_budget_ledger",
        "0015_create_prices_and_budgets",
        "0016_create_access_key",
        "0017_add_notice_delivery",
        "0029_add_job_repeats",
        "0030_add_job_voice"
    ]
);

/// Whether anything stands in the database that only its own master key opens.
///
/// # Errors
/// The database does not answer, or is not migrated.
pub async fn holds_sealed(db: &Db) -> Result<bool, SqlError> {
    let (count,): (i64,) = db.one(statements::COUNT_SEALED, args![]).await?;
    Ok(count > 0)
}

impl From<SqlError> for StoreError {
    fn from(error: SqlError) -> Self {
        if error.is_unavailable() {
            Self::Unavailable(Box::new(error))
        } else {
            Self::Failed(Box::new(error))
        }
    }
}
