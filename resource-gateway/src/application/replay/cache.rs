//! The cache of exact answers.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use moka::sync::Cache;
use sha2::{Digest as _, Sha256};

use crate::domain::{
    cache_control::CacheWish,
    call::Call,
    caller::Caller,
    fault::{ErrorKind, PublicError},
    ids::InterfaceName,
    interface::Interface,
    recorded::Recorded,
    snapshot::Snapshot,
};

const X_CACHE: HeaderName = HeaderName::from_static("x-hexgate-cache");
/// An answer may take this part of the memory.
const LARGEST_SHARE: u64 = 8;
/// And no more than this.
const LARGEST: u64 = 8 * 1024 * 1024;

/// What identifies a question: tenant, interface as it is configured, capability, the shaped body, and what the caller asked for that a
/// rule may have hidden in it.
pub(super) type CacheKey = [u8; 32];

#[derive(Clone)]
struct Entry {
    answer: Arc<Recorded>,
    stored: Instant,
}

/// Complete answers by question, bounded by memory. An answer is given to callers of one tenant, and only as long as the interface's row
/// and those of its vendors are what they were.
pub struct ResponseCache {
    answers: Cache<CacheKey, Entry>,
    stamps: ArcSwap<Stamps>,
    building: Mutex<()>,
    max_bytes: u64,
}

/// A number for each interface that is cached, which changes with its configuration.
#[derive(Default)]
struct Stamps {
    snapshot: Option<Arc<Snapshot>>,
    by_name: HashMap<InterfaceName, u64>,
    last: u64,
}

/// A call as the cache sees it.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) interface: &'a Interface,
    pub(super) call: &'a Call,
    pub(super) caller: &'a Caller,
    /// The caller's headers.
    pub(super) sent: &'a HeaderMap,
    pub(super) now: Instant,
}

/// What the cache has to say about a call.
pub(super) enum Looked {
    /// The interface is not cached, or the caller wants nothing of it.
    Not,
    Hit(Found),
    /// The answer is to be kept under this key.
    Miss(CacheKey),
}

/// An answer and its age in seconds.
#[derive(Debug)]
pub(in crate::application) struct Found {
    pub(super) answer: Arc<Recorded>,
    age: u64,
}

impl Found {
    /// What the caller is told.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(X_CACHE, HeaderValue::from_static("hit"));
        // RFC 9111 §5.1.
        headers.insert(header::AGE, HeaderValue::from(self.age));
    }
}

impl ResponseCache {
    pub fn new(max_bytes: u64) -> Self {
        let answers = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_, entry: &Entry| u32::try_from(entry.answer.weight()).unwrap_or(u32::MAX))
            .build();
        Self {
            answers,
            stamps: ArcSwap::default(),
            building: Mutex::default(),
            max_bytes,
        }
    }

    /// Answers that are longer are not kept.
    pub(super) fn largest(&self) -> usize {
        Self::largest_of(self.max_bytes)
    }

    /// How long an answer may be to be kept in so many bytes of memory.
    pub fn largest_of(max_bytes: u64) -> usize {
        usize::try_from((max_bytes / LARGEST_SHARE).min(LARGEST)).unwrap_or(0)
    }

    /// Looks for an answer to a shaped body; `headers` gets what the caller is told.
    ///
    /// # Errors
    /// The caller wants a kept answer or none, and there is none.
    pub(super) fn look(
        &self,
        snapshot: &Arc<Snapshot>,
        question: Question<'_>,
        headers: &mut HeaderMap,
    ) -> Result<Looked, PublicError> {
        let Some(ttl) = question.interface.policy.cache_ttl else {
            return Ok(Looked::Not);
        };
        let wish = wish(question.sent);
        if wish.no_store {
            headers.insert(X_CACHE, HeaderValue::from_static("bypass"));
            return Ok(Looked::Not);
        }
        let key = key(self.stamp(snapshot, question.interface), question);
        if let Some(found) = self.find(&key, wish, ttl, question.now) {
            return Ok(Looked::Hit(found));
        }
        if wish.only_if_cached {
            let message = "There is no kept answer, and only-if-cached asks for no other.";
            return Err(PublicError::new(504, ErrorKind::InvalidRequest, "not_cached", message));
        }
        let told = if wish.no_cache { "bypass" } else { "miss" };
        headers.insert(X_CACHE, HeaderValue::from_static(told));
        Ok(Looked::Miss(key))
    }

    fn find(&self, key: &CacheKey, wish: CacheWish, ttl: Duration, now: Instant) -> Option<Found> {
        if wish.no_cache {
            return None;
        }
        let entry = self.answers.get(key)?;
        let age = now.saturating_duration_since(entry.stored).as_secs();
        if age >= ttl.as_secs() {
            self.answers.invalidate(key);
            return None;
        }
        let answer = entry.answer;
        wish.accepts(age, ttl.as_secs()).then_some(Found { answer, age })
    }

    pub(super) fn keep(&self, key: CacheKey, answer: Arc<Recorded>, stored: Instant) {
        self.answers.insert(key, Entry { answer, stored });
    }

    /// The interface's number under the snapshot. Worked out once for each snapshot.
    fn stamp(&self, snapshot: &Arc<Snapshot>, interface: &Interface) -> u64 {
        let stamps = self.stamps.load();
        if let Some(stamp) = stamps.of(snapshot, interface) {
            return stamp;
        }
        drop(stamps);
        let _turn = self.building.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.stamps.load_full();
        if let Some(stamp) = before.of(snapshot, interface) {
            return stamp;
        }
        let after = Arc::new(before.next(snapshot));
        self.stamps.store(Arc::clone(&after));
        after.of(snapshot, interface).unwrap_or(0)
    }
}

impl Stamps {
    fn of(&self, snapshot: &Arc<Snapshot>, interface: &Interface) -> Option<u64> {
        let known = self.snapshot.as_ref().is_some_and(|known| Arc::ptr_eq(known, snapshot));
        known.then(|| self.by_name.get(interface.name.as_str()).copied())?
    }

    /// Interfaces that are what they were, together with their vendors, keep their number; the others get one that nobody had.
    fn next(&self, snapshot: &Arc<Snapshot>) -> Self {
        let mut last = self.last;
        let mut stamp = |interface: &Interface| {
            let same = self
                .snapshot
                .as_ref()
                .is_some_and(|before| is_same(interface, snapshot, before));
            if let Some(stamp) = self.by_name.get(interface.name.as_str()).filter(|_| same) {
                return *stamp;
            }
            last += 1;
            last
        };
        let cached = snapshot.interfaces().filter(|one| one.policy.cache_ttl.is_some());
        let by_name = cached.map(|one| (one.name.clone(), stamp(one))).collect();
        Self {
            snapshot: Some(Arc::clone(snapshot)),
            by_name,
            last,
        }
    }
}

fn is_same(interface: &Interface, now: &Snapshot, before: &Snapshot) -> bool {
    let same_row = before
        .find_interface(interface.name.as_str())
        .is_some_and(|known| **known == *interface);
    let same_vendor =
        |route: &crate::domain::interface::Route| now.find_vendor(&route.vendor) == before.find_vendor(&route.vendor);
    same_row && interface.routes.iter().all(same_vendor)
}

fn wish(headers: &HeaderMap) -> CacheWish {
    let text = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    let values: Vec<String> = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        // What cannot be read may have been the strictest.
        .map(|value| text(value).unwrap_or_else(|| "no-store".to_owned()))
        .collect();
    let pragma = headers.get(header::PRAGMA).and_then(text);
    CacheWish::read(values.iter().map(String::as_str), pragma.as_deref())
}

fn key(stamp: u64, question: Question<'_>) -> CacheKey {
    let Question {
        interface,
        call,
        caller,
        ..
    } = question;
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        // Each part is told by its length, so that no two lists of parts are one.
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    match &caller.tenant {
        None => part(b"0"),
        Some(tenant) => {
            part(b"1");
            part(tenant.as_str().as_bytes());
        }
    }
    part(interface.name.as_str().as_bytes());
    part(&stamp.to_be_bytes());
    part(interface.capability.as_str().as_bytes());
    part(&call.body());
    part(&[u8::from(call.stream), u8::from(call.include_usage)]);
    part(call.format.unwrap_or_default().as_bytes());
    part(format!("{:?}", call.min_confidence).as_bytes());
    hash.finalize().into()
}

impl fmt::Debug for ResponseCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCache")
            .field("answers", &self.answers.entry_count())
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}
