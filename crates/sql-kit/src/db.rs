//! The database, whichever it is.

use std::sync::Arc;
use std::time::Duration;

use crate::arg;
use crate::meter::{Meter, Work};
use crate::migrate::HAS_TABLE;
use crate::postgres::{Postgres, PostgresTx};
use crate::query::{All, Count, First, Record, Shape};
use crate::sqlite::{Sqlite, SqliteTx};
use crate::{Arg, Migrations, Sql, SqlError, args, sql};

const PING: Sql = sql!("SELECT 1");

/// A database. Cheap to clone; clones share connections.
#[derive(Debug, Clone)]
pub struct Db(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    engine: Engine,
    meter: Meter,
}

#[derive(Debug)]
enum Engine {
    Sqlite(Box<Sqlite>),
    Postgres(Postgres),
}

/// A transaction. [`Tx::commit`] makes it durable; dropped without, also in the middle of a statement, it is rolled back.
///
/// An error ends it on every engine: later statements and the commit answer [`SqlError::Aborted`]. On SQLite it holds the only
/// writer from `begin` on, so the same task must not write through [`Db`] meanwhile: it would wait for itself.
#[derive(Debug)]
pub struct Tx(Inner);

#[derive(Debug)]
enum Inner {
    Sqlite(SqliteTx),
    Postgres(PostgresTx),
}

/// Which SQL a database speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// What for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Use,
    Look,
}

/// How to connect. The defaults suit a service.
#[derive(Debug, Clone)]
pub struct Options {
    /// Read connections to a SQLite file.
    pub sqlite_readers: usize,
    /// Connections to PostgreSQL.
    pub postgres_connections: u32,
    /// How long a statement waits for a connection, or for the SQLite writer.
    pub acquire_timeout: Duration,
    /// How long PostgreSQL works on one statement. Half of it may go into waiting for a lock; a server that has not answered
    /// after one and a half of it is taken to be unavailable. A SQLite connection is given up when it has not answered for
    /// as long after its busy timeout.
    pub statement_timeout: Duration,
    /// How long SQLite waits for another process that writes.
    pub busy_timeout: Duration,
    /// How many SQLite transactions share one COMMIT at most.
    pub group_limit: usize,
    /// What PostgreSQL's administrators see.
    pub application_name: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            sqlite_readers: 4,
            postgres_connections: 16,
            acquire_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(8),
            busy_timeout: Duration::from_secs(5),
            group_limit: 64,
            application_name: "hexgate".to_owned(),
        }
    }
}

impl Db {
    /// Connects to `sqlite://path` (directory and file are created), `sqlite::memory:` (private to this `Db`, gone with it) or
    /// `postgres://…`.
    ///
    /// # Errors
    /// An unknown scheme; a database that cannot be reached. The text never holds the URL, which may hold a password.
    pub async fn connect(url: &str, options: &Options) -> Result<Self, SqlError> {
        Self::open(url, options, Access::Use).await
    }

    /// Connects to a database that is there, to look at it and no more: no file is created, and changes are refused.
    ///
    /// # Errors
    /// As [`Db::connect`]; a file that does not exist.
    pub async fn look_at(url: &str, options: &Options) -> Result<Self, SqlError> {
        Self::open(url, options, Access::Look).await
    }

    async fn open(url: &str, options: &Options, access: Access) -> Result<Self, SqlError> {
        let engine = match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") => Engine::Sqlite(Box::new(Sqlite::open(url, options, access).await?)),
            Some("postgres" | "postgresql") => Engine::Postgres(Postgres::connect(url, options, access).await?),
            _ => {
                return Err(SqlError::Other(
                    "the database URL must begin with sqlite: or postgres:".into(),
                ));
            }
        };
        let meter = Meter::new();
        Ok(Self(Arc::new(Shared { engine, meter })))
    }

    /// Which SQL the database speaks, for the rare statement that no [`Sql`] covers.
    pub fn dialect(&self) -> Dialect {
        match &self.0.engine {
            Engine::Sqlite(_) => Dialect::Sqlite,
            Engine::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Applies the steps that are missing, under a lock that other processes respect.
    ///
    /// # Errors
    /// A step that fails, or one that was applied but is unknown or was changed since.
    pub async fn migrate(&self, migrations: &Migrations) -> Result<(), SqlError> {
        let migrator = migrations.migrator(self.dialect())?;
        match &self.0.engine {
            Engine::Sqlite(db) => db.migrate(&migrator).await,
            Engine::Postgres(db) => db.migrate(&migrator).await,
        }
    }

    /// The names of the steps that [`Db::migrate`] would apply.
    ///
    /// # Errors
    /// A step that was applied but is unknown or was changed since.
    pub async fn missing(&self, migrations: &Migrations) -> Result<Vec<&'static str>, SqlError> {
        let (tables,): (i64,) = self.one(HAS_TABLE, args![migrations.history.table]).await?;
        let applied: Vec<(i64, Vec<u8>)> = match tables {
            0 => Vec::new(),
            _ => self.all(migrations.history.applied, args![]).await?,
        };
        migrations.missing(self.dialect(), &applied)
    }

    /// Asks the database whether it answers.
    pub async fn ping(&self) -> Result<(), SqlError> {
        self.run::<Count>(PING, args![]).await.map(drop)
    }

    /// Lets running statements end, then closes every connection. Later statements answer [`SqlError::Unavailable`].
    pub async fn close(&self) {
        match &self.0.engine {
            Engine::Sqlite(db) => db.close().await,
            Engine::Postgres(db) => db.close().await,
        }
    }

    /// Begins a transaction that may write.
    pub async fn begin(&self) -> Result<Tx, SqlError> {
        self.0.meter.count_transaction();
        Ok(Tx(match &self.0.engine {
            Engine::Sqlite(db) => Inner::Sqlite(db.begin().await?),
            Engine::Postgres(db) => Inner::Postgres(db.begin().await?),
        }))
    }

    /// Runs a statement by itself and counts the rows that it changed. Durable when answered.
    ///
    /// Dropped before it has answered, it may or may not take effect: on SQLite the statement stays in the group that it has
    /// joined, on PostgreSQL it is on its way to the server. Only a [`Tx`] that is dropped leaves nothing; and what must be done
    /// although its caller goes away belongs in a task.
    ///
    /// # Errors
    /// Nothing was changed, with the exception that [`Tx::commit`] names.
    pub async fn execute(&self, sql: Sql, args: impl IntoIterator<Item = Arg>) -> Result<u64, SqlError> {
        self.run::<Count>(sql, args).await
    }

    /// Runs a statement by itself; its first row.
    ///
    /// # Errors
    /// [`SqlError::NoRow`] if there is none.
    pub async fn one<R: Record>(&self, sql: Sql, args: impl IntoIterator<Item = Arg>) -> Result<R, SqlError> {
        self.optional(sql, args).await?.ok_or(SqlError::NoRow(sql.table()))
    }

    /// Runs a statement by itself; its first row, if any.
    pub async fn optional<R: Record>(
        &self,
        sql: Sql,
        args: impl IntoIterator<Item = Arg>,
    ) -> Result<Option<R>, SqlError> {
        self.run::<First<R>>(sql, args).await
    }

    /// Runs a statement by itself; all its rows. Page with LIMIT.
    pub async fn all<R: Record>(&self, sql: Sql, args: impl IntoIterator<Item = Arg>) -> Result<Vec<R>, SqlError> {
        self.run::<All<R>>(sql, args).await
    }

    /// What was asked of the database so far.
    pub fn work(&self) -> Work {
        self.0.meter.read()
    }

    async fn run<S: Shape>(&self, sql: Sql, args: impl IntoIterator<Item = Arg>) -> Result<S::Answer, SqlError> {
        self.0.meter.count(sql);
        match &self.0.engine {
            Engine::Sqlite(db) => match arg::sqlite(sql, args)? {
                Some(args) => db.run::<S>(sql, args).await,
                None => Ok(S::nothing()),
            },
            Engine::Postgres(db) => match arg::postgres(sql, args)? {
                Some(args) => db.run::<S>(sql, args).await,
                None => Ok(S::nothing()),
            },
        }
    }
}

impl Tx {
    /// Runs a statement and counts the rows that it changed.
    pub async fn execute(&mut self, sql: Sql, args: impl IntoIterator<Item = Arg>) -> Result<u64, SqlError> {
        self.run::<Count>(sql, args).await
    }

    /// Runs a statement; its first row.
    ///
    /// # Errors
    /// [`SqlError::NoRow`] if there is none; that alone does not end the transaction.
    pub async fn one<R: Record>(&mut self, sql: Sql, args: impl IntoIterator<Item = Arg>) -> Result<R, SqlError> {
        self.optional(sql, args).await?.ok_or(SqlError::NoRow(sql.table()))
    }

    /// Runs a statement; its first row, if any.
    pub async fn optional<R: Record>(
        &mut self,
        sql: Sql,
        args: impl IntoIterator<Item = Arg>,
    ) -> Result<Option<R>, SqlError> {
        self.run::<First<R>>(sql, args).await
    }

    /// Runs a statement; all its rows. Page with LIMIT.
    pub async fn all<R: Record>(&mut self, sql: Sql, args: impl IntoIterator<Item = Arg>) -> Result<Vec<R>, SqlError> {
        self.run::<All<R>>(sql, args).await
    }

    /// Makes the transaction durable.
    ///
    /// # Errors
    /// Nothing was saved, with one exception that no database can exclude: a connection that broke while COMMIT was on its way.
    pub async fn commit(self) -> Result<(), SqlError> {
        match self.0 {
            Inner::Sqlite(tx) => tx.commit().await,
            Inner::Postgres(tx) => tx.commit().await,
        }
    }

    async fn run<S: Shape>(&mut self, sql: Sql, args: impl IntoIterator<Item = Arg>) -> Result<S::Answer, SqlError> {
        match &mut self.0 {
            Inner::Sqlite(tx) => match arg::sqlite(sql, args)? {
                Some(args) => tx.run::<S>(sql, args).await,
                None => Ok(S::nothing()),
            },
            Inner::Postgres(tx) => match arg::postgres(sql, args)? {
                Some(args) => tx.run::<S>(sql, args).await,
                None => Ok(S::nothing()),
            },
        }
    }
}
