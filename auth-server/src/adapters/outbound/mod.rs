//! The one guarded HTTP client, behind the port [`Outbound`].
//!
//! A name is resolved once for each connection, by us: addresses that are not public are dropped before anything connects, so that
//! a name which answers differently the next time gains nothing. Connections are not kept: hosts are strangers' and many, and each
//! request shall go through all checks.

mod cache_control;
mod lookup;
mod roots;

use std::{error::Error as StdError, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use metrics::{counter, describe_counter};
use native_tls::TlsConnector;
use reqwest::{
    Client, Response,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap},
};
use secrecy::ExposeSecret as _;
use tokio::{
    sync::{AcquireError, OnceCell, Semaphore},
    time::timeout,
};

pub use lookup::{HostLookup, SystemLookup};
pub use roots::{ExtraRoots, RootsError};

use self::lookup::{AnyAddress, Lookups, NotPublic, PublicOnly};
use crate::{
    domain::reach::{AllowedHost, Target, Trust, is_public},
    ports::outbound::{
        Outbound, OutboundBody, OutboundError, OutboundMethod, OutboundReply, OutboundRequest, Purpose, Refusal,
    },
};

const REQUESTS: &str = "outbound_requests_total";
/// Header fields of a reply, and bytes of them.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 32 * 1024;
/// Hosts whose places are counted at the same time, and for how long after their last request.
const HOSTS: u64 = 10_000;
const HOST_KEPT: Duration = Duration::from_secs(60);

/// What the client holds itself to.
#[derive(Debug)]
pub struct GuardSettings {
    pub roots: ExtraRoots,
    pub allowed: Vec<AllowedHost>,
    /// For a whole fetch, from the name's resolution to the last byte.
    pub fetch_deadline: Duration,
    /// The same for a delivery.
    pub delivery_deadline: Duration,
    pub crowd: Crowd,
    pub lookup: Arc<dyn HostLookup>,
}

/// How many requests may be under way at the same time.
#[derive(Debug, Clone, Copy)]
pub struct Crowd {
    /// In each of the lanes.
    pub per_lane: usize,
    /// To one host, so that a slow one cannot fill a lane.
    pub per_host: usize,
    /// How long a further one waits for its turn.
    pub patience: Duration,
}

impl Default for Crowd {
    fn default() -> Self {
        Self {
            per_lane: 32,
            per_host: 8,
            patience: Duration::from_secs(1),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct GuardedOutbound {
    settings: GuardSettings,
    lanes: OnceCell<Lanes>,
    hosts: moka::sync::Cache<String, Arc<Semaphore>>,
}

/// Kinds of requests do not take each other's place: what anybody can set off must not hold up the news of a logout.
#[derive(Debug)]
struct Lanes {
    /// Descriptions, pictures and sectors: a name or a registration is enough.
    anybody: Lane,
    /// Request objects: a link is enough, and clients come by the address in it without the operator's doing.
    objects: Lane,
    /// Keys: clients without theirs cannot authenticate, so nothing else may stand in their way.
    keys: Lane,
    deliveries: Lane,
}

impl Lanes {
    fn build(settings: &LaneSettings) -> Result<Self, BoxError> {
        Ok(Self {
            anybody: Lane::build(settings, settings.fetch_deadline)?,
            objects: Lane::build(settings, settings.fetch_deadline)?,
            keys: Lane::build(settings, settings.fetch_deadline)?,
            deliveries: Lane::build(settings, settings.delivery_deadline)?,
        })
    }

    fn of(&self, purpose: Purpose) -> &Lane {
        match purpose {
            Purpose::ClientMetadata | Purpose::Logo | Purpose::SectorIdentifier => &self.anybody,
            Purpose::RequestUri => &self.objects,
            Purpose::JwksUri => &self.keys,
            Purpose::BackchannelLogout | Purpose::CibaNotification => &self.deliveries,
        }
    }
}

type BoxError = Box<dyn StdError + Send + Sync>;

/// What the lanes have in common.
struct LaneSettings {
    tls: TlsConnector,
    lookup: Arc<dyn HostLookup>,
    places: usize,
    fetch_deadline: Duration,
    delivery_deadline: Duration,
}

#[derive(Debug)]
struct Lane {
    deadline: Duration,
    places: Semaphore,
    /// Connects to public addresses only.
    guarded: Client,
    /// Connects anywhere: for hosts that the operator has named.
    open: Client,
}

impl Lane {
    fn build(settings: &LaneSettings, deadline: Duration) -> Result<Self, BoxError> {
        let builder = || {
            Client::builder()
                .tls_backend_preconfigured(settings.tls.clone())
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .user_agent(concat!("Hexgate/", env!("CARGO_PKG_VERSION")))
                // HTTP/2 would bring tables, windows and frames of which none is needed for one short exchange.
                .http1_only()
                .http1_max_headers(MAX_HEADERS)
                .pool_max_idle_per_host(0)
                // Shared by a name's addresses, so that a dead one leaves time for the next.
                .connect_timeout(deadline * 3 / 4)
        };
        let lookups = Lookups::new(settings.lookup.clone(), settings.places);
        Ok(Self {
            deadline,
            places: Semaphore::new(settings.places),
            guarded: builder().dns_resolver(PublicOnly(lookups.clone())).build()?,
            open: builder().dns_resolver(AnyAddress(lookups)).build()?,
        })
    }

    fn client(&self, trust: Trust) -> &Client {
        match trust {
            Trust::Stranger => &self.guarded,
            Trust::Allowed => &self.open,
        }
    }
}

impl GuardedOutbound {
    pub fn new(settings: GuardSettings) -> Self {
        describe_counter!(REQUESTS, "Outbound requests by purpose and outcome");
        let hosts = moka::sync::Cache::builder()
            .max_capacity(HOSTS)
            .time_to_idle(HOST_KEPT)
            .build();
        Self {
            settings,
            lanes: OnceCell::new(),
            hosts,
        }
    }

    /// Built at the first request, and off the async threads: reading the system's certificates takes tens of milliseconds, and
    /// many an installation never asks anybody.
    async fn lanes(&self) -> Result<&Lanes, OutboundError> {
        let build = || async {
            let roots = self.settings.roots.clone();
            let lookup = self.settings.lookup.clone();
            let places = self.settings.crowd.per_lane;
            let (fetch_deadline, delivery_deadline) = (self.settings.fetch_deadline, self.settings.delivery_deadline);
            let built = tokio::task::spawn_blocking(move || {
                Lanes::build(&LaneSettings {
                    tls: roots.connector()?,
                    lookup,
                    places,
                    fetch_deadline,
                    delivery_deadline,
                })
            });
            built.await.map_err(|_| OutboundError::Internal)?.map_err(|error| {
                tracing::error!(%error, "the client of outbound requests cannot be built");
                OutboundError::Internal
            })
        };
        self.lanes.get_or_try_init(build).await
    }

    /// Waits for a place in the lane and at the host, then has the whole exchange done in its time.
    async fn ask(&self, target: Target, request: OutboundRequest) -> Result<OutboundReply, OutboundError> {
        let lane = self.lanes().await?.of(request.purpose);
        let host = target.url.host_str().unwrap_or_default();
        let at_host = self
            .hosts
            .get_with_by_ref(host, || Arc::new(Semaphore::new(self.settings.crowd.per_host)));
        // The host's first: who waits for that one holds nothing that others want.
        let places = async { Ok::<_, AcquireError>((at_host.acquire().await?, lane.places.acquire().await?)) };
        let Ok(Ok(_places)) = timeout(self.settings.crowd.patience, places).await else {
            return Err(OutboundError::Busy);
        };
        let exchange = exchange(lane.client(target.trust), target, request);
        match timeout(lane.deadline, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(OutboundError::Timeout),
        }
    }
}

#[async_trait]
impl Outbound for GuardedOutbound {
    async fn fetch(&self, request: OutboundRequest) -> Result<OutboundReply, OutboundError> {
        let purpose = request.purpose;
        let target = Target::parse(&request.url, &self.settings.allowed).map_err(OutboundError::Refused);
        let host = target
            .as_ref()
            .ok()
            .and_then(|target| target.url.host_str().map(str::to_owned));
        let outcome = match target {
            Ok(target) => self.ask(target, request).await,
            Err(refused) => Err(refused),
        };
        let label = outcome.as_ref().map_or_else(|error| error.label(), |_| "answered");
        counter!(REQUESTS, "purpose" => purpose.label(), "outcome" => label).increment(1);
        // The host alone: paths and queries may be secrets of somebody's.
        match &outcome {
            Ok(reply) => tracing::debug!(
                purpose = purpose.label(),
                host,
                status = reply.status,
                "an outbound request was answered"
            ),
            Err(error) => tracing::info!(purpose = purpose.label(), host, %error, "an outbound request failed"),
        }
        outcome
    }
}

async fn exchange(client: &Client, target: Target, request: OutboundRequest) -> Result<OutboundReply, OutboundError> {
    let max_bytes = request.purpose.max_bytes();
    let response = send(client, target.url, request).await?;
    if target.trust == Trust::Stranger {
        check_peer(&response)?;
    }
    read(response, max_bytes).await
}

async fn send(client: &Client, url: url::Url, request: OutboundRequest) -> Result<Response, OutboundError> {
    let mut builder = match request.method {
        OutboundMethod::Get => client.get(url),
        OutboundMethod::Post(OutboundBody::Form(fields)) => client.post(url).form(&fields),
        OutboundMethod::Post(OutboundBody::Json(value)) => client.post(url).json(&value),
    };
    if let Some(accept) = request.accept {
        builder = builder.header(ACCEPT, accept);
    }
    if let Some(bearer) = &request.bearer {
        builder = builder.bearer_auth(bearer.expose_secret());
    }
    builder.send().await.map_err(|error| cause_of(&error))
}

/// The third line, after the URL and the resolver: whatever connected, it is not a private address that has answered.
fn check_peer(response: &Response) -> Result<(), OutboundError> {
    match response.remote_addr() {
        Some(peer) if is_public(peer.ip()) => Ok(()),
        Some(_) | None => Err(Refusal::NotPublic.into()),
    }
}

async fn read(mut response: Response, max_bytes: usize) -> Result<OutboundReply, OutboundError> {
    let status = response.status();
    if status.is_redirection() {
        return Err(Refusal::Redirect.into());
    }
    let headers = response.headers();
    let header_bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    // No encoding was offered, and none is undone: a small body cannot become a large one.
    if header_bytes > MAX_HEADER_BYTES || headers.contains_key(CONTENT_ENCODING) {
        return Err(OutboundError::BadReply);
    }
    let content_type = media_type(headers);
    let keep_for = cache_control::keep_for(headers);
    // What the header announces can be a lie in both directions; it only saves the reading.
    let announced = response.content_length().unwrap_or(0);
    if announced > u64::try_from(max_bytes).unwrap_or(u64::MAX) {
        return Err(OutboundError::TooLarge);
    }
    let body = read_body(&mut response, max_bytes).await?;
    Ok(OutboundReply {
        status: status.as_u16(),
        content_type,
        body,
        keep_for,
    })
}

async fn read_body(response: &mut Response, max_bytes: usize) -> Result<Bytes, OutboundError> {
    let mut body = BytesMut::new();
    while let Some(piece) = response.chunk().await.map_err(|error| cause_of(&error))? {
        if body.len() + piece.len() > max_bytes {
            return Err(OutboundError::TooLarge);
        }
        body.extend_from_slice(&piece);
    }
    Ok(body.freeze())
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default().trim();
    (!essence.is_empty()).then(|| essence.to_ascii_lowercase())
}

/// What went wrong, without the library's texts: they have the URL in them.
fn cause_of(error: &reqwest::Error) -> OutboundError {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(link) = cause {
        if link.is::<NotPublic>() {
            return Refusal::NotPublic.into();
        }
        if link.is::<native_tls::Error>() {
            return OutboundError::Tls;
        }
        cause = link.source();
    }
    match () {
        () if error.is_builder() => OutboundError::Internal,
        () if error.is_timeout() => OutboundError::Timeout,
        () if error.is_connect() => OutboundError::Unreachable,
        () => OutboundError::BadReply,
    }
}

#[cfg(test)]
mod tests;
