//! The usage journal: durable before the reply ends, without a database round trip.
//!
//! [`Journal::take`](UsageSink::take) frames a record, and [`Journal::flush`](UsageSink::flush), which runs before anything is
//! written to a caller, appends all frames that wait to a segment file by one `write(2)`. What the kernel has taken outlives the
//! process, so SIGKILL loses nothing of which a caller saw the end. A background task hands the records to the database in batches and forgets them
//! there only after the commit; the database drops what it has already, so that records replayed after a crash stay single.
//!
//! **Power loss.** While the database keeps up, its own commit makes records safe within [`JournalOptions::drain_interval`]. While
//! it does not, the journal is flushed to the disk (`fdatasync`) every [`JournalOptions::sync_interval`]; that is how much a power
//! cut can cost.
//!
//! **Database away.** The journal grows up to [`JournalOptions::cap_bytes`]; then [`UsageSink::admit`] refuses new calls rather than
//! serve what nobody can bill. Calls under way still find room. The same holds for a full disk.
//!
//! **Several processes** may share a directory: each writes into a subdirectory of its own that it holds a lock on, and the
//! subdirectories of dead processes are adopted by whoever gets their lock. The lock is `flock`: use a local file system.

mod drain;
mod frame;
mod home;
mod tail;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use service_kit::Entropy;
use tokio_util::sync::CancellationToken;

use self::{drain::Drain, home::Home, writer::Writer};
use crate::{
    domain::{
        ids::NodeId,
        usage::{UsageRecord, UsageState},
    },
    ports::usage::{UsageSink, UsageStatus, UsageStore, UsageUnavailable},
};

/// How the journal works.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// Where it stands, by default `data/usage`.
    pub dir: PathBuf,
    /// How much the database may owe before new calls are refused. A record has about 450 bytes.
    pub cap_bytes: u64,
    /// A new file is begun after this much; the old one goes as soon as the database has all of it.
    pub segment_bytes: u64,
    /// How long records gather before they go to the database together.
    pub drain_interval: Duration,
    /// How often the journal is flushed to the disk while the database does not take it.
    pub sync_interval: Duration,
    /// How often the journals of dead processes are looked for.
    pub adopt_interval: Duration,
    /// Records in one transaction.
    pub batch_records: usize,
    /// A database that takes longer than this for a batch counts as away.
    pub store_timeout: Duration,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("data/usage"),
            cap_bytes: 256 * 1024 * 1024,
            segment_bytes: 8 * 1024 * 1024,
            drain_interval: Duration::from_millis(100),
            sync_interval: Duration::from_secs(1),
            adopt_interval: Duration::from_secs(5),
            batch_records: 1000,
            store_timeout: Duration::from_secs(10),
        }
    }
}

/// The journal of this process.
///
/// Bootstrap opens one, spawns [`Journal::follow`], hands it out as [`UsageSink`], and at the end calls [`Journal::finish`] after
/// the last reply has ended. Records that come even later are kept and found by the next start.
pub struct Journal {
    writer: Mutex<Writer>,
    shared: Arc<Shared>,
    drain: tokio::sync::Mutex<Drain>,
    options: JournalOptions,
    node: NodeId,
}

/// What both sides count.
#[derive(Debug, Default)]
struct Shared {
    /// Bytes that this process appended, and how many of them the database has.
    appended: AtomicU64,
    drained: AtomicU64,
    records_appended: AtomicU64,
    records_drained: AtomicU64,
    /// Bytes in adopted directories.
    adopted: AtomicU64,
    refused_records: AtomicU64,
    lost_records: AtomicU64,
    damaged_bytes: AtomicU64,
    /// Frames wait to be written. It changes with the writer locked, and goes down only after they are.
    waiting: AtomicBool,
    /// They do so because the disk refuses them.
    disk_refuses: AtomicBool,
    disk_error: Mutex<Option<String>>,
    store_error: Mutex<Option<String>>,
}

impl Shared {
    fn pending(&self) -> u64 {
        let appended = self.appended.load(Ordering::Relaxed);
        let own = appended.saturating_sub(self.drained.load(Ordering::Relaxed));
        own.saturating_add(self.adopted.load(Ordering::Relaxed))
    }
}

/// A lock that a panicking holder left is used on: no state behind these is ever half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    /// Begins a journal under `options.dir`, which is created.
    ///
    /// # Errors
    /// The directory cannot be created, locked or written.
    pub fn open(options: JournalOptions, store: Arc<dyn UsageStore>, entropy: &dyn Entropy) -> io::Result<Self> {
        let node = NodeId::new(entropy.id());
        let home = Arc::new(Home::create(&options.dir, node.as_str())?);
        let writer = Writer::begin(Arc::clone(&home), options.segment_bytes)?;
        let shared = Arc::new(Shared::default());
        let mut drain = Drain::new(home, store, Arc::clone(&shared), options.clone());
        // Before the first call is admitted, so that the cap holds over restarts.
        drain.adopt();
        Ok(Self {
            writer: Mutex::new(writer),
            shared,
            drain: tokio::sync::Mutex::new(drain),
            options,
            node,
        })
    }

    /// The name of this life of the process: the journal and what the process takes out of budgets share it, so that whoever has
    /// read a dead process's journal to the end knows that its leases can go.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// Hands records to the database until `stop`.
    pub async fn follow(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.turn() => {}
            }
            // Between turns, not at fixed times: a slow database is not asked more often than it answers.
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.options.drain_interval) => {}
            }
        }
    }

    /// Hands over what is left; `false` when that took longer than `deadline`, and then the next start does the rest.
    pub async fn finish(&self, deadline: Duration) -> bool {
        let all = async {
            loop {
                self.turn().await;
                if self.shared.pending() == 0 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(deadline, all).await.is_ok()
    }

    /// One round: what the disk refused, then what the database lacks.
    async fn turn(&self) {
        let end = {
            let mut writer = lock(&self.writer);
            self.write(&mut writer);
            writer.end()
        };
        let outcome = self.drain.lock().await.turn(end).await;
        let files = {
            let mut writer = lock(&self.writer);
            writer.forget_before(outcome.position);
            outcome.flush_due.then(|| writer.take_unflushed())
        };
        if let Some(files) = files {
            drain::flush(files).await;
        }
    }

    fn write(&self, writer: &mut Writer) {
        let written = writer.write();
        let failed = written.is_err();
        self.shared.waiting.store(failed, Ordering::Release);
        let before = self.shared.disk_refuses.swap(failed, Ordering::Relaxed);
        if let Err(error) = written {
            let text = error.to_string();
            if !before {
                tracing::error!(error = text, "usage journal cannot be written, new calls are refused");
            }
            *lock(&self.shared.disk_error) = Some(text);
        } else if before {
            tracing::info!("usage journal can be written again");
            *lock(&self.shared.disk_error) = None;
        }
    }

    fn lose(&self, record: &UsageRecord, why: &dyn fmt::Display) -> UsageUnavailable {
        self.shared.lost_records.fetch_add(1, Ordering::Relaxed);
        tracing::error!(request.id = record.request_id.as_str(), error = %why, "usage record is lost");
        UsageUnavailable::Disk(why.to_string())
    }
}

impl UsageSink for Journal {
    fn admit(&self) -> Result<(), UsageUnavailable> {
        if self.shared.disk_refuses.load(Ordering::Relaxed) {
            let error = lock(&self.shared.disk_error).clone();
            return Err(UsageUnavailable::Disk(error.unwrap_or_default()));
        }
        let (bytes, cap) = (self.shared.pending(), self.options.cap_bytes);
        if bytes >= cap {
            return Err(UsageUnavailable::Full { bytes, cap });
        }
        Ok(())
    }

    fn take(&self, record: &UsageRecord) -> Result<(), UsageUnavailable> {
        if record.state == UsageState::Rejected {
            // Refused calls cost nothing and were not admitted: they must not fill what is kept for those that were.
            self.admit()?;
        }
        let (frame, shortened) = frame::encode_shortened(record).map_err(|error| self.lose(record, &error))?;
        if shortened {
            tracing::error!(
                request.id = record.request_id.as_str(),
                charges = record.charges.len(),
                "a usage record is too long to name its budgets, they are not charged"
            );
        }
        let size = u64::try_from(frame.len()).unwrap_or_default();
        let mut writer = lock(&self.writer);
        writer.push(frame).map_err(|error| self.lose(record, &error))?;
        self.shared.waiting.store(true, Ordering::Release);
        // Under the lock, so that the reader never counts more than was counted here.
        self.shared.appended.fetch_add(size, Ordering::Relaxed);
        self.shared.records_appended.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn flush(&self) {
        // Whoever took a record before sees that it waits until it is written, by whomever. A disk that refuses is tried again by the
        // drain, not by each piece of every answer.
        if self.shared.waiting.load(Ordering::Acquire) && !self.shared.disk_refuses.load(Ordering::Relaxed) {
            self.write(&mut lock(&self.writer));
        }
    }

    fn status(&self) -> UsageStatus {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let drained = count(&self.shared.records_drained);
        UsageStatus {
            refusing: self.admit().err().map(|error| error.to_string()),
            pending_bytes: self.shared.pending(),
            cap_bytes: self.options.cap_bytes,
            pending_records: count(&self.shared.records_appended).saturating_sub(drained),
            store_error: lock(&self.shared.store_error).clone(),
            refused_records: count(&self.shared.refused_records),
            lost_records: count(&self.shared.lost_records),
            damaged_bytes: count(&self.shared.damaged_bytes),
        }
    }
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
