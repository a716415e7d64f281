//! Follows the configuration: a new revision is validated whole, then published by pointer swap; otherwise the last good one
//! stays.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use service_kit::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::snapshot::{Revision, Snapshot, StrategyCatalog},
    ports::config_source::{ConfigSource, StoreError},
};

/// How often the revision is asked for. A change reaches every gateway well within a second.
pub const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// The published snapshot and how it came about.
///
/// A request calls [`Snapshots::current`] once and keeps the `Arc` until its reply ended, so that a change never reaches into it.
/// Whoever builds something costly from a snapshot keeps it beside and compares pointers (`Arc::ptr_eq`) to learn of a new one.
pub struct Snapshots {
    published: ArcSwap<Snapshot>,
    /// The newest revision that the database has told of, published or not.
    seen: AtomicI64,
    progress: Mutex<Progress>,
    /// One look at a time: of two at once the one that began earlier could publish later, and bring an older revision back.
    looking: tokio::sync::Mutex<()>,
    source: Arc<dyn ConfigSource>,
    catalog: Arc<dyn StrategyCatalog>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    published_at: Option<Timestamp>,
    refused: Option<RefusedSnapshot>,
    source_error: Option<String>,
}

/// A stored configuration that was not published.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct RefusedSnapshot {
    pub revision: i64,
    pub faults: Vec<String>,
}

/// For `/status`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SnapshotStatus {
    /// The revision by which requests are served.
    pub revision: i64,
    /// None before the first.
    pub published_at: Option<String>,
    /// A newer one that makes no sense; the one before stays.
    pub refused: Option<RefusedSnapshot>,
    /// Why the database could not be asked the last time.
    pub source_error: Option<String>,
}

impl Snapshots {
    /// Begins with nothing configured; [`Snapshots::refresh`] brings the first real one.
    pub fn new(source: Arc<dyn ConfigSource>, catalog: Arc<dyn StrategyCatalog>, clock: Arc<dyn Clock>) -> Self {
        Self {
            published: ArcSwap::from_pointee(Snapshot::empty()),
            seen: AtomicI64::new(Snapshot::empty().revision().0),
            progress: Mutex::default(),
            looking: tokio::sync::Mutex::default(),
            source,
            catalog,
            clock,
        }
    }

    /// What requests that begin now obey. Costs a pointer copy.
    pub fn current(&self) -> Arc<Snapshot> {
        self.published.load_full()
    }

    /// The newest revision that the database has told of, also when it was refused. Rows outside the snapshot are read again when it
    /// changes.
    pub fn seen_revision(&self) -> Revision {
        Revision(self.seen.load(Ordering::Acquire))
    }

    /// Looks for a new revision and publishes it if it is sound. Never fails: what went wrong stands in [`Snapshots::status`].
    pub async fn refresh(&self) {
        let _alone = self.looking.lock().await;
        match self.find_new().await {
            Ok(None) => self.note_source_error(None),
            Ok(Some(Ok(snapshot))) => self.publish(snapshot),
            Ok(Some(Err(refused))) => self.refuse(refused),
            Err(error) => self.note_source_error(Some(describe(&error))),
        }
    }

    /// Refreshes until `stop`.
    pub async fn follow(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(POLL_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.refresh() => {}
            }
        }
    }

    /// For `/readyz`: whether any configuration was ever published.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), String> {
        let progress = self.progress();
        if progress.published_at.is_some() {
            return Ok(());
        }
        Err(match (&progress.refused, &progress.source_error) {
            (_, Some(error)) => format!("no configuration: {error}"),
            (Some(refused), None) => format!("the stored configuration is refused: {}", refused.faults.join("; ")),
            (None, None) => "no configuration was loaded yet".to_owned(),
        })
    }

    pub fn status(&self) -> SnapshotStatus {
        let progress = self.progress();
        SnapshotStatus {
            revision: self.published.load().revision().0,
            published_at: progress.published_at.map(Timestamp::to_rfc3339),
            refused: progress.refused,
            source_error: progress.source_error,
        }
    }

    /// The stored configuration, if it is neither the published nor the refused one.
    async fn find_new(&self) -> Result<Option<Result<Snapshot, RefusedSnapshot>>, StoreError> {
        let stored = self.source.current_revision().await?;
        self.seen.store(stored.0, Ordering::Release);
        if self.is_known(stored) {
            return Ok(None);
        }
        let rows = self.source.load_rows().await?;
        let revision = rows.revision;
        let built = Snapshot::build(rows, self.catalog.as_ref());
        Ok(Some(built.map_err(|faults| RefusedSnapshot {
            revision: revision.0,
            faults: faults.iter().map(ToString::to_string).collect(),
        })))
    }

    fn is_known(&self, stored: Revision) -> bool {
        let progress = self.progress();
        let published = progress.published_at.is_some() && self.published.load().revision() == stored;
        // A database that was restored to the published revision after a refused one is served again: forget the refusal.
        let refused = progress
            .refused
            .as_ref()
            .is_some_and(|refused| refused.revision == stored.0);
        if published && !refused && progress.refused.is_some() {
            self.change_progress(|progress| progress.refused = None);
        }
        published || refused
    }

    fn publish(&self, snapshot: Snapshot) {
        let revision = snapshot.revision();
        self.published.store(Arc::new(snapshot));
        let now = self.clock.now();
        self.change_progress(|progress| {
            progress.published_at = Some(now);
            progress.refused = None;
            progress.source_error = None;
        });
        tracing::info!(config.revision = revision.0, "configuration published");
    }

    fn refuse(&self, refused: RefusedSnapshot) {
        tracing::error!(
            config.revision = refused.revision,
            faults = refused.faults.join("; "),
            "configuration refused, the last good one stays"
        );
        self.change_progress(|progress| {
            progress.refused = Some(refused);
            progress.source_error = None;
        });
    }

    /// Logs the first of a series of equal errors and their end, not each.
    fn note_source_error(&self, error: Option<String>) {
        if self.progress().source_error == error {
            return;
        }
        if let Some(error) = &error {
            tracing::warn!(error, "configuration cannot be read, the last good one stays");
        } else {
            tracing::info!("configuration can be read again");
        }
        self.change_progress(|progress| progress.source_error = error);
    }

    fn progress(&self) -> Progress {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change_progress(&self, change: impl FnOnce(&mut Progress)) {
        change(&mut self.progress.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl fmt::Debug for Snapshots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshots")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

/// An error and what it came from, for operators.
fn describe(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
