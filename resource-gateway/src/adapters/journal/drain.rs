//! From the journal to the database.

use std::{fs::File, io, io::Write as _, os::unix::fs::OpenOptionsExt as _, sync::Arc, sync::atomic::Ordering};

use tokio::{
    task::spawn_blocking,
    time::{Instant, timeout},
};

use super::{
    JournalOptions, Shared,
    home::{self, Home, Position},
    lock,
    tail::{Batch, Tail},
};
use crate::ports::{
    config_source::StoreError,
    usage::{UsageBatch, UsageStore},
};

/// Records that the database refuses for good, one JSON text per line, for a person to look at.
const REFUSED: &str = "refused.jsonl";

const PENDING_BYTES: &str = "gateway_usage_journal_bytes";
const REFUSED_RECORDS: &str = "gateway_usage_refused_records_total";

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
enum DrainError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the usage journal cannot be read: {0}")]
    Journal(#[from] io::Error),
}

/// Whether there may be more to hand over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Perhaps,
    Nothing,
}

/// What a round came to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Outcome {
    /// The database has everything of the own journal before this.
    pub(super) position: Position,
    /// Whether the disk must make up for the database.
    pub(super) flush_due: bool,
}

pub(super) struct Drain {
    own: Tail,
    adopted: Vec<Tail>,
    store: Arc<dyn UsageStore>,
    shared: Arc<Shared>,
    options: JournalOptions,
    next_adoption: Instant,
    next_sync: Instant,
    /// After an error the database is left alone for a while.
    resume_at: Instant,
    failures: u32,
}

impl Drain {
    pub(super) fn new(
        own: Arc<Home>,
        store: Arc<dyn UsageStore>,
        shared: Arc<Shared>,
        options: JournalOptions,
    ) -> Self {
        metrics::describe_gauge!(
            PENDING_BYTES,
            "Bytes of usage records that the database has not taken yet"
        );
        metrics::describe_counter!(REFUSED_RECORDS, "Usage records that the database refused for good");
        let now = Instant::now();
        Self {
            own: Tail::resume(own),
            adopted: Vec::new(),
            store,
            shared,
            options,
            next_adoption: now,
            next_sync: now,
            resume_at: now,
            failures: 0,
        }
    }

    /// One round, up to `end` of the own journal.
    pub(super) async fn turn(&mut self, end: Position) -> Outcome {
        let now = Instant::now();
        if now >= self.next_adoption {
            self.adopt();
            self.next_adoption = now + self.options.adopt_interval;
        }
        if now >= self.resume_at {
            let result = self.hand_over(end).await;
            self.note(result.err());
        }
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a float")]
        metrics::gauge!(PENDING_BYTES).set(self.shared.pending() as f64);
        let flush_due = self.failures > 0 && now >= self.next_sync;
        if flush_due {
            self.next_sync = now + self.options.sync_interval;
        }
        Outcome {
            position: self.own.position(),
            flush_due,
        }
    }

    #[cfg(test)]
    pub(super) fn own_segment(&self) -> std::path::PathBuf {
        self.own.home().segment_path(1)
    }

    /// Takes over what dead processes left.
    pub(super) fn adopt(&mut self) {
        let own = self.own.home().path().to_owned();
        let found = home::others(&self.options.dir, &own).unwrap_or_else(|error| {
            tracing::warn!(%error, "journals of dead processes cannot be looked for");
            Vec::new()
        });
        for path in found {
            if self.adopted.iter().any(|tail| tail.home().path() == path) {
                continue;
            }
            let adopted = Home::adopt(path).and_then(|home| {
                let tail = home.map(|home| Tail::resume(Arc::new(home)));
                let pending = tail.as_ref().map_or(Ok(0), Tail::pending)?;
                Ok(tail.zip(Some(pending)))
            });
            match adopted {
                Ok(None) => {}
                Ok(Some((tail, pending))) => {
                    self.shared.adopted.fetch_add(pending, Ordering::Relaxed);
                    tracing::info!(bytes = pending, "usage journal of a dead process adopted");
                    self.adopted.push(tail);
                }
                Err(error) => tracing::warn!(%error, "the journal of a dead process cannot be adopted"),
            }
        }
    }

    async fn hand_over(&mut self, end: Position) -> Result<(), DrainError> {
        while self.hand_over_own(end).await? == Left::Perhaps {}
        while let Some(mut tail) = self.adopted.pop() {
            let result = self.hand_over_adopted(&mut tail).await;
            if result.is_err() {
                self.adopted.push(tail);
                return result;
            }
            if let Some(home) = tail.into_home() {
                home.remove()?;
            }
        }
        Ok(())
    }

    async fn hand_over_own(&mut self, end: Position) -> Result<Left, DrainError> {
        let Some(batch) = self.own.read(Some(end), self.options.batch_records)? else {
            return Ok(Left::Nothing);
        };
        self.insert(&batch).await?;
        self.shared.drained.fetch_add(batch.span, Ordering::Relaxed);
        let records = u64::try_from(batch.len()).unwrap_or_default();
        self.shared.records_drained.fetch_add(records, Ordering::Relaxed);
        self.own.advance(&batch)?;
        // What comes meanwhile gathers until the next round.
        Ok(if batch.is_last() { Left::Nothing } else { Left::Perhaps })
    }

    async fn hand_over_adopted(&mut self, tail: &mut Tail) -> Result<(), DrainError> {
        while let Some(batch) = tail.read(None, self.options.batch_records)? {
            self.insert(&batch).await?;
            let adopted = self.shared.adopted.load(Ordering::Relaxed);
            self.shared
                .adopted
                .store(adopted.saturating_sub(batch.span), Ordering::Relaxed);
            tail.advance(&batch)?;
        }
        let Some(node) = tail.home().node() else { return Ok(()) };
        let ended = timeout(self.options.store_timeout, self.store.end_node(&node));
        ended
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("it does not answer".into())))?;
        Ok(())
    }

    async fn insert(&mut self, batch: &Batch) -> Result<(), DrainError> {
        if batch.damaged > 0 {
            self.shared.damaged_bytes.fetch_add(batch.damaged, Ordering::Relaxed);
            tracing::error!(
                bytes = batch.damaged,
                "usage journal is damaged, the records in it are lost"
            );
        }
        if batch.torn > 0 {
            tracing::info!(bytes = batch.torn, "usage journal ends in a write that never completed");
        }
        match self.store(&batch.to_usage()).await {
            Ok(()) => Ok(()),
            Err(error @ StoreError::Unavailable(_)) => Err(error.into()),
            Err(StoreError::Failed(_) | StoreError::Corrupt { .. }) => {
                // Is it a record or the database itself (no table, no right)? An empty batch tells; then the journal keeps all.
                self.store(&UsageBatch::new()).await?;
                self.insert_singly(batch).await
            }
        }
    }

    /// A connection into nowhere must not hold up the flushing of the journal, nor look like health.
    async fn store(&self, batch: &UsageBatch) -> Result<(), StoreError> {
        let stored = timeout(self.options.store_timeout, self.store.insert_usage(batch));
        stored
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("it does not answer".into())))
    }

    /// One record that the database refuses must not hold up all others.
    async fn insert_singly(&mut self, batch: &Batch) -> Result<(), DrainError> {
        for text in batch.texts() {
            let mut single = UsageBatch::new();
            single.push(text);
            match self.store(&single).await {
                Ok(()) => {}
                Err(error @ StoreError::Unavailable(_)) => return Err(error.into()),
                Err(error @ (StoreError::Failed(_) | StoreError::Corrupt { .. })) => self.set_aside(text, &error)?,
            }
        }
        Ok(())
    }

    fn set_aside(&self, text: &str, error: &StoreError) -> io::Result<()> {
        let path = self.options.dir.join(REFUSED);
        let mut file = File::options().create(true).append(true).mode(0o600).open(path)?;
        file.write_all(format!("{text}\n").as_bytes())?;
        file.sync_data()?;
        self.shared.refused_records.fetch_add(1, Ordering::Relaxed);
        metrics::counter!(REFUSED_RECORDS).increment(1);
        let cause = std::error::Error::source(error).map(ToString::to_string);
        tracing::error!(cause, "the database refuses a usage record, it stands in {REFUSED}");
        Ok(())
    }

    /// Backs off up to two seconds, and tells of the first error of a series and of its end.
    fn note(&mut self, error: Option<DrainError>) {
        let Some(error) = error else {
            if self.failures > 0 {
                tracing::info!("the database takes usage records again");
                *lock(&self.shared.store_error) = None;
            }
            self.failures = 0;
            return;
        };
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        let text = cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
        if self.failures == 0 {
            tracing::warn!(
                error = text,
                "the database does not take usage records, the journal keeps them"
            );
        }
        *lock(&self.shared.store_error) = Some(text);
        self.failures = self.failures.saturating_add(1);
        let pause = self.options.drain_interval * 2_u32.saturating_pow(self.failures.min(8));
        self.resume_at = Instant::now() + pause.min(std::time::Duration::from_secs(2));
    }
}

/// Flushing may take long, and it must not hold up a worker thread.
pub(super) async fn flush(files: Vec<Arc<File>>) {
    let flushed = spawn_blocking(move || files.iter().try_for_each(|file| file.sync_data())).await;
    if let Ok(Err(error)) = flushed {
        tracing::error!(%error, "usage journal cannot be flushed to the disk");
    }
}
