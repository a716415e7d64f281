//! Private databases for tests: a temporary SQLite file, a schema of its own on a PostgreSQL server.
#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "a test that cannot get its database must fail loudly"
)]

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Executor};
use tempfile::TempDir;

/// Names the PostgreSQL server that tests may use.
pub const POSTGRES_VARIABLE: &str = "HEXGATE_TEST_POSTGRES_URL";

/// A database that nobody else uses. A SQLite file goes with this value; a schema stays until its server goes.
#[derive(Debug)]
pub struct TestDatabase {
    /// What to connect to.
    pub url: String,
    directory: Option<TempDir>,
}

impl TestDatabase {
    /// A file in a temporary directory, not yet created.
    ///
    /// # Panics
    /// Without a directory for temporary files.
    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let url = format!("sqlite://{}", directory.path().join("test.db").display());
        Self {
            url,
            directory: Some(directory),
        }
    }

    /// A fresh schema on the server that [`POSTGRES_VARIABLE`] names.
    ///
    /// # Panics
    /// Without that variable or that server. A test never skips: a green run means that both engines were tried.
    pub async fn postgres() -> Self {
        #[expect(clippy::disallowed_methods, reason = "tests have no configuration file")]
        let server = std::env::var(POSTGRES_VARIABLE).unwrap_or_else(|_| {
            panic!(
                "{POSTGRES_VARIABLE} is not set. Run `make test`, which starts a private PostgreSQL, or set it to the URL of a \
                 server on which the user may create schemas, such as postgres://postgres@127.0.0.1:5432/postgres"
            )
        });
        let schema = format!("test_{:016x}", rand::random::<u64>());
        let mut connection = PgConnection::connect(&server)
            .await
            .expect("the PostgreSQL server answers");
        connection
            .execute(AssertSqlSafe(format!("CREATE SCHEMA {schema}")))
            .await
            .expect("the user may create a schema");
        connection.close().await.expect("the connection closes");
        let separator = if server.contains('?') { '&' } else { '?' };
        Self {
            url: format!("{server}{separator}options=-csearch_path%3D{schema}"),
            directory: None,
        }
    }

    /// The directory of a SQLite file.
    pub fn directory(&self) -> Option<&std::path::Path> {
        self.directory.as_ref().map(TempDir::path)
    }
}
