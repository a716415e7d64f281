//! Counts requests, tokens and slots of this process.

mod shard;

use std::{
    fmt,
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use service_kit::{Clock, Timestamp};
use tokio_util::sync::CancellationToken;

use self::shard::{Cell, Shard};
use crate::{
    domain::limits::Ticks,
    ports::rate_store::{
        Bucket, BucketKey, Change, End, Mode, RateStatus, RateStore, RatesUnavailable, Standing, Taken, Verdict, Wanted,
    },
};

/// Requests of different callers seldom meet in one of these.
const SHARDS: usize = 64;
/// Buckets that may be in use at once; some 10 MB.
const MOST_BUCKETS: usize = 128 * 1024;
/// How often empty buckets are taken out.
const SWEEP: Duration = Duration::from_secs(10);

/// The store of one process.
///
/// Each shard has a lock of its own, which is held for as long as a few additions take and never while anything is waited for. A
/// request that needs several shards locks them in one order, so that two requests never wait for each other.
pub struct LocalRates {
    shards: Vec<Mutex<Shard>>,
    /// Two keys that nobody knows: callers choose parts of what is hashed, and must not be able to meet another's bucket.
    hashers: [RandomState; 2],
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for LocalRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalRates").finish_non_exhaustive()
    }
}

/// Where a bucket is: its shard, and its name there.
type Place = (usize, u128);

impl LocalRates {
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_room_for(MOST_BUCKETS, clock)
    }

    /// With room for so many buckets.
    pub fn with_room_for(buckets: usize, clock: Arc<dyn Clock>) -> Self {
        let room = buckets.div_ceil(SHARDS);
        Self {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new(room))).collect(),
            hashers: [RandomState::new(), RandomState::new()],
            clock,
        }
    }

    /// Takes empty buckets out from time to time, until `stop`.
    pub async fn keep_tidy(&self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(SWEEP)).await.is_some() {
            self.sweep();
        }
    }

    /// Takes empty buckets out.
    pub fn sweep(&self) {
        let now = self.now();
        for shard in &self.shards {
            lock(shard).sweep(now);
        }
    }

    /// Buckets that take room.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn now(&self) -> Ticks {
        ticks(self.clock.now())
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "any bits of a hash are as good as others"
    )]
    fn place(&self, key: &BucketKey) -> Place {
        let [high, low] = self.hashers.each_ref().map(|hasher| hasher.hash_one(key));
        let name = (u128::from(high) << 64) | u128::from(low);
        (high as usize % SHARDS, name)
    }

    /// The decision, without waiting for anything.
    pub fn take(&self, wanted: &Wanted) -> Verdict {
        let now = self.now();
        let places: Vec<Place> = wanted.buckets.iter().map(|bucket| self.place(&bucket.key)).collect();
        let mut locked = self.lock_all(&places);
        let mut standings = Vec::with_capacity(places.len());
        let mut refused = false;
        for (bucket, place) in wanted.buckets.iter().zip(&places) {
            let level = locked.level(*place, bucket, now);
            let over = is_over(bucket, level);
            refused |= over && bucket.mode == Mode::Enforced;
            standings.push(bucket.standing(over, level));
        }
        if !refused {
            for ((bucket, place), standing) in wanted.buckets.iter().zip(&places).zip(&mut standings) {
                if !standing.over {
                    *standing = locked.take(*place, bucket, now);
                }
            }
        }
        Verdict {
            granted: !refused,
            standings,
            lease: 0,
        }
    }

    /// Locks what a request needs, in the order of the shards.
    fn lock_all(&self, places: &[Place]) -> Locked<'_> {
        let mut numbers: Vec<usize> = places.iter().map(|(shard, _)| *shard).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let guards = numbers
            .into_iter()
            .filter_map(|number| Some((number, lock(self.shards.get(number)?))))
            .collect();
        Locked { guards }
    }
}

/// The shards of a request.
struct Locked<'a> {
    guards: Vec<(usize, MutexGuard<'a, Shard>)>,
}

impl Locked<'_> {
    fn shard(&mut self, number: usize) -> Option<&mut Shard> {
        let (_, guard) = self.guards.iter_mut().find(|(known, _)| *known == number)?;
        Some(guard)
    }

    /// A bucket's debt now, or its slots in use.
    fn level(&mut self, (shard, name): Place, bucket: &Bucket, now: Ticks) -> u64 {
        let cell = self.shard(shard).and_then(|shard| shard.find(name));
        match (cell, bucket.rate()) {
            (Some(Cell::Rate { level, .. }), Some(rate)) => rate.drained(*level, now),
            (Some(Cell::Slots(used)), None) => u64::from(*used),
            (_, _) => 0,
        }
    }

    fn take(&mut self, place: Place, bucket: &Bucket, now: Ticks) -> Standing {
        let change = match bucket.rate() {
            Some(_) => Change::Units(i64::try_from(bucket.cost).unwrap_or(i64::MAX)),
            None => Change::Units(1),
        };
        let level = self.change(place, bucket, change, now);
        bucket.standing(false, level)
    }

    /// Changes a bucket and tells its level afterwards.
    fn change(&mut self, place: Place, bucket: &Bucket, change: Change, now: Ticks) -> u64 {
        let before = self.level(place, bucket, now);
        let level = match (bucket.rate(), change) {
            (Some(rate), Change::Units(units)) => rate.charged(before, units),
            (None, Change::Units(units)) => before.saturating_add_signed(units),
            (_, Change::Free) => before.saturating_sub(1),
        };
        let cell = Cell::at(bucket.rate(), level, now);
        if let Some(shard) = self.shard(place.0) {
            shard.put(place.1, cell, now);
        }
        level
    }
}

fn is_over(bucket: &Bucket, level: u64) -> bool {
    match bucket.rate() {
        Some(rate) => rate.wait(level, bucket.cost).is_some(),
        None => level >= u64::from(bucket.limit),
    }
}

fn ticks(now: Timestamp) -> Ticks {
    Ticks::of(now.since(Timestamp::from_micros(0)))
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl RateStore for LocalRates {
    async fn acquire(&self, wanted: &Wanted) -> Result<Verdict, RatesUnavailable> {
        Ok(self.take(wanted))
    }

    fn settle(&self, taken: Taken, end: End) {
        let now = self.now();
        for (bucket, change) in taken.changes(end) {
            let place = self.place(&bucket.key);
            self.lock_all(&[place]).change(place, bucket, change, now);
        }
    }

    fn status(&self) -> RateStatus {
        RateStatus {
            buckets: Some(self.len()),
            ..RateStatus::default()
        }
    }
}

#[cfg(test)]
mod tests;
