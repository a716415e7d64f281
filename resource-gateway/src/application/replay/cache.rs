//! The cache of exact answers.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};

use crate::{
    application::documents::render,
    domain::{
        cache_control::CacheWish,
        call::Call,
        caller::Caller,
        config_row::Row,
        fault::{ErrorKind, PublicError},
        ids::InterfaceName,
        interface::Interface,
        recorded::Recorded,
        snapshot::Snapshot,
        vendor::Vendor,
    },
    ports::replies::{AnswerKey, Answers},
};

const X_CACHE: HeaderName = HeaderName::from_static("x-hexgate-cache");

/// Where an answer is kept, and for how long. The key identifies a question: tenant, interface as it is configured, capability, the
/// shaped body, and what the caller asked for that a rule may have hidden in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct CachePlace {
    key: AnswerKey,
    ttl: Duration,
}

/// What an interface and its vendors are configured to be, as a digest: the same on every node.
type Stamp = [u8; 32];

/// Complete answers by question. An answer is given to callers of one tenant, and only as long as the interface's row and those of its
/// vendors are what they were.
pub struct ResponseCache {
    answers: Arc<dyn Answers>,
    stamps: ArcSwap<Stamps>,
    building: Mutex<()>,
}

/// The stamps of the interfaces that are cached, worked out once for each snapshot.
#[derive(Default)]
struct Stamps {
    snapshot: Option<Arc<Snapshot>>,
    by_name: HashMap<InterfaceName, Stamp>,
}

/// A call as the cache sees it.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) interface: &'a Interface,
    pub(super) call: &'a Call,
    pub(super) caller: &'a Caller,
    /// The caller's headers.
    pub(super) sent: &'a HeaderMap,
}

/// What the cache has to say about a call.
pub(super) enum Looked {
    /// The interface is not cached, or the caller wants nothing of it.
    Not,
    Hit(Found),
    /// The answer is to be kept there.
    Miss(CachePlace),
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
    pub fn new(answers: Arc<dyn Answers>) -> Self {
        Self {
            answers,
            stamps: ArcSwap::default(),
            building: Mutex::default(),
        }
    }

    /// Answers that are longer are not kept.
    pub(super) fn largest(&self) -> usize {
        self.answers.largest()
    }

    /// Looks for an answer to a shaped body; `headers` gets what the caller is told.
    ///
    /// # Errors
    /// The caller wants a kept answer or none, and there is none.
    pub(super) async fn look(
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
        let key = key(&self.stamp(snapshot, question.interface), question);
        if let Some(found) = self.find(&key, wish, ttl).await {
            return Ok(Looked::Hit(found));
        }
        if wish.only_if_cached {
            let message = "There is no kept answer, and only-if-cached asks for no other.";
            return Err(PublicError::new(504, ErrorKind::InvalidRequest, "not_cached", message));
        }
        let told = if wish.no_cache { "bypass" } else { "miss" };
        headers.insert(X_CACHE, HeaderValue::from_static(told));
        Ok(Looked::Miss(CachePlace { key, ttl }))
    }

    async fn find(&self, key: &AnswerKey, wish: CacheWish, ttl: Duration) -> Option<Found> {
        if wish.no_cache {
            return None;
        }
        let kept = self.answers.find(key).await?;
        let age = kept.age.as_secs();
        let answer = kept.answer;
        wish.accepts(age, ttl.as_secs()).then_some(Found { answer, age })
    }

    pub(super) fn keep(&self, place: CachePlace, answer: Arc<Recorded>) {
        self.answers.keep(place.key, answer, place.ttl);
    }

    fn stamp(&self, snapshot: &Arc<Snapshot>, interface: &Interface) -> Stamp {
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
        let after = Arc::new(Stamps::of_all(snapshot));
        self.stamps.store(Arc::clone(&after));
        after
            .of(snapshot, interface)
            .unwrap_or_else(|| stamp(snapshot, interface))
    }
}

impl Stamps {
    fn of(&self, snapshot: &Arc<Snapshot>, interface: &Interface) -> Option<Stamp> {
        let known = self.snapshot.as_ref().is_some_and(|known| Arc::ptr_eq(known, snapshot));
        known.then(|| self.by_name.get(interface.name.as_str()).copied())?
    }

    fn of_all(snapshot: &Arc<Snapshot>) -> Self {
        let cached = snapshot.interfaces().filter(|one| one.policy.cache_ttl.is_some());
        Self {
            snapshot: Some(Arc::clone(snapshot)),
            by_name: cached.map(|one| (one.name.clone(), stamp(snapshot, one))).collect(),
        }
    }
}

/// Of all that the rows say, and of the vendors' secrets, which rows do not show.
fn stamp(snapshot: &Snapshot, interface: &Interface) -> Stamp {
    let mut hash = Parts::default();
    let row = |row: Row| serde_json::Value::Object(render(&row)).to_string();
    hash.add(row(Row::Interface(interface.clone())).as_bytes());
    for route in &interface.routes {
        let Some(vendor) = snapshot.find_vendor(&route.vendor) else {
            continue;
        };
        hash.add(row(Row::Vendor(Vendor::clone(vendor))).as_bytes());
        let secret = vendor.credential.secret_key.present();
        hash.add(secret.map_or("", |secret| secret.expose_secret()).as_bytes());
    }
    hash.end()
}

/// Hashes parts, each told by its length, so that no two lists of parts are one.
#[derive(Default)]
struct Parts(Sha256);

impl Parts {
    fn add(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn end(self) -> [u8; 32] {
        self.0.finalize().into()
    }
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

fn key(stamp: &Stamp, question: Question<'_>) -> AnswerKey {
    let Question {
        interface,
        call,
        caller,
        ..
    } = question;
    let mut hash = Parts::default();
    match &caller.tenant {
        None => hash.add(b"0"),
        Some(tenant) => {
            hash.add(b"1");
            hash.add(tenant.as_str().as_bytes());
        }
    }
    hash.add(interface.name.as_str().as_bytes());
    hash.add(stamp);
    hash.add(interface.capability.as_str().as_bytes());
    hash.add(&call.body());
    hash.add(call.voice().as_str().as_bytes());
    // What a translation may not show.
    hash.add(&call.verbatim_for("").unwrap_or_default().concat());
    hash.add(&[u8::from(call.stream), u8::from(call.include_usage)]);
    hash.add(call.format.unwrap_or_default().as_bytes());
    hash.add(format!("{:?}", call.min_confidence).as_bytes());
    hash.end()
}

impl fmt::Debug for ResponseCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseCache")
            .field("answers", &self.answers)
            .finish_non_exhaustive()
    }
}
