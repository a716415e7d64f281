//! The one connection that writes, and group commit on it.
//!
//! SQLite has one writer at a time, and a durable COMMIT waits for the disk. So the writer is handed from transaction to
//! transaction under a fair lock (the *line*), and all of them share one `BEGIN IMMEDIATE … COMMIT`: the *group*.
//!
//! - The first member of a group opens it; each later one works in a savepoint of its own. A single statement that is
//!   atomic by itself needs none.
//! - A member that commits passes the line on at once and waits for the group's COMMIT. The member that finds nobody
//!   waiting for the line, or the group at its limit of turns, has it run. If COMMIT fails, every member is told.
//! - A member that goes without commit is rolled back before the line is passed on.
//!
//! Two things keep that right when futures are dropped at any await point. COMMIT and clean-up run in tasks of their own,
//! which own the line while they run, so nobody can abandon them half-way. And whoever stops waiting for the line sends a
//! task in his place, because a member may have counted on him to finish the group.
//!
//! BEGIN and SAVEPOINT travel with the member's first statement, and the RELEASE of a finished member with the next
//! member's first: every message to the connection's thread costs two thread switches, more than a small statement itself.
//! Savepoint names alternate, so that `ROLLBACK TO` can never hit the finished neighbour when it is unknown how far a
//! dropped message got.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Executor};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, OwnedMutexGuard, oneshot};

use super::{answered, is_lost, open, patience, primary_code, shut};
use crate::query::Shape;
use crate::{Options, Sql, SqlError};

/// The writer connection and the line of those who want it.
pub(super) struct Writer {
    line: Arc<Mutex<Line>>,
    /// How many wait for the line and will use it.
    wanting: AtomicUsize,
    group_limit: usize,
    acquire_timeout: Duration,
    busy_timeout: Duration,
    /// Where COMMIT and clean-up run. They end by themselves within a few statements, and [`Writer::close`] waits for them
    /// as it waits for the line, so they are not the services' background work.
    runtime: Handle,
}

/// What the holder of the line may use.
struct Line {
    /// None after a close, or after a fault that left its state unknown: the next holder opens it anew.
    connection: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    /// How long an answer may take.
    patience: Duration,
    closed: bool,
    /// Whether the group's BEGIN was sent.
    open: bool,
    /// The savepoint that the last finished member left on the stack.
    top: Savepoint,
    /// How many have had their turn since then, whether they left work behind or not.
    turns: usize,
    /// Members that finished and wait for COMMIT.
    finished: Vec<oneshot::Sender<Result<(), SqlError>>>,
    /// True while it is unknown what the connection holds. Only a task that died finds it set.
    dirty: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Savepoint {
    None,
    A,
    B,
}

/// How the holder of the line stands to the group, which says how he is undone.
#[derive(Clone, Copy)]
enum Entry {
    /// Has sent nothing, or nothing that needs undoing.
    Untouched,
    /// Opened the group and is alone in it.
    First,
    /// Works in this savepoint; the other one was on the stack before.
    Within { own: Savepoint, before: Savepoint },
    /// Ran a single statement in the open group.
    Joined,
}

/// The right to use the line. Dropping it cleans up behind its holder and passes the line on.
struct Turn {
    writer: Arc<Writer>,
    line: Option<OwnedMutexGuard<Line>>,
    entry: Entry,
}

/// A transaction: a member of a group.
pub(crate) struct SqliteTx {
    turn: Turn,
    /// A statement failed or was abandoned: nothing of this transaction may be saved.
    failed: bool,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("wanting", &self.wanting)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SqliteTx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteTx")
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) async fn open(connect: SqliteConnectOptions, options: &Options) -> Result<Arc<Self>, SqlError> {
        let line = Line {
            connection: Some(open(&connect, options.busy_timeout).await?),
            options: connect,
            patience: patience(options),
            closed: false,
            open: false,
            top: Savepoint::None,
            turns: 0,
            finished: Vec::new(),
            dirty: false,
        };
        Ok(Arc::new(Self {
            line: Arc::new(Mutex::new(line)),
            wanting: AtomicUsize::new(0),
            group_limit: options.group_limit.max(1),
            acquire_timeout: options.acquire_timeout,
            busy_timeout: options.busy_timeout,
            runtime: Handle::current(),
        }))
    }

    pub(super) async fn begin(self: &Arc<Self>) -> Result<SqliteTx, SqlError> {
        Ok(SqliteTx {
            turn: self.turn().await?,
            failed: false,
        })
    }

    /// Runs one statement by itself. A read is answered at once (only a database in memory reads here), a change when the
    /// group that it joined is durable.
    pub(super) async fn run<S: Shape>(
        self: &Arc<Self>,
        sql: Sql,
        args: SqliteArguments,
    ) -> Result<S::Answer, SqlError> {
        let mut turn = self.turn().await?;
        let text = turn.enter_alone(sql)?;
        match turn.ask::<S>(text, args).await {
            Ok(answer) if sql.texts().reads_only => {
                turn.leave_untouched();
                Ok(answer)
            }
            Ok(answer) => {
                turn.finish().await?;
                Ok(answer)
            }
            Err(error) => {
                if is_constraint(&error) && matches!(turn.entry, Entry::Joined) {
                    // SQLite undid the statement and nothing else.
                    turn.leave_untouched();
                }
                Err(SqlError::of(sql, &error))
            }
        }
    }

    pub(super) async fn migrate(self: &Arc<Self>, migrator: &Migrator) -> Result<(), SqlError> {
        let mut turn = self.turn().await?;
        let Some(line) = turn.line.as_mut() else {
            return Err(SqlError::Aborted);
        };
        line.commit().await;
        // Set back only at the end: if this future is dropped, the next holder opens a fresh connection.
        line.dirty = true;
        let connection = line.connection.as_mut().ok_or_else(closed)?;
        let outcome = apply(connection, migrator).await;
        line.dirty = false;
        outcome
    }

    pub(super) async fn close(&self) {
        let mut line = self.line.lock().await;
        line.closed = true;
        if line.dirty {
            line.discard("the writer was interrupted");
        }
        line.commit().await;
        if let Some(connection) = line.connection.take() {
            shut(connection).await;
        }
    }

    /// Waits for the line.
    async fn turn(self: &Arc<Self>) -> Result<Turn, SqlError> {
        let line = match Arc::clone(&self.line).try_lock_owned() {
            Ok(line) => line,
            Err(_) => self.wait().await?,
        };
        let mut turn = Turn {
            writer: Arc::clone(self),
            line: Some(line),
            entry: Entry::Untouched,
        };
        if let Some(line) = turn.line.as_mut() {
            if line.dirty {
                line.discard("the writer was interrupted");
            }
            if line.closed {
                return Err(closed());
            }
            if line.connection.is_none() {
                line.connection = Some(open(&line.options, self.busy_timeout).await?);
            }
        }
        Ok(turn)
    }

    async fn wait(self: &Arc<Self>) -> Result<OwnedMutexGuard<Line>, SqlError> {
        let mut wish = Wish::new(self);
        let line = tokio::time::timeout(self.acquire_timeout, Arc::clone(&self.line).lock_owned())
            .await
            .map_err(|_| SqlError::Busy("the writer did not become free in time".into()))?;
        wish.granted();
        Ok(line)
    }

    /// Ends the group or passes the line on to whoever waits for it. Turns are counted, not commits: members who wait for
    /// COMMIT must not wait behind an endless row of others who roll back.
    fn pass_on(self: Arc<Self>, mut line: OwnedMutexGuard<Line>) {
        line.turns += 1;
        let full = line.turns >= self.group_limit;
        if line.open && (full || self.wanting.load(Ordering::SeqCst) == 0) {
            let runtime = self.runtime.clone();
            runtime.spawn(async move { line.commit().await });
        }
    }
}

/// Counts one who waits for the line.
struct Wish<'a> {
    writer: &'a Arc<Writer>,
    granted: bool,
}

impl<'a> Wish<'a> {
    fn new(writer: &'a Arc<Writer>) -> Self {
        writer.wanting.fetch_add(1, Ordering::SeqCst);
        Self { writer, granted: false }
    }

    fn granted(&mut self) {
        self.granted = true;
    }
}

impl Drop for Wish<'_> {
    fn drop(&mut self) {
        self.writer.wanting.fetch_sub(1, Ordering::SeqCst);
        if !self.granted {
            // A member may have left the group open for this one to finish.
            let writer = Arc::clone(self.writer);
            self.writer.runtime.spawn(async move {
                let line = Arc::clone(&writer.line).lock_owned().await;
                writer.pass_on(line);
            });
        }
    }
}

impl Turn {
    /// Runs a statement on the connection, and gives the connection up if it is lost.
    async fn ask<S: Shape>(&mut self, text: &'static str, args: SqliteArguments) -> Result<S::Answer, sqlx::Error> {
        let line = self.line.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let patience = line.patience;
        let connection = line.connection.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        let answer = answered(patience, S::sqlite(connection, text, args)).await;
        if answer.as_ref().is_err_and(is_lost) {
            line.connection = None;
        }
        answer
    }

    /// The text that runs `sql` as the next statement of a transaction. Its first statement opens its place in the group.
    fn enter(&mut self, sql: Sql) -> Result<&'static str, SqlError> {
        let line = self.line.as_mut().ok_or_else(closed)?;
        let texts = sql.texts();
        let Entry::Untouched = self.entry else {
            return Ok(texts.plain);
        };
        line.dirty = true;
        if !line.open {
            line.begin();
            self.entry = Entry::First;
            return Ok(texts.begin);
        }
        let (own, text) = match line.top {
            Savepoint::None => (Savepoint::A, texts.savepoint_a),
            Savepoint::A => (Savepoint::B, texts.a_to_b),
            Savepoint::B => (Savepoint::A, texts.b_to_a),
        };
        self.entry = Entry::Within { own, before: line.top };
        Ok(text)
    }

    /// The text that runs `sql` as a member of its own.
    fn enter_alone(&mut self, sql: Sql) -> Result<&'static str, SqlError> {
        let line = self.line.as_mut().ok_or_else(closed)?;
        let texts = sql.texts();
        if texts.reads_only {
            return Ok(texts.plain);
        }
        line.dirty = true;
        if line.open {
            self.entry = Entry::Joined;
            return Ok(texts.plain);
        }
        line.begin();
        self.entry = Entry::First;
        Ok(texts.begin)
    }

    /// Leaves without anything to save or to undo.
    fn leave_untouched(mut self) {
        self.entry = Entry::Untouched;
        if let Some(line) = self.line.as_mut() {
            line.dirty = false;
        }
    }

    /// Leaves the work in the group, passes the line on and waits for COMMIT.
    async fn finish(mut self) -> Result<(), SqlError> {
        let (done, outcome) = oneshot::channel();
        {
            let line = self.line.as_mut().ok_or_else(closed)?;
            match self.entry {
                Entry::Untouched => return Ok(()),
                Entry::First => line.top = Savepoint::None,
                Entry::Within { own, .. } => line.top = own,
                Entry::Joined => {}
            }
            line.finished.push(done);
            line.dirty = false;
        }
        self.entry = Entry::Untouched;
        drop(self);
        outcome
            .await
            .unwrap_or_else(|_| Err(SqlError::Unavailable("the writer was interrupted".into())))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(mut line) = self.line.take() else { return };
        let writer = Arc::clone(&self.writer);
        let entry = self.entry;
        if matches!(entry, Entry::Untouched) {
            writer.pass_on(line);
            return;
        }
        let runtime = writer.runtime.clone();
        runtime.spawn(async move {
            line.undo(entry).await;
            line.dirty = false;
            writer.pass_on(line);
        });
    }
}

impl Line {
    fn begin(&mut self) {
        self.open = true;
        self.turns = 0;
    }

    /// COMMITs the group, if there is one, and tells its members.
    async fn commit(&mut self) {
        if !self.open {
            return;
        }
        self.dirty = true;
        let outcome = match self.send("COMMIT").await {
            Ok(()) => Ok(()),
            Err(error) => {
                self.end_transaction().await;
                Err(SqlError::from(&error))
            }
        };
        self.answer(&outcome);
        self.dirty = false;
    }

    /// Undoes what the holder of the line did, and nothing else.
    async fn undo(&mut self, entry: Entry) {
        match entry {
            Entry::Untouched => {}
            Entry::First => {
                self.end_transaction().await;
                self.answer(&Err(SqlError::Unavailable("the transaction was rolled back".into())));
            }
            Entry::Within { own, before } => {
                if self.send(rollback_to(own)).await.is_ok() {
                    // Still on the stack, and as it was when it was set: as good as a finished member's.
                    self.top = own;
                    return;
                }
                // The message was dropped before the savepoint was set, or SQLite has given up the whole transaction.
                if self.is_in_transaction().await {
                    // Fails if the message got as far as this; then the stack is as wanted.
                    let _ = self.send(release(before)).await;
                    self.top = Savepoint::None;
                }
            }
            Entry::Joined => {
                self.is_in_transaction().await;
            }
        }
    }

    /// After a full disk or an I/O error SQLite may have rolled back the whole transaction by itself; then the members that
    /// finished are lost and must hear it.
    async fn is_in_transaction(&mut self) -> bool {
        match self.send("BEGIN").await {
            Err(sqlx::Error::Database(_)) => true, // "cannot start a transaction within a transaction"
            Ok(()) => {
                self.end_transaction().await;
                self.answer(&Err(SqlError::Unavailable(
                    "the database gave up the transaction".into(),
                )));
                false
            }
            Err(_) => {
                self.discard("the connection was lost");
                false
            }
        }
    }

    /// Makes sure that no transaction is open, by a new connection if need be.
    async fn end_transaction(&mut self) {
        if self.send("ROLLBACK").await.is_ok() {
            return;
        }
        // Nothing to roll back? Then a transaction can be started, and ended.
        let ended = match self.send("BEGIN").await {
            Ok(()) => self.send("ROLLBACK").await.is_ok(),
            Err(_) => false,
        };
        if !ended {
            self.connection = None;
        }
    }

    /// Gives up the connection, and with it whatever was not committed.
    fn discard(&mut self, reason: &str) {
        self.connection = None;
        self.answer(&Err(SqlError::Unavailable(reason.to_owned())));
        self.dirty = false;
    }

    /// Tells every finished member how the group ended; the next one starts afresh.
    fn answer(&mut self, outcome: &Result<(), SqlError>) {
        self.open = false;
        self.top = Savepoint::None;
        self.turns = 0;
        for member in self.finished.drain(..) {
            // A member who no longer listens does not mind.
            let _ = member.send(outcome.clone());
        }
    }

    async fn send(&mut self, text: &'static str) -> Result<(), sqlx::Error> {
        let patience = self.patience;
        let connection = self.connection.as_mut().ok_or(sqlx::Error::WorkerCrashed)?;
        // With arguments, if none: only such statements are kept prepared.
        let answer = answered(patience, connection.execute(sqlx::query(text))).await;
        if matches!(answer, Err(sqlx::Error::WorkerCrashed)) {
            self.connection = None;
        }
        answer.map(drop)
    }
}

impl SqliteTx {
    pub(crate) async fn run<S: Shape>(&mut self, sql: Sql, args: SqliteArguments) -> Result<S::Answer, SqlError> {
        if self.failed {
            return Err(SqlError::Aborted);
        }
        // Stays so if the statement fails, as on PostgreSQL, or if this future is dropped before it has answered.
        self.failed = true;
        let text = self.turn.enter(sql)?;
        let answer = self
            .turn
            .ask::<S>(text, args)
            .await
            .map_err(|error| SqlError::of(sql, &error))?;
        self.failed = false;
        Ok(answer)
    }

    pub(crate) async fn commit(self) -> Result<(), SqlError> {
        if self.failed {
            return Err(SqlError::Aborted);
        }
        self.turn.finish().await
    }
}

async fn apply(connection: &mut SqliteConnection, migrator: &Migrator) -> Result<(), SqlError> {
    let mut tx = connection
        .begin_with("BEGIN IMMEDIATE")
        .await
        .map_err(|error| SqlError::from(&error))?;
    migrator
        .run_direct(None, &mut *tx, false)
        .await
        .map_err(|error| crate::migrate::error(&error))?;
    tx.commit().await.map_err(|error| SqlError::from(&error))
}

fn rollback_to(savepoint: Savepoint) -> &'static str {
    match savepoint {
        Savepoint::A | Savepoint::None => "ROLLBACK TO a",
        Savepoint::B => "ROLLBACK TO b",
    }
}

fn release(savepoint: Savepoint) -> &'static str {
    match savepoint {
        Savepoint::A | Savepoint::None => "RELEASE a",
        Savepoint::B => "RELEASE b",
    }
}

fn closed() -> SqlError {
    SqlError::Unavailable("the database is closed".into())
}

fn is_constraint(error: &sqlx::Error) -> bool {
    // SQLITE_CONSTRAINT
    error
        .as_database_error()
        .is_some_and(|fault| primary_code(fault) == Some(19))
}
