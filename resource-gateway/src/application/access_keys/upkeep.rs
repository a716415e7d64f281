//! What runs beside the requests: last uses are written down, and revocations end keys for good.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use oauth_wire::Revoked;
use service_kit::{Clock, Tasks, Timestamp};
use tokio::sync::Notify;

use super::{
    VerifySignature,
    trail::{self, Rotated},
};
use crate::{
    domain::{
        access_key::Ended,
        audit::Actor,
        ids::{ClientId, Subject},
        vendor::Switch,
    },
    ports::{access_keys::AccessKeys, config_source::StoreResult},
};

/// How often last uses are written down.
const NOTE_USES: Duration = Duration::from_secs(60);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// More revocations than this wait for a database only after days of its absence.
const MAX_WAITING: usize = 100_000;

/// Ends keys with their client or person, in the table: the feed forgets a revocation when the last token that it ended has
/// expired, and keys do not expire.
#[derive(Debug)]
pub struct KeyUpkeep {
    store: Arc<dyn AccessKeys>,
    clock: Arc<dyn Clock>,
    /// Whose keys are still to be ended, and which (seconds).
    waiting: Mutex<HashMap<Ended, i64>>,
    news: Notify,
}

impl KeyUpkeep {
    pub fn new(store: Arc<dyn AccessKeys>, clock: Arc<dyn Clock>) -> Self {
        Self {
            store,
            clock,
            waiting: Mutex::default(),
            news: Notify::new(),
        }
    }

    /// Takes note of a revocation. Until the table has it, the index of revocations keeps the keys out.
    pub fn revoked(&self, revoked: &Revoked) {
        let (whose, before) = match revoked {
            Revoked::Client { client_id, before } => (Ended::Client(ClientId::new(client_id.as_str())), *before),
            Revoked::Subject { sub, before } => (Ended::Subject(Subject::new(sub.as_str())), *before),
            // A key comes from none of these.
            Revoked::Token { .. } | Revoked::Grant { .. } | Revoked::Session { .. } => return,
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= MAX_WAITING && !waiting.contains_key(&whose) {
            tracing::error!("a revocation does not reach access keys: too many wait for the database");
            return;
        }
        let slot = waiting.entry(whose).or_insert(before);
        *slot = before.max(*slot);
        drop(waiting);
        self.news.notify_one();
    }

    /// Writes revocations into the table until shutdown.
    pub async fn end_revoked(self: Arc<Self>, tasks: Tasks) {
        let stop = tasks.stop_token();
        let mut pause = FIRST_PAUSE;
        while stop.run_until_cancelled(self.news.notified()).await.is_some() {
            while let Some((whose, before)) = self.next() {
                match self.end(&whose, before).await {
                    Ok(ended) => {
                        self.done(&whose, before);
                        pause = FIRST_PAUSE;
                        if ended > 0 {
                            tracing::warn!(keys = ended, owner = ?whose, "access keys have ended with their owner");
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "access keys of a revoked owner cannot be ended yet");
                        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                            return;
                        }
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
    }

    /// Disables the keys of a client or person that nobody has stood by since the end of the second `before`; answers how many.
    ///
    /// # Errors
    /// [`StoreError`](crate::ports::config_source::StoreError); then none was.
    pub async fn end(&self, whose: &Ended, before: i64) -> StoreResult<usize> {
        // Most revocations concern nobody with a key: then nothing changes, the revision neither.
        let found = self.store.find_ended(whose, before).await?;
        if found.is_empty() {
            return Ok(0);
        }
        let end = Timestamp::from_seconds(before.saturating_add(1));
        let mut change = self.store.begin_change().await?;
        let mut ended = 0;
        for found in found {
            // Somebody may have stood by it meanwhile, or another node has ended it.
            let now = change.find(&found.id).await?;
            let Some(key) = now.filter(|key| key.settings.enabled.is_on() && key.changed_at < end) else {
                continue;
            };
            let mut off = key.clone();
            off.settings.enabled = Switch::Off;
            off.version += 1;
            change.replace(&off, None).await?;
            let event = trail::event(
                self.clock.now(),
                &Actor::provider(),
                Some(&key),
                Some(&off),
                Rotated::No,
            );
            change.note(event).await?;
            ended += 1;
        }
        if ended > 0 {
            change.commit().await?;
        }
        Ok(ended)
    }

    fn next(&self) -> Option<(Ended, i64)> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.iter().next().map(|(whose, before)| (whose.clone(), *before))
    }

    /// Forgets it unless a later one came in meanwhile.
    fn done(&self, whose: &Ended, before: i64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.get(whose).is_some_and(|latest| *latest <= before) {
            waiting.remove(whose);
        }
    }
}

impl VerifySignature {
    /// Writes down when keys were used, until shutdown and once more then.
    pub async fn note_uses(&self, tasks: Tasks) {
        let stop = tasks.stop_token();
        loop {
            let stopping = stop.run_until_cancelled(tokio::time::sleep(NOTE_USES)).await.is_none();
            if let Err(error) = self.keys.note_uses().await {
                tracing::warn!(%error, "last uses of access keys cannot be written down");
            }
            if stopping {
                return;
            }
        }
    }
}
