//! Calls to vendors over HTTP/1.1, by hyper's pooled client, and over WebSockets that begin as such calls.

mod body;
mod gathered;
mod resolve;
mod socket;

use std::{
    future::Future as _,
    net::IpAddr,
    pin::pin,
    sync::{Arc, OnceLock},
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use http::{HeaderName, Request, StatusCode, uri::Scheme};
use hyper_tls::HttpsConnector;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{CaptureConnection, Connect, HttpConnector, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use native_tls::{Certificate, TlsConnector};
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep_until},
};

pub use self::resolve::SystemResolver;
use self::{
    body::{ReplyBody, RequestBody},
    gathered::Gathering,
    resolve::Destination,
};
use crate::ports::transport::{Transport, TransportError, UpstreamReply, UpstreamRequest};

/// What answers without JSON are marked by when nobody but the simulator gave them. From anybody else it is not true.
const SIMULATED: HeaderName = HeaderName::from_static("x-sandbox");
/// An idle connection is kept this long; servers close theirs after 60 s or more.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);

type Plain = Client<Gathering<HttpConnector<Destination>>, RequestBody>;
type Secure = Client<Gathering<HttpsConnector<HttpConnector<Destination>>>, RequestBody>;

/// The transport to every vendor that is reached over HTTP.
pub struct HyperTransport {
    destination: Destination,
    plain: Plain,
    secure: OnceLock<Secure>,
    tls: Arc<Tls>,
}

/// What all connections over TLS share.
struct Tls {
    /// Made at the first call that needs it: reading the system's certificates takes some 60 ms and some megabytes, which
    /// installations without a vendor on the internet are spared.
    connector: OnceCell<TlsConnector>,
    extra_ca: Vec<Certificate>,
}

impl std::fmt::Debug for HyperTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HyperTransport").finish_non_exhaustive()
    }
}

/// Certificates that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ExtraCaError(String);

impl HyperTransport {
    /// Certificates in `extra_ca` (PEM) are trusted beside the system's.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn new(extra_ca: Option<&[u8]>) -> Result<Self, ExtraCaError> {
        let extra_ca = extra_ca.map(Certificate::stack_from_pem).transpose();
        let extra_ca = extra_ca
            .map_err(|error| ExtraCaError(error.to_string()))?
            .unwrap_or_default();
        let connector = OnceCell::new();
        let tls = Arc::new(Tls { connector, extra_ca });
        Ok(Self::to(Destination::by_name(), tls))
    }

    fn to(destination: Destination, tls: Arc<Tls>) -> Self {
        let mut http = connector(destination.clone());
        http.enforce_http(true);
        Self {
            destination,
            plain: client(http),
            secure: OnceLock::new(),
            tls,
        }
    }

    async fn secure(&self) -> Result<&Secure, TransportError> {
        if let Some(client) = self.secure.get() {
            return Ok(client);
        }
        let tls = self.tls.connector().await?;
        let https = HttpsConnector::from((connector(self.destination.clone()), tls.into()));
        Ok(self.secure.get_or_init(|| client(https)))
    }
}

impl Tls {
    async fn connector(&self) -> Result<TlsConnector, TransportError> {
        let build = async || {
            let extra_ca = self.extra_ca.clone();
            let built = tokio::task::spawn_blocking(move || {
                let mut tls = TlsConnector::builder();
                for certificate in extra_ca {
                    tls.add_root_certificate(certificate);
                }
                tls.build()
            });
            built.await.map_err(|_| TransportError::Connect)?.map_err(|error| {
                tracing::error!(%error, "TLS cannot be used");
                TransportError::Connect
            })
        };
        self.connector.get_or_try_init(build).await.cloned()
    }
}

fn connector(destination: Destination) -> HttpConnector<Destination> {
    let mut http = HttpConnector::new_with_resolver(destination);
    http.enforce_http(false);
    // Requests and stream pieces are small; they must not wait for the peer's ACK.
    http.set_nodelay(true);
    http.set_keepalive(Some(Duration::from_secs(30)));
    http
}

fn client<C>(connector: C) -> Client<Gathering<C>, RequestBody>
where
    Gathering<C>: Connect + Clone,
{
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_CONNECTION)
        .build(Gathering(connector))
}

#[async_trait]
impl Transport for HyperTransport {
    async fn send(&self, request: UpstreamRequest) -> Result<UpstreamReply, TransportError> {
        if request.uri.scheme() == Some(&Scheme::HTTPS) {
            return exchange(self.secure().await?, request).await;
        }
        exchange(&self.plain, request).await
    }

    fn pinned(&self, address: IpAddr) -> Option<Arc<dyn Transport>> {
        Some(Arc::new(Self::to(Destination::fixed(address), Arc::clone(&self.tls))))
    }
}

async fn exchange<C>(client: &Client<C, RequestBody>, request: UpstreamRequest) -> Result<UpstreamReply, TransportError>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let began = Instant::now();
    let deadlines = request.deadlines;
    let mut call = Request::new(RequestBody::new(request.body));
    *call.method_mut() = request.method;
    *call.uri_mut() = request.uri;
    *call.headers_mut() = request.headers;
    let key = request.dialogue.as_ref().map(|_| socket::Key::new()).transpose()?;
    if let Some(key) = &key {
        key.ask(call.headers_mut());
    }
    let connection = capture_connection(&mut call);
    let mut answer = pin!(client.request(call));
    // One timer serves both deadlines; it is made only when the answer has to be waited for.
    let mut timer = pin!(None);
    let mut connected = false;
    let reply = std::future::poll_fn(|cx| {
        if let Poll::Ready(reply) = answer.as_mut().poll(cx) {
            return Poll::Ready(reply.map_err(|error| judge(&error, &connection)));
        }
        loop {
            let due = began + if connected { deadlines.head } else { deadlines.connect };
            if timer.is_none() {
                timer.set(Some(sleep_until(due)));
            }
            let Some(ring) = timer.as_mut().as_pin_mut() else {
                return Poll::Pending;
            };
            if ring.poll(cx).is_pending() {
                return Poll::Pending;
            }
            if connected {
                return Poll::Ready(Err(TransportError::HeadTimeout));
            }
            if !is_connected(&connection) {
                return Poll::Ready(Err(TransportError::ConnectTimeout));
            }
            connected = true;
            timer.set(None);
        }
    })
    .await?;
    if let (Some(key), Some(dialogue), StatusCode::SWITCHING_PROTOCOLS) = (key, request.dialogue, reply.status()) {
        return socket::talk(reply, &key, *dialogue).await;
    }
    let (mut head, incoming) = reply.into_parts();
    head.headers.remove(SIMULATED);
    Ok(UpstreamReply {
        status: head.status,
        headers: head.headers,
        body: Box::pin(ReplyBody(incoming)),
    })
}

fn is_connected(connection: &CaptureConnection) -> bool {
    connection.connection_metadata().is_some()
}

fn judge(error: &hyper_util::client::legacy::Error, connection: &CaptureConnection) -> TransportError {
    // The error's own text may name the address; only its kind is kept.
    if error.is_connect() || !is_connected(connection) {
        TransportError::Connect
    } else {
        TransportError::Broken
    }
}
