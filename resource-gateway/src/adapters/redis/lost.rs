//! What does not answer. Requests do not wait for it until it does again.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use metrics::{Gauge, describe_gauge, gauge};

use super::Purpose;

/// Parts that do not answer, each with why. There are no more of them than interfaces.
pub(super) struct Lost {
    purpose: &'static Purpose,
    /// Nearly always 0, and then nothing else is looked at.
    count: AtomicUsize,
    parts: Mutex<BTreeMap<Arc<str>, String>>,
    whole: Gauge,
}

impl fmt::Debug for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lost").field(&self.lock()).finish()
    }
}

impl Lost {
    pub(super) fn nothing(purpose: &'static Purpose) -> Self {
        describe_gauge!(purpose.gauge, purpose.while_whole);
        let whole = gauge!(purpose.gauge);
        whole.set(1.0);
        Self {
            purpose,
            count: AtomicUsize::new(0),
            parts: Mutex::default(),
            whole,
        }
    }

    /// Why a part does not answer, if it does not.
    pub(super) fn why(&self, part: &str) -> Option<String> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.lock().get(part).cloned()
    }

    pub(super) fn note(&self, part: &Arc<str>, reason: String) {
        let mut parts = self.lock();
        if !parts.contains_key(part) {
            tracing::warn!(
                redis.part = &**part,
                reason,
                "Redis does not answer: {}",
                self.purpose.while_lost
            );
        }
        parts.insert(Arc::clone(part), reason);
        self.count.store(parts.len(), Ordering::Release);
        self.whole.set(0.0);
    }

    pub(super) fn found(&self, part: &str) {
        let mut parts = self.lock();
        if parts.remove(part).is_none() {
            return;
        }
        tracing::info!(redis.part = part, "Redis answers again, for {}", self.purpose.home);
        self.count.store(parts.len(), Ordering::Release);
        if parts.is_empty() {
            self.whole.set(1.0);
        }
    }

    pub(super) fn all(&self) -> Vec<Arc<str>> {
        self.lock().keys().cloned().collect()
    }

    /// For `/status`.
    pub(super) fn reason(&self) -> Option<String> {
        self.lock().values().next().cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, String>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
