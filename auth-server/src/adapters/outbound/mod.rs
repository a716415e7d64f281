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
use metrics::counter;
use reqwest::{
    Client, Response,
    header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap},
};
use secrecy::ExposeSecret as _;
use tokio::{
    sync::{OnceCell, Semaphore},
    time::timeout,
};

pub use lookup::{HostLookup, SystemLookup};
pub use roots::{ExtraRoots, RootsError};

use self::lookup::{AnyAddress, NotPublic, PublicOnly};
use crate::{
    domain::reach::{AllowedHost, Target, Trust, is_public},
    ports::outbound::{
        Outbound, OutboundBody, OutboundError, OutboundMethod, OutboundReply, OutboundRequest, Purpose, Refusal,
    },
};

/// Requests of one kind at the same time; further ones wait for a moment, then are told so.
const SLOTS: usize = 32;
const SLOT_WAIT: Duration = Duration::from_secs(1);
/// Header fields of a reply, and bytes of them.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 32 * 1024;

/// What the client holds itself to.
#[derive(Debug)]
pub struct GuardSettings {
    pub roots: ExtraRoots,
    pub allowed: Vec<AllowedHost>,
    /// For a whole fetch, from the name's resolution to the last byte.
    pub fetch_deadline: Duration,
    /// The same for a delivery.
    pub delivery_deadline: Duration,
    pub lookup: Arc<dyn HostLookup>,
}

/// See the module.
#[derive(Debug)]
pub struct GuardedOutbound {
    settings: GuardSettings,
    clients: OnceCell<Clients>,
    slots: Slots,
}

/// One connects to public addresses only, the other anywhere: for hosts that the operator has named.
#[derive(Debug)]
struct Clients {
    guarded: Client,
    open: Client,
}

/// Kinds of requests do not take each other's place: what anybody can set off must not hold up the news of a logout.
#[derive(Debug)]
struct Slots {
    anybody: Semaphore,
    fetches: Semaphore,
    deliveries: Semaphore,
}

impl Default for Slots {
    fn default() -> Self {
        Self {
            anybody: Semaphore::new(SLOTS),
            fetches: Semaphore::new(SLOTS),
            deliveries: Semaphore::new(SLOTS),
        }
    }
}

impl Slots {
    fn of(&self, purpose: Purpose) -> &Semaphore {
        match purpose {
            Purpose::ClientMetadata | Purpose::Logo => &self.anybody,
            Purpose::RequestUri | Purpose::JwksUri | Purpose::SectorIdentifier => &self.fetches,
            Purpose::BackchannelLogout | Purpose::CibaNotification => &self.deliveries,
        }
    }
}

impl GuardedOutbound {
    pub fn new(settings: GuardSettings) -> Self {
        Self {
            settings,
            clients: OnceCell::new(),
            slots: Slots::default(),
        }
    }

    /// Built at the first request, and off the async threads: reading the system's certificates takes tens of milliseconds, and
    /// many an installation never asks anybody.
    async fn clients(&self) -> Result<&Clients, OutboundError> {
        let build = || async {
            let roots = self.settings.roots.clone();
            let lookup = self.settings.lookup.clone();
            let built = tokio::task::spawn_blocking(move || Clients::build(&roots, lookup)).await;
            built.map_err(|_| OutboundError::Internal)?.map_err(|error| {
                tracing::error!(%error, "the client of outbound requests cannot be built");
                OutboundError::Internal
            })
        };
        self.clients.get_or_try_init(build).await
    }

    fn deadline(&self, purpose: Purpose) -> Duration {
        match purpose.is_delivery() {
            true => self.settings.delivery_deadline,
            false => self.settings.fetch_deadline,
        }
    }

    async fn ask(&self, target: Target, request: OutboundRequest) -> Result<OutboundReply, OutboundError> {
        let slot = timeout(SLOT_WAIT, self.slots.of(request.purpose).acquire()).await;
        let Ok(Ok(_slot)) = slot else {
            return Err(OutboundError::Busy);
        };
        let deadline = self.deadline(request.purpose);
        match timeout(deadline, self.exchange(target, request)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(OutboundError::Timeout),
        }
    }

    async fn exchange(&self, target: Target, request: OutboundRequest) -> Result<OutboundReply, OutboundError> {
        let clients = self.clients().await?;
        let client = match target.trust {
            Trust::Stranger => &clients.guarded,
            Trust::Allowed => &clients.open,
        };
        let max_bytes = request.purpose.max_bytes();
        let response = send(client, target.url, request).await?;
        if target.trust == Trust::Stranger {
            check_peer(&response)?;
        }
        read(response, max_bytes).await
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
        counter!("outbound_requests_total", "purpose" => purpose.label(), "outcome" => label).increment(1);
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

impl Clients {
    fn build(roots: &ExtraRoots, lookup: Arc<dyn HostLookup>) -> Result<Self, Box<dyn StdError + Send + Sync>> {
        let tls = roots.connector()?;
        let builder = || {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .user_agent(concat!("Hexgate/", env!("CARGO_PKG_VERSION")))
                // HTTP/2 would bring tables, windows and frames of which none is needed for one short exchange.
                .http1_only()
                .http1_max_headers(MAX_HEADERS)
                .pool_max_idle_per_host(0)
        };
        Ok(Self {
            guarded: builder().dns_resolver(PublicOnly(lookup.clone())).build()?,
            open: builder().dns_resolver(AnyAddress(lookup)).build()?,
        })
    }
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
        () if error.is_connect() => OutboundError::Unreachable,
        () if error.is_timeout() => OutboundError::Timeout,
        () => OutboundError::BadReply,
    }
}

#[cfg(test)]
mod tests;
