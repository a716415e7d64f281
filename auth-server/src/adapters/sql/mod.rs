//! The storage ports over SQLite and PostgreSQL: one set of statements, see [`dialect`] for the few that differ.
//!
//! SQL in, domain out: rows are private types, read back with every value checked. Statements are constants beside the
//! methods that run them.

mod clients;
mod codes;
mod decoupled;
mod dialect;
mod directory;
mod families;
mod housekeeping;
mod limits;
mod logout;
mod pushed;
mod registrations;
mod revocations;
mod sectors;
mod sessions;
mod signing_keys;
mod single_use;
mod stored;
mod users;

use async_trait::async_trait;
use sql_kit::{Db, Migrations, Options, SqlError, Tx, Work};

use crate::ports::store::{Store, StoreError, StoreResult, StoreTx, Transactions};

/// The schema's history.
pub static MIGRATIONS: Migrations = sql_kit::migrations!(
    "auth_migrations",
    "/../migrations/auth",
    [
        "0001_create_directory",
        "0002_create_client",
        "0003_create_grant",
        "0004_create_signing_key",
        "0005_create_browser_session",
        "0006_add_protocol",
        "0007_create_pushed_request",
        "0011_create_decoupled_request",
        "0014_add_sectors_and_key_ages",
        "0015_create_registration",
        "0017_create_logout",
        "0020_add_ciba",
    ]
);

/// The store. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct SqlStore {
    db: Db,
}

/// One transaction of it.
#[derive(Debug)]
struct SqlTx {
    tx: Tx,
}

impl SqlStore {
    /// What was asked of the database so far.
    pub fn work(&self) -> Work {
        self.db.work()
    }

    /// Connects to `sqlite://path`, `sqlite::memory:` or `postgres://…`.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database cannot be reached.
    pub async fn connect(url: &str, options: &Options) -> StoreResult<Self> {
        Ok(Self {
            db: Db::connect(url, options).await?,
        })
    }

    /// Brings the schema up to this version.
    ///
    /// # Errors
    /// A step that fails, or a database that a newer version has migrated.
    pub async fn migrate(&self) -> StoreResult<()> {
        Ok(self.db.migrate(&MIGRATIONS).await?)
    }

    /// Lets running statements end and closes every connection.
    pub async fn close(&self) {
        self.db.close().await;
    }
}

impl Store for SqlStore {}

#[async_trait]
impl Transactions for SqlStore {
    async fn begin(&self) -> StoreResult<Box<dyn StoreTx>> {
        Ok(Box::new(SqlTx {
            tx: self.db.begin().await?,
        }))
    }

    async fn ping(&self) -> StoreResult<()> {
        Ok(self.db.ping().await?)
    }
}

#[async_trait]
impl StoreTx for SqlTx {
    async fn commit(self: Box<Self>) -> StoreResult<()> {
        Ok(self.tx.commit().await?)
    }
}

impl From<SqlError> for StoreError {
    fn from(error: SqlError) -> Self {
        match error {
            SqlError::Unique { ref constraint } => match conflict(constraint) {
                Some(what) => Self::Conflict(what),
                None => Self::Failed(error.into()),
            },
            SqlError::Corrupt { table, column } => Self::Corrupt { table, column },
            SqlError::Busy(_) | SqlError::Unavailable(_) => Self::Unavailable(error.into()),
            SqlError::ForeignKey { .. } | SqlError::NoRow(_) | SqlError::Aborted | SqlError::Other(_) => {
                Self::Failed(error.into())
            }
        }
    }
}

/// What exists already, in the domain's words.
fn conflict(constraint: &str) -> Option<&'static str> {
    Some(match constraint {
        "authorization_code(digest)" => "the authorization code",
        "pushed_request(digest)" => "the pushed request",
        "decoupled_request(digest)" => "the device code",
        "decoupled_request(user_code)" => "the user code",
        "refresh_token(grant_id)" => "the refresh family",
        "session(sid)" => "the session",
        "revocation(id)" => "the revocation",
        "users(tenant, live_name)" => "an account with this user name",
        "signing_key(kid)" => "the signing key",
        "signing_key(slot)" => "a signing key at this stage",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_database_is_unavailable_and_a_taken_key_a_conflict() {
        assert!(matches!(
            SqlError::Busy(String::new()).into(),
            StoreError::Unavailable(_)
        ));
        let taken = SqlError::Unique {
            constraint: "session(sid)".into(),
        };
        assert!(matches!(taken.into(), StoreError::Conflict("the session")));
        let unforeseen = SqlError::Unique {
            constraint: "menu(id)".into(),
        };
        assert!(matches!(unforeseen.into(), StoreError::Failed(_)));
    }
}
