//! Documents that clients publish at URLs of theirs: keys, descriptions, request objects, sectors.
//!
//! What can be kept is kept for as long as its host says, within bounds of ours. Nobody can make the provider ask a host for that more
//! often: callers who want the same document share one request, a failure is remembered for a moment, and an unknown key makes
//! it ask again only after a pause.
//!
//! A request object is not kept, and a link makes the provider ask for it. Therefore whoever has no such object is left alone for a
//! moment: otherwise strangers, who may register any address, could have somebody else's host asked as often as they like.

use std::{sync::Arc, time::Duration};

use serde_json::{Map, Value};
use service_kit::{Clock, Timestamp};
use token_keys::strict_json;
use tokio::sync::Mutex;

use crate::{
    domain::reach::{MAX_URL_BYTES, Refusal},
    ports::outbound::{Outbound, OutboundError, OutboundReply, OutboundRequest, Purpose},
};

/// Longest list of redirect URIs that a sector may have.
const MAX_SECTOR_URIS: usize = 1000;

/// Why a document cannot be had. The texts say nothing of what is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    #[error("{0}")]
    Unavailable(#[from] OutboundError),
    #[error("the host answered with status {0}")]
    Status(u16),
    #[error("its media type is not JSON")]
    MediaType,
    #[error("it is not {0}")]
    Malformed(&'static str),
}

impl DocumentError {
    /// Tells whether the host may only be out of order for now (RFC 5861 §4).
    pub fn may_pass(self) -> bool {
        match self {
            Self::Unavailable(error) => error.may_pass(),
            Self::Status(status) => status == 429 || status >= 500,
            Self::MediaType | Self::Malformed(_) => false,
        }
    }
}

/// What is expected of a kind of document.
#[derive(Debug)]
pub struct DocumentKind<T> {
    pub purpose: Purpose,
    pub accept: &'static str,
    pub media_type: MediaType,
    /// Reads the body, or says what it is not.
    pub read: fn(&[u8]) -> Result<T, &'static str>,
}

/// Which media types are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// Many hosts of plain files know none.
    Any,
    /// `application/json`, or one that ends in `+json`.
    Json,
}

impl<T> DocumentKind<T> {
    /// Asks for the document, whatever was asked before.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub async fn fetch(&self, outbound: &dyn Outbound, url: &str) -> Result<Fetched<T>, DocumentError> {
        let request = OutboundRequest::get(self.purpose, url).accepting(self.accept);
        let reply = outbound.fetch(request).await?;
        if reply.status != 200 {
            return Err(DocumentError::Status(reply.status));
        }
        if self.media_type == MediaType::Json && !is_json(&reply) {
            return Err(DocumentError::MediaType);
        }
        Ok(Fetched {
            value: (self.read)(&reply.body).map_err(DocumentError::Malformed)?,
            keep_for: reply.keep_for,
            bytes: reply.body.len(),
        })
    }
}

fn is_json(reply: &OutboundReply) -> bool {
    let media_type = reply.content_type.as_deref().unwrap_or_default();
    media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

/// A document, fresh from its host.
#[derive(Debug)]
pub struct Fetched<T> {
    pub value: T,
    /// What the host says, see [`OutboundReply::keep_for`].
    pub keep_for: Option<Duration>,
    pub bytes: usize,
}

/// For how long documents of a kind are kept.
#[derive(Debug, Clone, Copy)]
pub struct Keeping {
    /// When the host does not say.
    pub usual: Duration,
    /// Whatever the host says.
    pub shortest: Duration,
    pub longest: Duration,
    /// A failure.
    pub failure: Duration,
    /// Past its time, while the host is out of order.
    pub in_need: Duration,
    /// Between two requests that [`CachedDocuments::refetch`] makes for one URL.
    pub refetch_pause: Duration,
    /// Bytes of bodies that are kept together.
    pub max_bytes: u64,
}

/// What is known of a URL.
#[derive(Debug)]
struct Known<T> {
    outcome: Result<Arc<T>, DocumentError>,
    asked_at: Timestamp,
    /// When a look-up asks again.
    fresh_until: Timestamp,
    /// Until when the document stands in for one that cannot be fetched.
    usable_until: Timestamp,
    refetched_at: Option<Timestamp>,
    bytes: usize,
}

impl<T> Known<T> {
    fn is_fresh(&self, now: Timestamp) -> bool {
        // A clock that was set back must not make it last.
        self.asked_at <= now && now < self.fresh_until
    }

    /// Younger than this it is not fetched again, whoever asks: the caller who finds the key missing may have caused the fetch.
    const JUST_ASKED: Duration = Duration::from_secs(1);

    fn may_be_refetched(&self, now: Timestamp, pause: Duration) -> bool {
        now.since(self.asked_at) >= Self::JUST_ASKED && self.refetched_at.is_none_or(|last| now.since(last) >= pause)
    }
}

/// Documents of one kind, fetched when they are needed and kept for a while.
pub struct CachedDocuments<T> {
    outbound: Arc<dyn Outbound>,
    clock: Arc<dyn Clock>,
    kind: DocumentKind<T>,
    keeping: Keeping,
    known: moka::sync::Cache<String, Arc<Known<T>>>,
    /// One request at a time for each URL.
    turns: moka::sync::Cache<String, Arc<Mutex<()>>>,
}

/// URLs that are waited for at the same time, and how long their locks are kept. Dropped too early, one would only allow a second request.
const TURNS: u64 = 10_000;
const TURN_KEPT: Duration = Duration::from_secs(60);
/// What an entry weighs beside its URL and body.
const ENTRY_BYTES: usize = 256;

impl<T> std::fmt::Debug for CachedDocuments<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CachedDocuments").finish_non_exhaustive()
    }
}

impl<T: Send + Sync + 'static> CachedDocuments<T> {
    pub fn new(outbound: Arc<dyn Outbound>, clock: Arc<dyn Clock>, kind: DocumentKind<T>, keeping: Keeping) -> Self {
        let known = moka::sync::Cache::builder()
            .weigher(|url: &String, known: &Arc<Known<T>>| {
                u32::try_from(url.len() + known.bytes + ENTRY_BYTES).unwrap_or(u32::MAX)
            })
            .max_capacity(keeping.max_bytes)
            .build();
        let turns = moka::sync::Cache::builder()
            .max_capacity(TURNS)
            .time_to_idle(TURN_KEPT)
            .build();
        Self {
            outbound,
            clock,
            kind,
            keeping,
            known,
            turns,
        }
    }

    /// The document at `url`: from memory while it is fresh, else from its host.
    ///
    /// # Errors
    /// [`DocumentError`], of this request or, for a moment, of the last one.
    pub async fn load(&self, url: &str) -> Result<Arc<T>, DocumentError> {
        if let Some(known) = self.fresh(url) {
            return known.outcome.clone();
        }
        let turn = self.turn(url)?;
        let _turn = turn.lock().await;
        // Somebody else may have asked while this caller waited for the turn.
        if let Some(known) = self.fresh(url) {
            return known.outcome.clone();
        }
        let earlier = self.known.get(url);
        let refetched_at = earlier.as_ref().and_then(|known| known.refetched_at);
        self.ask(url, earlier, refetched_at).await
    }

    /// The document at `url`, asked for again although it is fresh: something in it was not found. When that was done a short while
    /// ago, it is the document at hand.
    ///
    /// # Errors
    /// [`DocumentError`]; when there is a fresh document, a failure to fetch a newer one is not an error.
    pub async fn refetch(&self, url: &str) -> Result<Arc<T>, DocumentError> {
        let turn = self.turn(url)?;
        let _turn = turn.lock().await;
        let now = self.clock.now();
        match self.known.get(url) {
            Some(known) if known.is_fresh(now) && !known.may_be_refetched(now, self.keeping.refetch_pause) => {
                known.outcome.clone()
            }
            earlier => self.ask(url, earlier, Some(now)).await,
        }
    }

    fn fresh(&self, url: &str) -> Option<Arc<Known<T>>> {
        self.known.get(url).filter(|known| known.is_fresh(self.clock.now()))
    }

    fn turn(&self, url: &str) -> Result<Arc<Mutex<()>>, DocumentError> {
        // The port would refuse it as well; here it must not fill the memory first.
        match url.len() <= MAX_URL_BYTES {
            true => Ok(self.turns.get_with_by_ref(url, Arc::default)),
            false => Err(OutboundError::Refused(Refusal::TooLong).into()),
        }
    }

    async fn ask(
        &self,
        url: &str,
        earlier: Option<Arc<Known<T>>>,
        refetched_at: Option<Timestamp>,
    ) -> Result<Arc<T>, DocumentError> {
        let fetched = self.kind.fetch(&*self.outbound, url).await;
        let now = self.clock.now();
        let mut known = match fetched {
            Ok(fetched) => self.fetched(fetched, now),
            Err(error) => self.failed(error, earlier, now),
        };
        known.refetched_at = refetched_at;
        let outcome = known.outcome.clone();
        // Our own crowd tells nothing of the host.
        if !matches!(outcome, Err(DocumentError::Unavailable(OutboundError::Busy))) {
            self.known.insert(url.to_owned(), Arc::new(known));
        }
        outcome
    }

    fn fetched(&self, fetched: Fetched<T>, now: Timestamp) -> Known<T> {
        let wanted = fetched.keep_for.unwrap_or(self.keeping.usual);
        let fresh_until = now + wanted.max(self.keeping.shortest).min(self.keeping.longest);
        Known {
            outcome: Ok(Arc::new(fetched.value)),
            asked_at: now,
            fresh_until,
            usable_until: fresh_until + self.keeping.in_need,
            refetched_at: None,
            bytes: fetched.bytes,
        }
    }

    fn failed(&self, error: DocumentError, earlier: Option<Arc<Known<T>>>, now: Timestamp) -> Known<T> {
        let again_at = now + self.keeping.failure;
        match earlier {
            Some(earlier) if earlier.outcome.is_ok() && error.may_pass() && now < earlier.usable_until => Known {
                outcome: earlier.outcome.clone(),
                asked_at: now,
                fresh_until: earlier.fresh_until.max(again_at.min(earlier.usable_until)),
                usable_until: earlier.usable_until,
                refetched_at: None,
                bytes: earlier.bytes,
            },
            _ => Known {
                outcome: Err(error),
                asked_at: now,
                fresh_until: again_at,
                usable_until: now,
                refetched_at: None,
                bytes: 0,
            },
        }
    }
}

/// Documents that are asked for each time, unless that has failed a moment ago. Callers do not wait for one another: of a document that
/// serves one request only, many may be under way.
struct FreshDocuments<T> {
    outbound: Arc<dyn Outbound>,
    clock: Arc<dyn Clock>,
    kind: DocumentKind<T>,
    failure: Duration,
    failed: moka::sync::Cache<String, Failed>,
}

/// What is known of a URL that was asked in vain.
#[derive(Clone, Copy)]
struct Failed {
    error: DocumentError,
    at: Timestamp,
}

impl<T> std::fmt::Debug for FreshDocuments<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FreshDocuments").finish_non_exhaustive()
    }
}

impl<T> FreshDocuments<T> {
    fn new(
        outbound: Arc<dyn Outbound>,
        clock: Arc<dyn Clock>,
        kind: DocumentKind<T>,
        failure: Duration,
        max_bytes: u64,
    ) -> Self {
        let failed = moka::sync::Cache::builder()
            .weigher(|url: &String, _: &Failed| u32::try_from(url.len() + ENTRY_BYTES).unwrap_or(u32::MAX))
            .max_capacity(max_bytes)
            .build();
        Self {
            outbound,
            clock,
            kind,
            failure,
            failed,
        }
    }

    async fn fetch(&self, url: &str) -> Result<T, DocumentError> {
        if let Some(error) = self.just_failed(url) {
            return Err(error);
        }
        let fetched = self.kind.fetch(&*self.outbound, url).await;
        match fetched {
            Ok(fetched) => Ok(fetched.value),
            Err(error) => {
                // Our own crowd tells nothing of the host.
                if error != DocumentError::Unavailable(OutboundError::Busy) && url.len() <= MAX_URL_BYTES {
                    let at = self.clock.now();
                    self.failed.insert(url.to_owned(), Failed { error, at });
                }
                Err(error)
            }
        }
    }

    fn just_failed(&self, url: &str) -> Option<DocumentError> {
        let (known, now) = (self.failed.get(url)?, self.clock.now());
        // A clock that was set back must not make it last.
        (known.at <= now && now < known.at + self.failure).then_some(known.error)
    }
}

/// Every kind of document that clients publish.
#[derive(Debug)]
pub struct ClientDocuments {
    /// `jwks_uri` (RFC 7591 §2): a JWK Set, as far as its outline goes.
    pub jwks: CachedDocuments<Value>,
    /// A client's description at the URL that is its `client_id`.
    pub metadata: CachedDocuments<Map<String, Value>>,
    objects: FreshDocuments<String>,
    outbound: Arc<dyn Outbound>,
}

impl ClientDocuments {
    pub fn new(outbound: Arc<dyn Outbound>, clock: Arc<dyn Clock>) -> Self {
        let jwks = Keeping {
            usual: Duration::from_secs(5 * 60),
            shortest: Duration::from_secs(10),
            // A key that a client has withdrawn is honoured for so long at most.
            longest: Duration::from_secs(60 * 60),
            failure: Duration::from_secs(5),
            in_need: Duration::from_secs(10 * 60),
            refetch_pause: Duration::from_secs(10),
            max_bytes: 16 << 20,
        };
        let metadata = Keeping {
            usual: Duration::from_secs(15 * 60),
            shortest: Duration::from_secs(60),
            longest: Duration::from_secs(24 * 60 * 60),
            // Anybody can name such a URL.
            failure: Duration::from_secs(30),
            in_need: Duration::ZERO,
            refetch_pause: Duration::from_secs(60),
            max_bytes: 8 << 20,
        };
        Self {
            jwks: CachedDocuments::new(outbound.clone(), clock.clone(), JWKS, jwks),
            metadata: CachedDocuments::new(outbound.clone(), clock.clone(), METADATA, metadata),
            // As for keys: a client whose host was out of order for a moment shall not wait long.
            objects: FreshDocuments::new(outbound.clone(), clock, REQUEST_OBJECT, Duration::from_secs(5), 4 << 20),
            outbound,
        }
    }

    /// The request object at `request_uri` (RFC 9101 §5.2), asked for each time: it belongs to one request. A fragment, by which
    /// clients tell versions apart (OpenID Connect Core §6.2), is not part of what is asked.
    ///
    /// # Errors
    /// [`DocumentError`], of this request or, for a moment, of the last one.
    pub async fn request_object(&self, request_uri: &str) -> Result<String, DocumentError> {
        let url = request_uri.split_once('#').map_or(request_uri, |(url, _)| url);
        self.objects.fetch(url).await
    }

    /// The redirect URIs at `sector_identifier_uri` (OpenID Connect Registration §5), asked for each time: it is at registration.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub async fn sector(&self, sector_identifier_uri: &str) -> Result<Vec<String>, DocumentError> {
        Ok(SECTOR.fetch(&*self.outbound, sector_identifier_uri).await?.value)
    }
}

const JWKS: DocumentKind<Value> = DocumentKind {
    purpose: Purpose::JwksUri,
    accept: "application/jwk-set+json, application/json",
    media_type: MediaType::Any,
    read: |body| {
        serde_json::from_slice(body)
            .ok()
            .filter(|set: &Value| set.get("keys").is_some_and(Value::is_array))
            .ok_or("a JWK Set")
    },
};

const METADATA: DocumentKind<Map<String, Value>> = DocumentKind {
    purpose: Purpose::ClientMetadata,
    accept: "application/json",
    media_type: MediaType::Json,
    read: |body| strict_json::object(body).map_err(|_| "a JSON object, each name once"),
};

const REQUEST_OBJECT: DocumentKind<String> = DocumentKind {
    purpose: Purpose::RequestUri,
    accept: "application/oauth-authz-req+jwt, application/jwt",
    media_type: MediaType::Any,
    read: |body| {
        let text = str::from_utf8(body).unwrap_or_default().trim();
        match !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            true => Ok(text.to_owned()),
            false => Err("a JWT"),
        }
    },
};

const SECTOR: DocumentKind<Vec<String>> = DocumentKind {
    purpose: Purpose::SectorIdentifier,
    accept: "application/json",
    media_type: MediaType::Any,
    read: |body| {
        serde_json::from_slice(body)
            .ok()
            .filter(|uris: &Vec<String>| uris.len() <= MAX_SECTOR_URIS)
            .ok_or("a JSON array of URIs")
    },
};
