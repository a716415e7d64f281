//! What this node holds for the requests that it runs: slots, keys of their own. Each is a lease: whoever dies stops renewing it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::time::Instant;

use super::{
    channel::Channel,
    script::{Arguments, StoredScript},
};

/// Leases that are renewed at once.
const AT_ONCE: usize = 64;
const SHARDS: usize = 16;

/// What a request holds.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) part: Arc<str>,
    pub(super) keys: Vec<String>,
    since: Instant,
}

#[derive(Debug)]
pub(super) struct Leases {
    /// Unique among the nodes and their restarts.
    node: String,
    length: Duration,
    next: AtomicU64,
    held: [Mutex<HashMap<u64, Held>>; SHARDS],
}

impl Leases {
    pub(super) fn new(node: String, length: Duration) -> Self {
        Self {
            node,
            length,
            next: AtomicU64::new(0),
            held: Default::default(),
        }
    }

    pub(super) fn length(&self) -> Duration {
        self.length
    }

    pub(super) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn name(&self, lease: u64) -> String {
        format!("{}-{lease}", self.node)
    }

    pub(super) fn hold(&self, lease: u64, part: &Arc<str>, keys: Vec<String>) {
        let held = Held {
            part: Arc::clone(part),
            keys,
            since: Instant::now(),
        };
        self.shard(lease).insert(lease, held);
    }

    pub(super) fn release(&self, lease: u64) {
        self.shard(lease).remove(&lease);
    }

    fn holds(&self, lease: u64) -> bool {
        self.shard(lease).contains_key(&lease)
    }

    /// Renews what is held, well before its time, for as long as it is held. `overtaken` hears of what was let go while it was renewed:
    /// that may have come to Redis over another connection, before the renewal.
    pub(super) async fn keep(&self, channel: &Channel, renew: &StoredScript, overtaken: impl Fn(u64, Held)) {
        let overtaken = &overtaken;
        loop {
            tokio::time::sleep(self.length / 3).await;
            stream::iter(self.due())
                .for_each_concurrent(AT_ONCE, |(lease, held)| async move {
                    // It may have ended in the meantime: then it must not come back.
                    if !self.holds(lease) {
                        return;
                    }
                    let mut arguments = Arguments {
                        keys: held.keys.clone(),
                        ..Arguments::default()
                    };
                    arguments.push(self.name(lease));
                    arguments.push(self.length.as_millis());
                    // What is lost is looked for by others; the next round tries again, well before the lease ends.
                    let _ = channel.ask_soon::<redis::Value>(&held.part, renew, &arguments).await;
                    if !self.holds(lease) {
                        overtaken(lease, held);
                    }
                })
                .await;
        }
    }

    /// Those that are older than a third of their length. Most requests end before they have to be renewed at all.
    fn due(&self) -> Vec<(u64, Held)> {
        let shards = self.held.iter().map(lock);
        shards
            .flat_map(|shard| {
                let old = shard.iter().filter(|(_, held)| held.since.elapsed() >= self.length / 3);
                old.map(|(lease, held)| (*lease, held.clone())).collect::<Vec<_>>()
            })
            .collect()
    }

    fn shard(&self, lease: u64) -> MutexGuard<'_, HashMap<u64, Held>> {
        let [first, ..] = &self.held;
        let place = usize::try_from(lease).unwrap_or_default() % SHARDS;
        lock(self.held.get(place).unwrap_or(first))
    }
}

fn lock(shard: &Mutex<HashMap<u64, Held>>) -> MutexGuard<'_, HashMap<u64, Held>> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
