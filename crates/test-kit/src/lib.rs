//! Test doubles that both services share: a clock that stands still, entropy from a seed, keys of clients,
//! certificates made on the spot.

pub mod certificates;
mod jose;
mod jwe;
pub mod redis;

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicI64, Ordering},
};
use std::time::Duration;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use service_kit::{Clock, Entropy, Timestamp};

pub use jose::{TestKey, header, token_hash, with};
pub use jwe::TestReader;

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct FixedClock(AtomicI64);

impl FixedClock {
    pub fn at(now: Timestamp) -> Self {
        Self(AtomicI64::new(now.as_micros()))
    }

    pub fn advance(&self, by: Duration) {
        self.0
            .fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// Bytes that are the same in every run with the same seed.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<StdRng>);

impl SeededEntropy {
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(bytes);
    }
}
