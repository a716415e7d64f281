//! PostgreSQL: a pool whose connections answer in time or are given up.
//!
//! The server ends a statement, a wait for a lock and an idle transaction by itself; a server that has stopped answering at
//! all (stopped, cut off, failing over) cannot, so every step has a deadline on this side too. A connection that missed it
//! is closed, since nobody knows what it would answer next.

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, PgPoolOptions, Postgres as Driver};
use sqlx::{Connection, Executor};
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::db::Access;
use crate::query::Shape;
use crate::{Options, Sql, SqlError};

/// A connection that was used a moment ago is taken to be alive; an older one is asked first. Asking each time would add a
/// round trip to every statement, not asking at all would fail requests after each restart of the server.
const FRESH: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(crate) struct Postgres {
    pool: PgPool,
    deadline: Duration,
    runtime: Handle,
}

#[derive(Debug)]
pub(crate) struct PostgresTx {
    lease: Lease,
    /// A statement failed or was abandoned. PostgreSQL would answer COMMIT with a silent rollback.
    failed: bool,
}

/// A connection out of the pool, which goes back fit for the next user or not at all.
#[derive(Debug)]
struct Lease {
    connection: Option<PoolConnection<Driver>>,
    state: State,
    deadline: Duration,
    runtime: Handle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between statements, outside of a transaction.
    Clean,
    /// A statement by itself is under way.
    Busy,
    /// A transaction may be open.
    Open,
    /// It did not answer in time.
    Silent,
}

impl Postgres {
    pub(crate) async fn connect(url: &str, options: &Options, access: Access) -> Result<Self, SqlError> {
        let mut connect = PgConnectOptions::from_str(url)
            .map_err(|error| SqlError::from(&error))?
            .statement_cache_capacity(512);
        if connect.get_application_name().is_none() {
            connect = connect.application_name(&options.application_name);
        }
        connect = with_limits(connect, options.statement_timeout);
        if access == Access::Look {
            connect = connect.options([("default_transaction_read_only", "on")]);
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
        // Later than the server's own limit, so that a server that is only slow answers what went wrong.
        let deadline = options.statement_timeout * 3 / 2;
        Ok(Self {
            pool,
            deadline,
            runtime: Handle::current(),
        })
    }

    pub(crate) async fn run<S: Shape>(&self, sql: Sql, args: PgArguments) -> Result<S::Answer, SqlError> {
        let mut lease = self.lease().await?;
        lease.state = State::Busy;
        let answer = lease.run::<S>(sql, args).await;
        // A statement that was answered, with an error or without, leaves nothing behind.
        if lease.state == State::Busy {
            lease.state = State::Clean;
        }
        answer
    }

    pub(crate) async fn begin(&self) -> Result<PostgresTx, SqlError> {
        let mut lease = self.lease().await?;
        lease.state = State::Open;
        lease.send("BEGIN").await?;
        Ok(PostgresTx { lease, failed: false })
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
        // A step may rewrite a large table, and waits for the nodes before it.
        connection
            .execute("SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0")
            .await
            .map_err(|error| SqlError::from(&error))?;
        let outcome = migrator.run_direct(None, &mut connection, false).await;
        if let Err(error) = connection.close().await {
            tracing::debug!(%error, "the migration's connection did not close cleanly");
        }
        outcome.map_err(|error| crate::migrate::error(&error))
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }

    async fn lease(&self) -> Result<Lease, SqlError> {
        let connection = self.pool.acquire().await.map_err(|error| SqlError::from(&error))?;
        Ok(Lease {
            connection: Some(connection),
            state: State::Clean,
            deadline: self.deadline,
            runtime: self.runtime.clone(),
        })
    }
}

impl PostgresTx {
    pub(crate) async fn run<S: Shape>(&mut self, sql: Sql, args: PgArguments) -> Result<S::Answer, SqlError> {
        if self.failed {
            return Err(SqlError::Aborted);
        }
        self.failed = true;
        let answer = self.lease.run::<S>(sql, args).await?;
        self.failed = false;
        Ok(answer)
    }

    pub(crate) async fn commit(mut self) -> Result<(), SqlError> {
        if self.failed {
            return Err(SqlError::Aborted);
        }
        self.lease.send("COMMIT").await?;
        self.lease.state = State::Clean;
        Ok(())
    }
}

impl Lease {
    async fn run<S: Shape>(&mut self, sql: Sql, args: PgArguments) -> Result<S::Answer, SqlError> {
        let connection = self.connection.as_mut().ok_or_else(silent)?;
        match timeout(self.deadline, S::postgres(connection, sql.texts().postgres, args)).await {
            Ok(answer) => answer.map_err(|error| SqlError::of(sql, &error)),
            Err(_) => Err(self.give_up()),
        }
    }

    async fn send(&mut self, text: &'static str) -> Result<(), SqlError> {
        let connection = self.connection.as_mut().ok_or_else(silent)?;
        match timeout(self.deadline, connection.execute(text)).await {
            Ok(answer) => answer.map(drop).map_err(|error| SqlError::from(&error)),
            Err(_) => Err(self.give_up()),
        }
    }

    fn give_up(&mut self) -> SqlError {
        self.state = State::Silent;
        silent()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        match self.state {
            // Goes back by itself.
            State::Clean => {}
            State::Silent => connection.close_on_drop(),
            state @ (State::Busy | State::Open) => {
                let deadline = self.deadline;
                self.runtime.spawn(async move {
                    // Each waits first for the statement that is under way.
                    let settled = async {
                        match state {
                            State::Open => connection.execute("ROLLBACK").await.is_ok(),
                            _ => connection.ping().await.is_ok(),
                        }
                    };
                    if timeout(deadline, settled).await != Ok(true) {
                        connection.close_on_drop();
                    }
                });
            }
        }
    }
}

/// Limits that the server keeps, unless the URL sets its own.
fn with_limits(connect: PgConnectOptions, statement_timeout: Duration) -> PgConnectOptions {
    let own = connect.get_options().unwrap_or_default().to_owned();
    let limits = [
        ("statement_timeout", statement_timeout),
        // Shorter, so that whoever waits for a lock hears that, and not that his statement took long.
        ("lock_timeout", statement_timeout / 2),
        // A node that was cut off in the middle of a transaction must not hold its locks until TCP gives up.
        ("idle_in_transaction_session_timeout", statement_timeout * 3),
    ];
    let missing = limits.into_iter().filter(|(name, _)| !own.contains(name));
    connect.options(missing.map(|(name, limit)| (name, limit.as_millis())))
}

fn silent() -> SqlError {
    SqlError::Unavailable("PostgreSQL did not answer in time".into())
}
