//! Revocations for resource servers: Security Event Tokens (RFC 8417) by poll (RFC 8936).

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value};
use service_kit::{Clock, Tasks, Timestamp};
use token_keys::KeyError;

use crate::{
    application::{keyring::Keyring, policy::Policy, revocations::RevocationLog},
    ports::store::RecordedRevocation,
};

/// `typ` of a SET (RFC 8417 §2.3).
const SET_TYP: &str = "secevent+jwt";
/// SETs in one answer at most.
pub const MAX_EVENTS: usize = 500;
/// A poll is held open this long at most.
pub const LONGEST_POLL: Duration = Duration::from_secs(25);
/// A receiver that has not polled for this long is forgotten and gets everything again.
const STREAM_LIFETIME: Duration = Duration::from_secs(600);
/// Receivers that are remembered at most.
const MAX_STREAMS: usize = 1024;

/// Serves the feed.
pub struct PollEvents {
    policy: Arc<Policy>,
    keyring: Arc<Keyring>,
    revocations: Arc<RevocationLog>,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    streams: Mutex<HashMap<String, Stream>>,
}

struct Stream {
    acknowledged: HashSet<String>,
    polled_at: Timestamp,
}

impl std::fmt::Debug for PollEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PollEvents").finish_non_exhaustive()
    }
}

/// A poll (RFC 8936 §2.2).
#[derive(Debug)]
pub struct Poll {
    /// Who asks: the receiver's credential and its name for this stream.
    pub stream: String,
    pub max_events: usize,
    pub return_immediately: bool,
    pub acknowledged: Vec<String>,
}

/// The answer (RFC 8936 §2.3).
#[derive(Debug)]
pub struct Events {
    pub sets: BTreeMap<String, String>,
    pub more_available: bool,
}

impl PollEvents {
    /// Long polls end when `tasks` are to stop.
    pub fn new(
        policy: Arc<Policy>,
        keyring: Arc<Keyring>,
        revocations: Arc<RevocationLog>,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> Self {
        Self {
            policy,
            keyring,
            revocations,
            clock,
            tasks,
            streams: Mutex::default(),
        }
    }

    /// Answers what the receiver has not acknowledged yet; waits for news when there is none and the receiver agrees to wait.
    ///
    /// # Errors
    /// When a SET cannot be signed.
    pub async fn poll(&self, poll: &Poll) -> Result<Events, KeyError> {
        let mut news = self.revocations.subscribe();
        news.borrow_and_update();
        self.acknowledge(poll);
        let mut pending = self.pending(&poll.stream);
        if pending.is_empty() && !poll.return_immediately && poll.max_events > 0 {
            tokio::select! {
                // A time-out or a closed channel means: no news.
                _ = tokio::time::timeout(LONGEST_POLL, news.changed()) => {}
                () = self.tasks.stopping() => {}
            }
            pending = self.pending(&poll.stream);
        }
        let limit = poll.max_events.min(MAX_EVENTS);
        let sets = pending
            .iter()
            .take(limit)
            .map(|one| Ok((one.id.clone(), self.sign(one)?)));
        Ok(Events {
            sets: sets.collect::<Result<_, KeyError>>()?,
            more_available: pending.len() > limit,
        })
    }

    fn acknowledge(&self, poll: &Poll) {
        let now = self.clock.now();
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if streams.len() >= MAX_STREAMS && !streams.contains_key(&poll.stream) {
            streams.retain(|_, stream| now.since(stream.polled_at) < STREAM_LIFETIME);
            if streams.len() >= MAX_STREAMS {
                // Somebody makes up names: forget all; a real receiver gets everything once more.
                streams.clear();
            }
        }
        let stream = streams.entry(poll.stream.clone()).or_insert_with(|| Stream {
            acknowledged: HashSet::new(),
            polled_at: now,
        });
        stream.polled_at = now;
        let live: HashSet<&str> = poll.acknowledged.iter().map(String::as_str).collect();
        let feed = self.revocations.feed();
        // Only ids that exist are kept, so a receiver cannot grow the set at will.
        let current: HashSet<&str> = feed.iter().map(|one| one.id.as_str()).collect();
        stream.acknowledged.retain(|id| current.contains(id.as_str()));
        stream.acknowledged.extend(
            feed.iter()
                .filter(|one| live.contains(one.id.as_str()))
                .map(|one| one.id.clone()),
        );
    }

    fn pending(&self, stream: &str) -> Vec<Arc<RecordedRevocation>> {
        let feed = self.revocations.feed();
        let streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = streams.get(stream) else { return feed };
        feed.into_iter()
            .filter(|one| !stream.acknowledged.contains(&one.id))
            .collect()
    }

    fn sign(&self, revocation: &RecordedRevocation) -> Result<String, KeyError> {
        let mut claims: Map<String, Value> = revocation.event.to_claims(&self.policy.issuer);
        claims.insert("iss".into(), self.policy.issuer.as_str().into());
        claims.insert("aud".into(), self.policy.gateway_audience.as_str().into());
        claims.insert("iat".into(), revocation.recorded_at.as_seconds().into());
        claims.insert("jti".into(), revocation.id.as_str().into());
        self.keyring.sign(
            self.policy.preferred_alg(),
            SET_TYP,
            Value::Object(claims).to_string().as_bytes(),
        )
    }
}
