//! Used nonces in this process's memory.

use std::{
    collections::{HashMap, hash_map::Entry},
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;

use crate::{
    domain::ids::AccessKeyId,
    ports::access_keys::{NonceMemory, SignedNonce, Spent},
};

const SHARDS: usize = 64;
/// Entries that have run out are removed so often, in seconds, and when there is no room.
const SWEEP: i64 = 15;

/// Remembers nonces exactly: what does not fit is refused, since whatever was forgotten to make room could be replayed.
pub struct LocalNonces {
    shards: Vec<Mutex<Shard>>,
    held: AtomicUsize,
    capacity: usize,
    /// Of each shard, for one key: a flood by one key leaves room for the others.
    share: u32,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct Shard {
    /// By fingerprints of key and nonce, until when.
    seen: HashMap<(u64, u64), i64>,
    per_key: HashMap<u64, u32>,
    swept: i64,
}

impl LocalNonces {
    /// Holds at most `capacity` nonces, some 40 bytes each.
    pub fn new(capacity: usize) -> Self {
        // Half of a shard, and what chance makes uneven.
        let share = capacity / SHARDS / 2 + capacity.isqrt() / SHARDS + 1;
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            held: AtomicUsize::new(0),
            capacity,
            share: u32::try_from(share).unwrap_or(u32::MAX),
            hasher: RandomState::new(),
        }
    }

    /// Nonces that are held now.
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn spend_now(&self, key: &str, nonce: &str, until: i64, now: i64) -> Spent {
        // The seeds are the process's own, so nobody can choose nonces that collide.
        let (key, nonce) = (self.hasher.hash_one(key), self.hasher.hash_one((key, nonce)));
        let place = usize::try_from(nonce % SHARDS as u64).unwrap_or(0);
        let Some(shard) = self.shards.get(place) else {
            return Spent::Full;
        };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= shard.swept.saturating_add(SWEEP) {
            self.sweep(&mut shard, now);
        }
        if shard.seen.contains_key(&(key, nonce)) {
            return Spent::Replayed;
        }
        let used = shard.per_key.get(&key).copied().unwrap_or(0);
        if used >= self.share || self.held() >= self.capacity {
            self.sweep(&mut shard, now);
            if shard.per_key.get(&key).copied().unwrap_or(0) >= self.share {
                return Spent::TooMany;
            }
            if self.held() >= self.capacity {
                return Spent::Full;
            }
        }
        if let Entry::Vacant(place) = shard.seen.entry((key, nonce)) {
            place.insert(until);
            *shard.per_key.entry(key).or_insert(0) += 1;
            self.held.fetch_add(1, Ordering::Relaxed);
        }
        Spent::Fresh
    }

    fn sweep(&self, shard: &mut Shard, now: i64) {
        let before = shard.seen.len();
        shard.seen.retain(|_, until| *until >= now);
        shard.per_key.clear();
        for (key, _) in shard.seen.keys() {
            *shard.per_key.entry(*key).or_insert(0) += 1;
        }
        // A flood's room is given back when it is over.
        if shard.seen.capacity() > 4 * shard.seen.len().max(64) {
            shard.seen.shrink_to(2 * shard.seen.len());
        }
        shard.swept = now;
        self.held.fetch_sub(before - shard.seen.len(), Ordering::Relaxed);
    }
}

#[async_trait]
impl NonceMemory for LocalNonces {
    async fn spend(&self, key: &AccessKeyId, nonce: SignedNonce<'_>, now: i64) -> Spent {
        self.spend_now(key.as_str(), nonce.text, nonce.until, now)
    }
}

impl fmt::Debug for LocalNonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalNonces")
            .field("held", &self.held())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    #[test]
    fn a_nonce_is_spent_once_for_its_key_while_its_request_is_good() {
        let nonces = LocalNonces::new(1000);
        let spend = |key, nonce, now| nonces.spend_now(key, nonce, NOW + 300, now);
        assert_eq!(spend("a", "n", NOW), Spent::Fresh);
        assert_eq!(spend("a", "n", NOW), Spent::Replayed);
        assert_eq!(spend("b", "n", NOW), Spent::Fresh);
        assert_eq!(spend("a", "m", NOW), Spent::Fresh);
        for later in [14, 15, 299, 300] {
            assert_eq!(spend("a", "n", NOW + later), Spent::Replayed, "{later}");
        }
        // By then the request that held it is refused for its date.
        assert_eq!(spend("a", "n", NOW + 316), Spent::Fresh);
    }

    #[test]
    fn of_many_at_once_one_spends_a_nonce() {
        let nonces = LocalNonces::new(10_000);
        let fresh: usize = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        let spend = |at: &u32| nonces.spend_now("k", &at.to_string(), NOW, NOW) == Spent::Fresh;
                        (0..500u32).filter(spend).count()
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!((fresh, nonces.held()), (500, 500));
    }

    #[test]
    fn nothing_is_forgotten_to_make_room_and_one_key_cannot_take_it_all() {
        let nonces = LocalNonces::new(6400);
        let flood = |key: &str, now: i64| {
            let mut fresh = Vec::new();
            let mut last = Spent::Fresh;
            for at in 0..20_000 {
                let nonce = format!("{key}-{now}-{at}");
                last = nonces.spend_now(key, &nonce, now + 10, now);
                if last == Spent::Fresh {
                    fresh.push(nonce);
                }
            }
            (fresh, last)
        };
        let (first, last) = flood("flood", NOW);
        assert_eq!(last, Spent::TooMany);
        assert!((3000..3800).contains(&first.len()), "{}", first.len());
        assert_eq!(nonces.spend_now("other", "n", NOW + 10, NOW), Spent::Fresh);
        for key in ["second", "third"] {
            flood(key, NOW);
        }
        assert_eq!(nonces.held(), 6400);
        assert_eq!(nonces.spend_now("fourth", "n", NOW + 10, NOW), Spent::Full);
        for nonce in &first {
            assert_eq!(nonces.spend_now("flood", nonce, NOW + 10, NOW), Spent::Replayed);
        }
        // When they have run out there is room again.
        let (second, _) = flood("flood", NOW + 11);
        assert!(second.len() > 3000, "{}", second.len());
    }
}
