//! PostgreSQL: a plain pool.

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, Postgres as Driver};
use sqlx::{Connection, Transaction};

use crate::query::Shape;
use crate::{Options, Sql, SqlError};

/// A connection that was used a moment ago is taken to be alive; an older one is asked first. Asking each time would add a
/// round trip to every statement, not asking at all would fail requests after each restart of the server.
const FRESH: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Postgres {
    pool: PgPool,
}

#[derive(Debug)]
pub(crate) struct PostgresTx {
    inner: Transaction<'static, Driver>,
    /// A statement failed or was abandoned. PostgreSQL would answer COMMIT with a silent rollback.
    failed: bool,
}

impl Postgres {
    pub(crate) async fn connect(url: &str, options: &Options) -> Result<Self, SqlError> {
        let mut connect = PgConnectOptions::from_str(url)
            .map_err(|error| SqlError::from(&error))?
            .statement_cache_capacity(512);
        if connect.get_application_name().is_none() {
            connect = connect.application_name(&options.application_name);
        }
        let pool = PgPoolOptions::new()
            .max_connections(options.postgres_connections.max(1))
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(Some(Duration::from_mins(10)))
            .max_lifetime(Some(Duration::from_hours(1)))
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move { Ok(meta.idle_for < FRESH || connection.ping().await.is_ok()) })
            })
            .connect_with(connect)
            .await
            .map_err(|error| SqlError::from(&error))?;
        Ok(Self { pool })
    }

    pub(crate) async fn run<S: Shape>(&self, sql: Sql, args: PgArguments) -> Result<S::Answer, SqlError> {
        let mut connection = self.pool.acquire().await.map_err(|error| SqlError::from(&error))?;
        S::postgres(&mut connection, sql.texts().postgres, args)
            .await
            .map_err(|error| SqlError::of(sql, &error))
    }

    pub(crate) async fn begin(&self) -> Result<PostgresTx, SqlError> {
        let inner = self.pool.begin().await.map_err(|error| SqlError::from(&error))?;
        Ok(PostgresTx { inner, failed: false })
    }

    pub(crate) async fn migrate(&self, migrator: &Migrator) -> Result<(), SqlError> {
        // Takes an advisory lock, so that nodes that start together migrate one after the other. A connection of its own: if
        // this future is dropped, the lock goes with it.
        let mut connection = self
            .pool
            .acquire()
            .await
            .map_err(|error| SqlError::from(&error))?
            .detach();
        let outcome = migrator.run_direct(None, &mut connection, false).await;
        if let Err(error) = connection.close().await {
            tracing::debug!(%error, "the migration's connection did not close cleanly");
        }
        outcome.map_err(|error| crate::migrate::error(&error))
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

impl PostgresTx {
    pub(crate) async fn run<S: Shape>(&mut self, sql: Sql, args: PgArguments) -> Result<S::Answer, SqlError> {
        if self.failed {
            return Err(SqlError::Aborted);
        }
        self.failed = true;
        let answer = S::postgres(&mut self.inner, sql.texts().postgres, args)
            .await
            .map_err(|error| SqlError::of(sql, &error))?;
        self.failed = false;
        Ok(answer)
    }

    pub(crate) async fn commit(self) -> Result<(), SqlError> {
        if self.failed {
            return Err(SqlError::Aborted);
        }
        self.inner.commit().await.map_err(|error| SqlError::from(&error))
    }
}
