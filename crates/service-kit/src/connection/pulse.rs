//! What a connection is doing, told by marks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::Limits;
use crate::turn::UnderWay;

/// Marks of what a connection is doing, written in passing.
#[derive(Debug)]
pub(crate) struct Pulse {
    born: Instant,
    requests: AtomicU32,
    /// When the wait for a head began, in milliseconds since birth, times two; the lowest bit tells a head that has begun from an
    /// idle connection.
    quiet_since: AtomicU64,
    /// When the peer stopped taking what we write, in milliseconds since birth, plus one; 0 when it takes it.
    blocked_since: AtomicU64,
}

/// What a connection is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Requests are being answered.
    Busy,
    /// Until then the peer must have moved.
    Peer(Instant),
    /// Until then the peer may be idle.
    Idle(Instant),
}

impl Pulse {
    /// A connection whose first head counts as begun at once: who connects has something to say.
    pub(crate) fn new() -> Self {
        Self {
            born: Instant::now(),
            requests: AtomicU32::new(0),
            quiet_since: AtomicU64::new(1),
            blocked_since: AtomicU64::new(0),
        }
    }

    pub(crate) fn born(&self) -> Instant {
        self.born
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX / 2)
    }

    fn instant(&self, millis: u64) -> Instant {
        self.born + Duration::from_millis(millis)
    }

    /// A request has been read; it ends when the guard is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        InFlight {
            pulse: self.clone(),
            _under_way: UnderWay::begin(),
        }
    }

    pub(super) fn idle_from_now(&self) {
        self.quiet_since.store(self.now() << 1, Ordering::Relaxed);
    }

    pub(super) fn has_read(&self) {
        if self.requests.load(Ordering::Relaxed) == 0 && self.quiet_since.load(Ordering::Relaxed) & 1 == 0 {
            self.quiet_since.store(self.now() << 1 | 1, Ordering::Relaxed);
        }
    }

    pub(super) fn has_written(&self) {
        if self.blocked_since.load(Ordering::Relaxed) != 0 {
            self.blocked_since.store(0, Ordering::Relaxed);
            // The tail of a long answer may leave after its request has ended; the peer has been busy with it.
            if self.quiet_since.load(Ordering::Relaxed) & 1 == 0 {
                self.idle_from_now();
            }
        }
    }

    pub(super) fn cannot_write(&self) {
        if self.blocked_since.load(Ordering::Relaxed) == 0 {
            self.blocked_since.store(self.now() + 1, Ordering::Relaxed);
        }
    }

    pub(super) fn wait(&self, limits: &Limits) -> Wait {
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        if blocked != 0 {
            return Wait::Peer(self.instant(blocked - 1) + limits.write);
        }
        // Pairs with the release of the last `InFlight`: with none left, its mark is seen.
        if self.requests.load(Ordering::Acquire) > 0 {
            return Wait::Busy;
        }
        let quiet = self.quiet_since.load(Ordering::Relaxed);
        let since = self.instant(quiet >> 1);
        match quiet & 1 {
            1 => Wait::Peer(since + limits.head),
            _ => Wait::Idle(since + limits.idle),
        }
    }
}

/// A request that is being answered, until the last byte of its response has been handed over.
#[derive(Debug)]
pub(crate) struct InFlight {
    pulse: Arc<Pulse>,
    _under_way: UnderWay,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.pulse.idle_from_now();
        self.pulse.requests.fetch_sub(1, Ordering::Release);
    }
}
