//! Listeners: TCP or TLS, HTTP/1.1 and HTTP/2, limits against slow and too many clients, graceful shutdown.

use std::{net::SocketAddr, path::PathBuf, pin::Pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use http::{Request, Version, header};
use http_body::Body as _;
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use openssl::ssl::{Ssl, SslAcceptor};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use crate::{
    Tasks,
    connection::{self, BeforeWrite, BodyTimeout, Marked, Pulse, ReadBehind, Tracked, drive},
    neighbours::{Neighbour, Neighbours},
    peer::Peer,
};
pub use crate::{
    connection::Limits,
    peer::{PeerAddress, PeerRules},
    tls::{ClientCertificates, TlsConfig},
};

/// Why a listener could not start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {address}: {source}")]
    Bind {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("TLS files {cert} and {key} cannot be used: {source}")]
    Tls {
        cert: PathBuf,
        key: PathBuf,
        source: openssl::error::ErrorStack,
    },
    #[error("tls.cert and tls.key belong together")]
    HalfTls,
}

/// Largest request head in bytes; a longer one is answered 431. Tokens, cookies and authorization requests of 8 kB fit well.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Requests at once on one HTTP/2 connection (RFC 9113 §5.1.2 recommends no fewer than 100).
const MAX_STREAMS: u32 = 128;
/// An HTTP/2 peer is asked this often whether it is still there (RFC 9113 §6.7).
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// And has so long to answer.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept error, such as too many open files, wait before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections closed because their address had enough.
const REFUSED: &str = "connections_refused_total";

/// A bound socket that is not serving yet.
pub struct BoundListener {
    listener: TcpListener,
    tls: Option<SslAcceptor>,
    address: SocketAddr,
    limits: Limits,
    rules: Arc<PeerRules>,
    before_write: BeforeWrite,
}

impl std::fmt::Debug for BoundListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BoundListener")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl BoundListener {
    /// Binds `address` (port 0: any free one).
    ///
    /// # Errors
    /// [`ListenError`] when the address is taken or the TLS files cannot be used.
    pub async fn bind(address: SocketAddr, tls: &TlsConfig) -> Result<Self, ListenError> {
        let tls = tls.acceptor()?;
        let bind = |source| ListenError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self {
            listener,
            tls,
            address,
            limits: Limits::default(),
            rules: Arc::default(),
            before_write: BeforeWrite::default(),
        })
    }

    /// Serves under other limits than the defaults.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Believes about its peers what `rules` say.
    #[must_use]
    pub fn with_peer_rules(mut self, rules: Arc<PeerRules>) -> Self {
        self.rules = rules;
        self
    }

    /// Runs `flush` before each write to a client. What a request has to leave behind before its answer goes out can wait until
    /// then, and share one write with what others leave: while many are answered, their writes come together. It must be quick,
    /// and cheap when there is nothing to do.
    #[must_use]
    pub fn before_writes(mut self, flush: impl Fn() + Send + Sync + 'static) -> Self {
        self.before_write = BeforeWrite(Some(Arc::new(flush)));
        self
    }

    /// The address that was bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Serves until shutdown begins, then finishes requests in flight, for at most `grace`.
    pub async fn serve(self, router: Router, tasks: Tasks, grace: Duration) {
        let most = self
            .limits
            .connections
            .min(file_limit() / 2)
            .clamp(1, MOST_PERMITS as usize);
        let places = Arc::new(Semaphore::new(most));
        metrics::describe_counter!(
            REFUSED,
            "Connections closed because their address had as many open as it may"
        );
        let host = Host {
            terms: Terms {
                router,
                limits: self.limits,
                before_write: self.before_write,
            },
            tls: self.tls.map(Arc::new),
            rules: self.rules,
            neighbours: Neighbours::new(self.limits.per_address(most)),
            tasks,
        };
        let mut accepting = true;
        loop {
            let place = tokio::select! {
                place = place(&places) => place,
                () = host.tasks.stopping() => break,
            };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = host.tasks.stopping() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    accepting = true;
                    match host.admit(peer) {
                        Ok(neighbour) => host.receive(stream, peer, (place, neighbour)),
                        // Closed at once: who waits holds a place as well.
                        Err(Crowded) => metrics::counter!(REFUSED).increment(1),
                    }
                }
                Err(error) => {
                    // Once, not twenty times a second while files are short.
                    if std::mem::take(&mut accepting) {
                        tracing::warn!(%error, "connections cannot be accepted");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        let everyone = u32::try_from(most).unwrap_or(MOST_PERMITS);
        if timeout(grace, places.acquire_many(everyone)).await.is_err() {
            tracing::warn!("requests were still in flight when the grace period ended");
        }
    }
}

/// What a semaphore can give out in one go, and more than any process can open.
const MOST_PERMITS: u32 = 1 << 28;

/// A place for one more connection.
async fn place(places: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    if let Ok(place) = places.clone().try_acquire_owned() {
        return Some(place);
    }
    tracing::warn!("as many connections are open as may be; more have to wait");
    // It is never closed, so there always is one in the end.
    places.clone().acquire_owned().await.ok()
}

/// Files that the process may have open, after asking for all that it may ask for: each connection is one.
fn file_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    let files = match current == maximum || setrlimit(Resource::Nofile, wanted).is_err() {
        true => current,
        false => maximum,
    };
    files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// What a connection is served with.
#[derive(Clone)]
struct Terms {
    router: Router,
    limits: Limits,
    before_write: BeforeWrite,
}

/// Who takes connections.
struct Host {
    terms: Terms,
    tls: Option<Arc<SslAcceptor>>,
    rules: Arc<PeerRules>,
    neighbours: Arc<Neighbours>,
    tasks: Tasks,
}

/// An address has all the connections that it may have.
struct Crowded;

/// What an open connection holds on to.
type Held = (Option<OwnedSemaphorePermit>, Option<Neighbour>);

impl Host {
    /// Proxies are not counted: they are many people.
    fn admit(&self, peer: SocketAddr) -> Result<Option<Neighbour>, Crowded> {
        match self.rules.is_proxy(peer.ip()) {
            true => Ok(None),
            false => self.neighbours.admit(peer.ip()).map(Some).ok_or(Crowded),
        }
    }

    fn receive(&self, stream: TcpStream, address: SocketAddr, held: Held) {
        // Small writes (SSE chunks, redirects) must not wait for the peer's ACK.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let (terms, tls) = (self.terms.clone(), self.tls.clone());
        let peer = Peer::new(address, self.rules.clone());
        // A token of its own: the shared one would be a lock that all connections take at every wake.
        let stop = self.tasks.stop_token().child_token();
        self.tasks.spawn(async move {
            let _held = held;
            match tls {
                None => http(stream, peer, terms, stop).await,
                Some(acceptor) => {
                    let shaken = tokio::select! {
                        shaken = handshake(&acceptor, stream, terms.limits.head) => shaken,
                        () = stop.cancelled() => None,
                    };
                    if let Some(stream) = shaken {
                        let peer = peer.with_certificate(stream.ssl());
                        http(stream, peer, terms, stop).await;
                    }
                }
            }
        });
    }
}

async fn handshake(
    acceptor: &SslAcceptor,
    stream: TcpStream,
    limit: Duration,
) -> Option<tokio_openssl::SslStream<TcpStream>> {
    let ssl = Ssl::new(acceptor.context()).ok()?;
    let mut stream = tokio_openssl::SslStream::new(ssl, stream).ok()?;
    match timeout(limit, Pin::new(&mut stream).accept()).await {
        Ok(Ok(())) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!("a TLS handshake took too long");
            None
        }
    }
}

async fn http<S>(stream: S, peer: Peer, terms: Terms, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let Terms {
        router,
        limits,
        before_write,
    } = terms;
    let pulse = Arc::new(Pulse::new());
    let opened = tokio::select! {
        opened = timeout(limits.head, Marked::open(stream, pulse.clone(), before_write)) => opened,
        () = stop.cancelled() => return,
    };
    let stream = match opened {
        Ok(Ok(Some(stream))) => stream,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => return tracing::debug!(%error, "a connection ended before it said anything"),
        Err(_) => return tracing::debug!("a connection said nothing"),
    };
    let requests = pulse.clone();
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let in_flight = requests.begin();
        // Who waits for "100 Continue" has not sent anything, and a stream of HTTP/2 ends without its connection.
        let sends_on = request.version() < Version::HTTP_2 && !request.headers().contains_key(header::EXPECT);
        let mut request = request.map(|body| match body.is_end_stream() {
            true => Body::empty(),
            false if sends_on => Body::new(BodyTimeout::new(ReadBehind::new(body), &limits)),
            false => Body::new(BodyTimeout::new(body, &limits)),
        });
        peer.introduce(&mut request);
        let answering = router.clone().call(request);
        async move { Ok::<_, std::convert::Infallible>(answering.await?.map(|body| Tracked { body, in_flight })) }
    });
    let version = stream.version();
    let io = TokioIo::new(stream);
    let ended = match version {
        connection::Version::Http1 => {
            let mut builder = http1::Builder::new();
            // Heads are timed by `drive`, which needs no timer per request. `pipeline_flush` stays off: with it hyper buffers
            // without bound for a client that does not read. Head and body of a small answer leave in one plain write.
            builder
                .header_read_timeout(None)
                .max_header_size(MAX_HEAD_BYTES)
                .writev(false);
            drive(builder.serve_connection(io, service), &pulse, &limits, stop).await
        }
        connection::Version::Http2 => {
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT)
                .max_concurrent_streams(MAX_STREAMS)
                .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX));
            drive(builder.serve_connection(io, service), &pulse, &limits, stop).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
