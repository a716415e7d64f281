//! Calls to vendors over HTTP/1.1, by hyper's pooled client.

mod body;

use std::{future::Future as _, path::Path, pin::pin, task::Poll, time::Duration};

use async_trait::async_trait;
use http::Request;
use hyper_tls::HttpsConnector;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{CaptureConnection, HttpConnector, capture_connection},
    },
    rt::{TokioExecutor, TokioTimer},
};
use native_tls::{Certificate, TlsConnector};
use tokio::time::{Instant, sleep_until};

use self::body::{ReplyBody, RequestBody};
use crate::ports::transport::{Transport, TransportError, UpstreamReply, UpstreamRequest};

/// An idle connection is kept this long; servers close theirs after 60 s or more.
const IDLE_CONNECTION: Duration = Duration::from_secs(50);

/// The transport to every vendor that is reached over HTTP.
pub struct HyperTransport {
    client: Client<HttpsConnector<HttpConnector>, RequestBody>,
}

impl std::fmt::Debug for HyperTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HyperTransport").finish_non_exhaustive()
    }
}

/// The client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum TransportSetupError {
    #[error("outbound.extra_ca {path}: {reason}")]
    ExtraCa { path: String, reason: String },
    #[error("TLS cannot be used")]
    Tls(#[from] native_tls::Error),
}

impl HyperTransport {
    /// Builds the client. Certificates in `extra_ca` (PEM) are trusted beside the system's.
    ///
    /// # Errors
    /// [`TransportSetupError`].
    pub fn new(extra_ca: Option<&Path>) -> Result<Self, TransportSetupError> {
        let mut tls = TlsConnector::builder();
        if let Some(path) = extra_ca {
            let refused = |reason: String| TransportSetupError::ExtraCa {
                path: path.display().to_string(),
                reason,
            };
            let pem = std::fs::read(path).map_err(|error| refused(error.to_string()))?;
            for certificate in Certificate::stack_from_pem(&pem).map_err(|error| refused(error.to_string()))? {
                tls.add_root_certificate(certificate);
            }
        }
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        // Requests and stream pieces are small; they must not wait for the peer's ACK.
        http.set_nodelay(true);
        http.set_keepalive(Some(Duration::from_secs(30)));
        let connector = HttpsConnector::from((http, tls.build()?.into()));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .build(connector);
        Ok(Self { client })
    }
}

#[async_trait]
impl Transport for HyperTransport {
    async fn send(&self, request: UpstreamRequest) -> Result<UpstreamReply, TransportError> {
        let began = Instant::now();
        let deadlines = request.deadlines;
        let mut call = Request::new(RequestBody::new(request.body));
        *call.method_mut() = request.method;
        *call.uri_mut() = request.uri;
        *call.headers_mut() = request.headers;
        let connection = capture_connection(&mut call);
        let mut answer = pin!(self.client.request(call));
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
        let (head, incoming) = reply.into_parts();
        Ok(UpstreamReply {
            status: head.status,
            headers: head.headers,
            body: Box::pin(ReplyBody(incoming)),
        })
    }
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
