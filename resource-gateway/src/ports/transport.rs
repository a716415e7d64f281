//! Calls to vendors: bytes out, bytes in. What they mean is the codec's business.

use std::{collections::VecDeque, fmt, net::IpAddr, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use http_body::Body;

/// The body of a vendor's answer. Dropping it ends the call.
pub type UpstreamBody = Pin<Box<dyn Body<Data = Bytes, Error = TransportError> + Send>>;

/// A call, ready to be sent.
pub struct UpstreamRequest {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    /// In pieces, so that a large body is not copied to change a name in it.
    pub body: Vec<Bytes>,
    /// What is said over a WebSocket, which the call opens; there is no body then.
    pub dialogue: Option<Box<Dialogue>>,
    pub deadlines: Deadlines,
}

impl fmt::Debug for UpstreamRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither address nor headers nor body: each may hold a secret.
        f.debug_struct("UpstreamRequest")
            .field("deadlines", &self.deadlines)
            .finish_non_exhaustive()
    }
}

/// What is said over a WebSocket (RFC 6455) by someone who knows beforehand what to say.
///
/// The peer's messages come as the body of an answer, a line each (NDJSON, and so is the content type): they are taken to be JSON,
/// where a line end is white space.
#[derive(Clone)]
pub struct Dialogue {
    /// The first turn is said at once, each of the others after one more message of the peer's.
    pub turns: VecDeque<Vec<SocketMessage>>,
    /// Whether a message of the peer's is its last: behind it the body ends, and the connection.
    pub is_last: fn(&[u8]) -> bool,
}

impl fmt::Debug for Dialogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialogue")
            .field("turns", &self.turns.len())
            .finish_non_exhaustive()
    }
}

/// A message over a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SocketMessage {
    /// UTF-8.
    Text(Bytes),
    Binary(Bytes),
}

/// How long the phases before an answer's body may take.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    pub connect: Duration,
    /// From the beginning to the answer's head.
    pub head: Duration,
}

/// The head of an answer, and its body to come.
pub struct UpstreamReply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: UpstreamBody,
}

impl fmt::Debug for UpstreamReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamReply")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}

/// Why there is no answer, or no more of it. Holds no URL: URLs may hold secrets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    #[error("no connection could be made")]
    Connect,
    #[error("no connection was made in time")]
    ConnectTimeout,
    #[error("no answer came in time")]
    HeadTimeout,
    #[error("the connection broke")]
    Broken,
    /// What would have answered is a program of this machine, and there is none of that name.
    #[error("the program {0} is not installed")]
    NotInstalled(&'static str),
}

impl TransportError {
    /// Whether nobody can have taken the call.
    pub fn is_before_the_call(self) -> bool {
        match self {
            Self::Connect | Self::ConnectTimeout | Self::NotInstalled(_) => true,
            Self::HeadTimeout | Self::Broken => false,
        }
    }
}

/// Sends calls. Dropping the future or the body of the reply ends the call, so that nobody works for a caller who has left.
#[async_trait]
pub trait Transport: Send + Sync + fmt::Debug {
    /// Sends a call and waits for the head of its answer.
    async fn send(&self, request: UpstreamRequest) -> Result<UpstreamReply, TransportError>;

    /// The same with connections of its own, all to one address, whatever the host is called: `Host` and the name in TLS stay those
    /// of the URL. `None` when nothing is connected to.
    fn pinned(&self, address: IpAddr) -> Option<Arc<dyn Transport>>;
}
