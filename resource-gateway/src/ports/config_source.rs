//! Vendors and interfaces at rest.

use std::{fmt, path::Path};

use async_trait::async_trait;
use secrecy::SecretString;

use crate::domain::{
    audit::{AuditEvent, AuditPlace},
    config_row::{Row, RowId},
    ids::TenantId,
    snapshot::{ConfigRows, Revision},
};

/// Why storage failed. Never holds a value that was stored.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached or is too busy: trying again may help.
    #[error("the database is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A row does not read back as what was written.
    #[error("row {row:?} of {table} is corrupt in {column}")]
    Corrupt {
        table: &'static str,
        column: &'static str,
        row: String,
    },
    #[error("the database refused a statement")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

pub type StoreResult<T> = Result<T, StoreError>;

/// Reads the configuration.
#[async_trait]
pub trait ConfigSource: Send + Sync + fmt::Debug {
    /// The revision alone: cheap enough to ask several times a second.
    async fn current_revision(&self) -> StoreResult<Revision>;
    /// All rows as they stood at one revision, which is among them. One that does not read back is named in
    /// [`ConfigRows::unreadable`] and hides no other.
    async fn load_rows(&self) -> StoreResult<ConfigRows>;
}

/// Changes the configuration.
#[async_trait]
pub trait ConfigStore: ConfigSource {
    /// Begins a change. Of several at once one goes on, the others wait.
    async fn begin_change(&self) -> StoreResult<Box<dyn ConfigChange>>;
    /// The version of a row; `None` when there is no such row.
    async fn find_version(&self, id: &RowId) -> StoreResult<Option<RowVersion>>;
    /// Audit rows, the newest first.
    async fn list_audit(&self, query: &AuditQuery) -> StoreResult<Vec<AuditEvent>>;
}

/// Which audit rows.
#[derive(Debug, Clone)]
pub struct AuditQuery {
    /// Only those that come before this place.
    pub before: Option<AuditPlace>,
    /// Only those of one tenant's rows; `None`: all.
    pub row_tenant: Option<TenantId>,
    pub limit: u32,
}

/// Changes whenever the row does: the revision that its last change made, 0 for rows that were never changed since versions
/// are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowVersion(pub i64);

/// A change: nothing of it is visible before `commit`, dropping it undoes it.
#[async_trait]
pub trait ConfigChange: Send {
    /// All rows as this change sees them.
    async fn load_rows(&mut self) -> StoreResult<ConfigRows>;
    /// The version of a row as this change sees it.
    async fn find_version(&mut self, id: &RowId) -> StoreResult<Option<RowVersion>>;
    /// Creates or replaces a row. A secret that cannot be read cannot be written either: `Corrupt`.
    async fn put(&mut self, row: &Row) -> StoreResult<RowVersion>;
    /// Removes a row; whether there was one.
    async fn delete(&mut self, id: &RowId) -> StoreResult<bool>;
    /// Writes down who did what.
    async fn note(&mut self, event: &AuditEvent) -> StoreResult<()>;
    /// Counts the revision up and makes all of it visible at once.
    async fn commit(self: Box<Self>) -> StoreResult<Revision>;
}

/// Where documents may take secrets from.
pub trait SecretSource: Send + Sync + fmt::Debug {
    /// The environment variable of that name.
    fn find_variable(&self, name: &str) -> Option<SecretString>;
    /// The file's text without line breaks at its end.
    ///
    /// # Errors
    /// The file cannot be read; the text says why and holds nothing of it.
    fn read_file(&self, path: &Path) -> Result<SecretString, String>;
}
