//! Listeners: TCP or TLS, HTTP/1.1 and HTTP/2, graceful shutdown.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
};
use openssl::ssl::{AlpnError, Ssl, SslAcceptor, SslFiletype, SslMethod, SslVersion, select_next_proto};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
};
use tower::ServiceExt as _;

use crate::Tasks;

/// TLS settings of a listener. Both or neither.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// PEM file with the certificate chain, leaf first. With `key` it makes the public listener speak TLS 1.2 and 1.3.
    pub cert: Option<PathBuf>,
    /// PEM file with the private key.
    pub key: Option<PathBuf>,
}

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

/// A client that has not sent its request head (or finished its handshake) by then is dropped.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// After an accept error, such as too many open files, wait before trying again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Address of the peer of a connection. A request extension.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// A bound socket that is not serving yet.
pub struct BoundListener {
    listener: TcpListener,
    tls: Option<SslAcceptor>,
    address: SocketAddr,
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
        let tls = match (&tls.cert, &tls.key) {
            (None, None) => None,
            (Some(cert), Some(key)) => Some(acceptor(cert, key)?),
            _ => return Err(ListenError::HalfTls),
        };
        let bind = |source| ListenError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        Ok(Self { listener, tls, address })
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
        let graceful = GracefulShutdown::new();
        let tls = self.tls.map(Arc::new);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = tasks.stopping() => break,
            };
            match accepted {
                Ok((stream, peer)) => connection(stream, peer, router.clone(), tls.clone(), &graceful, &tasks),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        if tokio::time::timeout(grace, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests were still in flight when the grace period ended");
        }
    }
}

fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    tls: Option<Arc<SslAcceptor>>,
    graceful: &GracefulShutdown,
    tasks: &Tasks,
) {
    // Small writes (SSE chunks, redirects) must not wait for the peer's ACK.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    let watcher = graceful.watcher();
    tasks.spawn(async move {
        match tls {
            None => http(stream, peer, router, watcher).await,
            Some(acceptor) => {
                if let Some(stream) = handshake(&acceptor, stream).await {
                    http(stream, peer, router, watcher).await;
                }
            }
        }
    });
}

async fn handshake(acceptor: &SslAcceptor, stream: TcpStream) -> Option<tokio_openssl::SslStream<TcpStream>> {
    let ssl = Ssl::new(acceptor.context()).ok()?;
    let mut stream = tokio_openssl::SslStream::new(ssl, stream).ok()?;
    match tokio::time::timeout(HEAD_TIMEOUT, Pin::new(&mut stream).accept()).await {
        Ok(Ok(())) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
        Err(_) => None,
    }
}

async fn http<S>(stream: S, peer: SocketAddr, router: Router, watcher: hyper_util::server::graceful::Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(PeerAddress(peer));
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .pipeline_flush(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30));
    let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(error, "a connection ended early");
    }
}

/// TLS 1.2 and 1.3 with forward-secret AEAD suites only (BCP 195, the list of FAPI 2.0 §5.2.2).
fn acceptor(cert: &Path, key: &Path) -> Result<SslAcceptor, ListenError> {
    let build = || {
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        builder.set_cipher_list(
            "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384",
        )?;
        builder.set_certificate_chain_file(cert)?;
        builder.set_private_key_file(key, SslFiletype::PEM)?;
        builder.check_private_key()?;
        builder.set_alpn_select_callback(|_, offered| {
            select_next_proto(b"\x02h2\x08http/1.1", offered).ok_or(AlpnError::NOACK)
        });
        Ok(builder.build())
    };
    build().map_err(|source| ListenError::Tls {
        cert: cert.to_owned(),
        key: key.to_owned(),
        source,
    })
}
