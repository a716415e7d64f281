//! Revocations: recorded with the change that causes them, indexed in memory, fed to resource servers.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use oauth_wire::{RevocationEvent, RevocationIndex, Revoked, TokenFacts};
use service_kit::{Clock, Entropy, Timestamp};
use tokio::sync::watch;

use crate::{
    application::policy::Lifetimes,
    ports::store::{RecordedRevocation, Revocations, StoreResult},
};

/// A transaction may commit this much after the time its revocation carries; readers look back by as much.
const COMMIT_LAG: Duration = Duration::from_secs(10);
/// Clocks of resource servers may differ from ours by this much.
const LEEWAY: Duration = Duration::from_secs(60);

/// Every revocation that still matters, on this node.
pub struct RevocationLog {
    store: Arc<dyn Revocations>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    keep: Duration,
    state: RwLock<State>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    index: RevocationIndex,
    feed: Vec<Arc<RecordedRevocation>>,
    /// `recorded_at` of the latest revocation read from the store.
    read_up_to: Option<Timestamp>,
}

impl std::fmt::Debug for RevocationLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RevocationLog").finish_non_exhaustive()
    }
}

impl RevocationLog {
    pub fn new(
        store: Arc<dyn Revocations>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        lifetimes: &Lifetimes,
    ) -> Self {
        let keep = lifetimes.max_access_token + LEEWAY;
        Self { store, clock, entropy, keep, state: RwLock::default(), changed: watch::channel(0).0 }
    }

    /// A revocation to be recorded in the transaction that causes it, and announced by [`RevocationLog::announce`] after the commit.
    pub fn revocation(&self, revoked: Revoked) -> RecordedRevocation {
        let now = self.clock.now();
        let event = RevocationEvent { revoked, until: (now + self.keep).as_seconds() };
        RecordedRevocation { id: self.entropy.id(), event, recorded_at: now }
    }

    /// Puts committed revocations into this node's index at once; other nodes read them within a fraction of a second.
    pub fn announce(&self, committed: impl IntoIterator<Item = RecordedRevocation>) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let mut news = false;
        for revocation in committed {
            news |= state.add(revocation);
        }
        drop(state);
        if news {
            self.changed.send_modify(|version| *version += 1);
        }
    }

    /// Tells whether a token has been revoked.
    pub fn covers(&self, token: TokenFacts<'_>) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).index.covers(token)
    }

    /// Reads what other nodes and commands have recorded, and forgets what no longer matters.
    ///
    /// # Errors
    /// When the store fails; what is known stays known.
    pub async fn refresh(&self) -> StoreResult<()> {
        let now = self.clock.now();
        let known = self.state.read().unwrap_or_else(PoisonError::into_inner).read_up_to;
        let since = known.map_or(Timestamp::from_micros(0), |at| at - COMMIT_LAG);
        let recorded = self.store.revocations_since(since, now).await?;
        let latest = recorded.iter().map(|one| one.recorded_at).max();
        self.announce(recorded);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.read_up_to = latest.max(known);
        let seconds = now.as_seconds();
        if state.feed.iter().any(|one| one.event.until <= seconds) {
            state.feed.retain(|one| one.event.until > seconds);
            state.index.prune(seconds);
        }
        Ok(())
    }

    /// Every revocation that still matters, oldest first.
    pub fn feed(&self) -> Vec<Arc<RecordedRevocation>> {
        self.state.read().unwrap_or_else(PoisonError::into_inner).feed.clone()
    }

    /// Changes whenever the feed grows.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

impl State {
    /// `false` when it is known already.
    fn add(&mut self, revocation: RecordedRevocation) -> bool {
        // Most recent first: what is read again by looking back is near the end.
        if self.feed.iter().rev().any(|known| known.id == revocation.id) {
            return false;
        }
        self.index.add(revocation.event.clone());
        self.feed.push(Arc::new(revocation));
        true
    }
}
