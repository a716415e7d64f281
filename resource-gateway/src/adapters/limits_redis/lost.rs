//! What does not answer. Requests do not wait for it until it does again.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Parts that do not answer, each with why. There are no more of them than interfaces.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Nearly always 0, and then nothing else is looked at.
    count: AtomicUsize,
    parts: Mutex<BTreeMap<Arc<str>, String>>,
}

impl Lost {
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
            tracing::warn!(redis.part = &**part, reason, "Redis does not answer");
        }
        parts.insert(Arc::clone(part), reason);
        self.count.store(parts.len(), Ordering::Release);
    }

    pub(super) fn found(&self, part: &str) {
        let mut parts = self.lock();
        if parts.remove(part).is_some() {
            tracing::info!(redis.part = part, "Redis answers again");
        }
        self.count.store(parts.len(), Ordering::Release);
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
