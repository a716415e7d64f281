//! Revocations: recorded with the change that causes them, indexed in memory, fed to resource servers.

use std::{
    collections::HashSet,
    mem::{Discriminant, discriminant},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use oauth_wire::{RevocationEvent, RevocationIndex, Revoked, TokenFacts};
use service_kit::{Clock, Entropy, Timestamp};
use tokio::sync::watch;

use crate::{
    application::policy::Lifetimes,
    ports::store::{RecordedRevocation, RevocationCursor, Revocations, StoreResult},
};

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
    /// What the feed holds.
    known: HashSet<Key>,
    cursor: RevocationCursor,
}

/// What makes two revocations the same: kind, subject, cutoff.
type Key = (Discriminant<Revoked>, String, i64);

fn key(revoked: &Revoked) -> Key {
    let (subject, before) = match revoked {
        Revoked::Token { jti } => (jti, 0),
        Revoked::Grant { grant } => (grant, 0),
        Revoked::Session { sid } => (sid, 0),
        Revoked::Subject { sub, before } => (sub, *before),
        Revoked::Client { client_id, before } => (client_id, *before),
    };
    (discriminant(revoked), subject.clone(), before)
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
        Self {
            store,
            clock,
            entropy,
            keep,
            state: RwLock::default(),
            changed: watch::channel(0).0,
        }
    }

    /// A revocation to be recorded in the transaction that causes it, and announced by [`RevocationLog::announce`] after the commit.
    pub fn revocation(&self, revoked: Revoked) -> RecordedRevocation {
        let now = self.clock.now();
        let event = RevocationEvent {
            revoked,
            until: (now + self.keep).as_seconds(),
        };
        RecordedRevocation {
            id: self.entropy.id(),
            event,
            recorded_at: now,
        }
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

    /// Tells whether this very thing has been revoked and that still matters, so that it need not be recorded again.
    pub fn knows(&self, revoked: &Revoked) -> bool {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .known
            .contains(&key(revoked))
    }

    /// Tells whether a token has been revoked.
    pub fn covers(&self, token: TokenFacts<'_>) -> bool {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .index
            .covers(token)
    }

    /// Reads what other nodes and commands have recorded, and forgets what no longer matters.
    ///
    /// # Errors
    /// When the store fails; what is known stays known.
    pub async fn refresh(&self) -> StoreResult<()> {
        let now = self.clock.now();
        let from = self.state.read().unwrap_or_else(PoisonError::into_inner).cursor;
        let mut page = match from == RevocationCursor::default() {
            true => self.store.read_revocations(from, now).await?,
            false => self.store.read_revocations(from, Timestamp::from_micros(0)).await?,
        };
        if page.next < from {
            // Another database stands where ours was: a backup was put back, or a copy took over.
            page = self.store.read_revocations(RevocationCursor::default(), now).await?;
        } else if from != RevocationCursor::default() {
            // What is news to a running node was recorded a moment ago, whatever the recorder's clock said.
            let until = (now + self.keep).as_seconds();
            for revocation in &mut page.revocations {
                revocation.event.until = revocation.event.until.max(until);
            }
        }
        self.announce(page.revocations);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.cursor = page.next;
        state.prune(now.as_seconds());
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
        if !self.known.insert(key(&revocation.event.revoked)) {
            return false;
        }
        self.index.add(revocation.event.clone());
        self.feed.push(Arc::new(revocation));
        true
    }

    fn prune(&mut self, now: i64) {
        if self.feed.iter().all(|one| one.event.until > now) {
            return;
        }
        self.index.prune(now);
        for over in self.feed.extract_if(.., |one| one.event.until <= now) {
            self.known.remove(&key(&over.event.revoked));
        }
    }
}
