//! SQLite: one writer connection with group commit, a few read connections beside it.

mod readers;
mod writer;

use std::fs;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

use crate::db::Access;
use crate::query::Shape;
use crate::{Options, Sql, SqlError};
use readers::Readers;
pub(crate) use writer::SqliteTx;
use writer::Writer;

/// A SQLite database, in a file or in memory.
#[derive(Debug)]
pub(crate) struct Sqlite {
    writer: Arc<Writer>,
    /// None for a database in memory: it lives in the writer's connection alone, which reads too.
    readers: Option<Readers>,
}

impl Sqlite {
    pub(crate) async fn open(url: &str, options: &Options, access: Access) -> Result<Self, SqlError> {
        let base = SqliteConnectOptions::from_str(url).map_err(|error| SqlError::from(&error))?;
        if is_memory(url) {
            let alone = tuned(SqliteConnectOptions::new(), options);
            return Ok(Self {
                writer: Writer::open(alone, options).await?,
                readers: None,
            });
        }
        let path = base.get_filename().to_owned();
        let file = tuned(base, options);
        let reading = file.clone().pragma("query_only", "ON");
        let writing = match access {
            Access::Look => {
                fs::metadata(&path)
                    .map_err(|error| SqlError::Unavailable(format!("cannot open {}: {error}", path.display())))?;
                reading.clone()
            }
            Access::Use => {
                create_file(&path)
                    .map_err(|error| SqlError::Unavailable(format!("cannot create {}: {error}", path.display())))?;
                log_keeping(file)
            }
        };
        // The writer first: it creates the log that the readers need.
        let writer = Writer::open(writing, options).await?;
        let readers = Readers::open(reading, options).await?;
        Ok(Self {
            writer,
            readers: Some(readers),
        })
    }

    /// Runs one statement by itself: on a read connection, or as a member of the writer's group.
    pub(crate) async fn run<S: Shape>(&self, sql: Sql, args: SqliteArguments) -> Result<S::Answer, SqlError> {
        match &self.readers {
            Some(readers) if sql.texts().reads_only => readers.run::<S>(sql, args).await,
            _ => self.writer.run::<S>(sql, args).await,
        }
    }

    pub(crate) async fn begin(&self) -> Result<SqliteTx, SqlError> {
        self.writer.begin().await
    }

    /// Applies the migrations as one transaction, which is their lock against other processes as well.
    pub(crate) async fn migrate(&self, migrator: &sqlx::migrate::Migrator) -> Result<(), SqlError> {
        self.writer.migrate(migrator).await
    }

    pub(crate) async fn close(&self) {
        if let Some(readers) = &self.readers {
            readers.close().await;
        }
        // Last, because the last connection to leave empties the log into the file.
        self.writer.close().await;
    }
}

fn is_memory(url: &str) -> bool {
    matches!(url, "sqlite::memory:" | "sqlite://:memory:")
}

fn tuned(base: SqliteConnectOptions, options: &Options) -> SqliteConnectOptions {
    base.foreign_keys(true)
        .busy_timeout(options.busy_timeout)
        .statement_cache_capacity(1024)
        .pragma("temp_store", "MEMORY")
        .create_if_missing(false)
}

/// How the file is written.
fn log_keeping(file: SqliteConnectOptions) -> SqliteConnectOptions {
    file.journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        // Fewer and longer checkpoints: each one rewrites a page once, however often the log holds it.
        .pragma("wal_autocheckpoint", "4000")
        .pragma("journal_size_limit", "67108864")
        .optimize_on_close(true, 400)
}

/// Creates directory and file. SQLite gives its log files the mode of the database file, so owner-only covers them all.
fn create_file(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent)?;
    }
    let mut open = fs::OpenOptions::new();
    open.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut open, 0o600);
    open.open(path).map(drop)
}

/// Opens a connection. Two processes that open a new file at once both switch it to the log mode, which needs a lock that
/// the busy timeout does not wait for; so waits here.
async fn open(options: &SqliteConnectOptions, patience: Duration) -> Result<SqliteConnection, SqlError> {
    let pause = Duration::from_millis(20);
    let mut waited = Duration::ZERO;
    loop {
        match options.connect().await.map_err(|error| SqlError::from(&error)) {
            Err(SqlError::Busy(_)) if waited < patience => {
                tokio::time::sleep(pause).await;
                waited += pause;
            }
            outcome => return outcome,
        }
    }
}

/// Waits for a connection's thread, within reason: a thread that dies answers what it was sent before, and what came in
/// while it was dying stays unanswered for good.
async fn answered<T>(patience: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    tokio::time::timeout(patience, work)
        .await
        .unwrap_or(Err(sqlx::Error::WorkerCrashed))
}

/// Longer than any statement may take: it may have to wait for another process first.
fn patience(options: &Options) -> Duration {
    options.busy_timeout + options.statement_timeout
}

/// Whether a connection is not to be used after this: its thread is dead, or about to die. It dies of a text of several
/// statements of which a later one cannot be prepared (`SQLITE_ERROR`), say because another process took the table away:
/// the driver answers, and panics when it resets them.
fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(fault) => primary_code(fault.as_ref()) == Some(1),
        _ => false,
    }
}

/// The low byte of a result code (<https://www.sqlite.org/rescode.html>); the rest tells variants of it apart.
fn primary_code(fault: &dyn DatabaseError) -> Option<i32> {
    let code: i32 = fault.code()?.parse().ok()?;
    Some(code & 0xff)
}

async fn shut(connection: SqliteConnection) {
    if let Err(error) = connection.close().await {
        tracing::warn!(%error, "a database connection did not close cleanly");
    }
}
