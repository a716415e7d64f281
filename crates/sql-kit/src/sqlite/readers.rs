//! A few read connections. sqlx's own pool asks a connection how it is each time it comes back, which for SQLite doubles
//! the cost of a small read; an idle connection to a file cannot go stale, so this one does not.

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{answered, is_lost, open, patience, shut};
use crate::query::Shape;
use crate::{Options, Sql, SqlError};

pub(super) struct Readers {
    permits: Semaphore,
    /// At most as many as there are permits; the one used last is used first, its cache is warm.
    idle: Mutex<Vec<SqliteConnection>>,
    options: SqliteConnectOptions,
    acquire_timeout: Duration,
    busy_timeout: Duration,
    /// How long an answer may take.
    patience: Duration,
}

/// A borrowed connection; goes back when dropped. That is sound at any await point: its thread finishes or abandons an
/// unfinished statement before it takes the next one, and outside a transaction nothing else is left behind.
struct Reading<'a> {
    readers: &'a Readers,
    connection: Option<SqliteConnection>,
    _permit: SemaphorePermit<'a>,
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers")
            .field("free", &self.permits.available_permits())
            .finish_non_exhaustive()
    }
}

impl Readers {
    pub(super) async fn open(connect: SqliteConnectOptions, options: &Options) -> Result<Self, SqlError> {
        // The first one tells whether the file can be read; the others open when they are needed.
        let first = open(&connect, options.busy_timeout).await?;
        Ok(Self {
            permits: Semaphore::new(options.sqlite_readers.max(1)),
            idle: Mutex::new(vec![first]),
            options: connect,
            acquire_timeout: options.acquire_timeout,
            busy_timeout: options.busy_timeout,
            patience: patience(options),
        })
    }

    pub(super) async fn run<S: Shape>(&self, sql: Sql, args: SqliteArguments) -> Result<S::Answer, SqlError> {
        let mut reading = self.take().await?;
        let connection = match &mut reading.connection {
            Some(connection) => connection,
            none => none.insert(open(&self.options, self.busy_timeout).await?),
        };
        let answer = answered(self.patience, S::sqlite(connection, sql.texts().plain, args)).await;
        if answer.as_ref().is_err_and(is_lost) {
            reading.connection = None;
        }
        answer.map_err(|error| SqlError::of(sql, &error))
    }

    async fn take(&self) -> Result<Reading<'_>, SqlError> {
        let permit = match self.permits.try_acquire() {
            Ok(permit) => permit,
            Err(_) => tokio::time::timeout(self.acquire_timeout, self.permits.acquire())
                .await
                .map_err(|_| SqlError::Busy("no read connection became free in time".into()))?
                .map_err(|_| SqlError::Unavailable("the database is closed".into()))?,
        };
        let connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Reading {
            readers: self,
            connection,
            _permit: permit,
        })
    }

    pub(super) async fn close(&self) {
        self.permits.close();
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in idle {
            shut(connection).await;
        }
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        // After a close nobody takes a connection from the shelf any more; dropping one closes it.
        if let Some(connection) = self.connection.take()
            && !self.readers.permits.is_closed()
        {
            self.readers
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(connection);
        }
    }
}
