//! Tokens that were ended before their time: the index, and the loop that keeps it up to date.

use std::{
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use oauth_wire::{RevocationEvent, RevocationIndex, TokenFacts};
use service_kit::{Clock, Tasks};

use super::access_keys::KeyUpkeep;
use crate::ports::provider::{FeedError, ProviderKeys, RevocationFeed, SecurityEvent, Wait};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// A provider that has ever more to tell keeps callers out for so long: some hundred pages.
const LONGEST_START: Duration = Duration::from_secs(30);

/// Every revocation that still matters.
///
/// Nobody is served before the provider was asked once for all of them. A provider that cannot answer keeps nobody out for longer
/// than that one question: a token whose revocation we miss lives until it expires (ten minutes by default), and an outage of the
/// feed must not be one of the gateway. `/status` and the log say so while it lasts.
#[derive(Debug, Default)]
pub struct Revocations {
    index: RwLock<RevocationIndex>,
    asked: AtomicBool,
    error: Mutex<Option<FeedError>>,
}

impl Revocations {
    /// Whether a token has been revoked: a few look-ups in memory.
    pub fn covers(&self, token: TokenFacts<'_>) -> bool {
        self.index.read().unwrap_or_else(PoisonError::into_inner).covers(token)
    }

    pub fn len(&self) -> usize {
        self.index.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the provider has once told all that it had to tell, or failed to: before that a revoked token might pass.
    pub fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// Why the feed gives nothing, if it does not.
    pub fn error(&self) -> Option<FeedError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add(&self, events: impl Iterator<Item = RevocationEvent>, now: i64) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        events.for_each(|event| index.add(event));
        index.prune(now);
    }

    fn note(&self, error: Option<FeedError>) {
        let mut slot = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        // A change is worth a line, not each of a series of equal results.
        if *slot != error {
            if let Some(error) = &error {
                tracing::warn!(
                    %error,
                    "revocations do not arrive; tokens are still verified, revoked ones live until they expire"
                );
            } else {
                tracing::info!("revocations arrive again");
            }
        }
        *slot = error;
    }

    fn has_been_asked(&self) {
        self.asked.store(true, Ordering::Release);
    }
}

/// Follows the provider's feed for as long as the process runs.
#[derive(Debug, Clone)]
pub struct FollowRevocations {
    pub feed: Arc<dyn RevocationFeed>,
    pub keys: Arc<dyn ProviderKeys>,
    pub revocations: Arc<Revocations>,
    /// Access keys outlive the feed's events.
    pub access_keys: Arc<KeyUpkeep>,
    pub clock: Arc<dyn Clock>,
}

impl FollowRevocations {
    /// Runs until shutdown.
    pub async fn run(self, tasks: Tasks) {
        let stop = tasks.stop_token();
        // Without keys no event could be verified, so none is fetched.
        while !self.keys.is_loaded() {
            if stop
                .run_until_cancelled(tokio::time::sleep(FIRST_PAUSE / 4))
                .await
                .is_none()
            {
                return;
            }
        }
        let (mut acknowledged, mut wait, mut pause) = (Vec::new(), Wait::No, FIRST_PAUSE);
        let began = tokio::time::Instant::now();
        loop {
            let Some(polled) = stop.run_until_cancelled(self.feed.poll(&acknowledged, wait)).await else {
                return;
            };
            match polled {
                Ok(polled) => {
                    // More may wait behind a full answer: ask again at once, and wait only when there was nothing.
                    wait = if polled.events.is_empty() { Wait::Long } else { Wait::No };
                    acknowledged = self.take_in(polled.events);
                    self.revocations.note(None);
                    if !polled.more || began.elapsed() > LONGEST_START {
                        self.revocations.has_been_asked();
                    }
                    pause = FIRST_PAUSE;
                }
                Err(error) => {
                    self.revocations.note(Some(error));
                    self.revocations.has_been_asked();
                    wait = Wait::No;
                    if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                        return;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Adds events to the index; answers what to acknowledge: all, since an event of an unknown kind is known no better the
    /// next time.
    fn take_in(&self, events: Vec<SecurityEvent>) -> Vec<String> {
        let ids = events.iter().map(|event| event.id.clone()).collect();
        let known = events.into_iter().filter_map(|event| event.event);
        let known = known.inspect(|event| self.access_keys.revoked(&event.revoked));
        self.revocations.add(known, self.clock.now().as_seconds());
        ids
    }
}
