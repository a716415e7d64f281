//! Requests that the provider makes itself, at hosts that its clients name.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use secrecy::SecretString;
use serde_json::Value;

pub use crate::domain::reach::Refusal;

/// What a request is for. Each purpose has a cap on what is read, and one of two time limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A request object (RFC 9101 §5.2).
    RequestUri,
    /// A client's keys (RFC 7591 §2).
    JwksUri,
    /// The redirect URIs of a sector (OpenID Connect Registration §5).
    SectorIdentifier,
    /// A client's own description at the URL that is its id.
    ClientMetadata,
    /// A client's picture for the sign-in pages.
    Logo,
    /// A logout token (OpenID Connect Back-Channel Logout §2.5).
    BackchannelLogout,
    /// The news that a person has decided (CIBA §10.2).
    CibaNotification,
}

impl Purpose {
    pub const ALL: [Self; 7] = [
        Self::RequestUri,
        Self::JwksUri,
        Self::SectorIdentifier,
        Self::ClientMetadata,
        Self::Logo,
        Self::BackchannelLogout,
        Self::CibaNotification,
    ];

    /// Longest reply body that is read, in bytes.
    pub const fn max_bytes(self) -> usize {
        match self {
            // The draft recommends a cap of 5 kB: twice that for those who have not read it.
            Self::ClientMetadata => 10_000,
            Self::RequestUri | Self::JwksUri => 64_000,
            Self::SectorIdentifier => 256_000,
            Self::Logo => 512_000,
            // Of these replies only the status counts.
            Self::BackchannelLogout | Self::CibaNotification => 8_000,
        }
    }

    /// Tells whether something is brought there, rather than fetched.
    pub const fn is_delivery(self) -> bool {
        matches!(self, Self::BackchannelLogout | Self::CibaNotification)
    }

    /// A name for logs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::RequestUri => "request_uri",
            Self::JwksUri => "jwks_uri",
            Self::SectorIdentifier => "sector_identifier_uri",
            Self::ClientMetadata => "client_metadata",
            Self::Logo => "logo_uri",
            Self::BackchannelLogout => "backchannel_logout",
            Self::CibaNotification => "ciba_notification",
        }
    }
}

/// One request.
#[derive(Debug)]
pub struct OutboundRequest {
    pub purpose: Purpose,
    pub url: String,
    pub method: OutboundMethod,
    /// Media types that are asked for.
    pub accept: Option<&'static str>,
    pub bearer: Option<SecretString>,
}

/// How it is sent.
#[derive(Debug)]
pub enum OutboundMethod {
    Get,
    Post(OutboundBody),
}

/// What is sent along. It may hold tokens, so it is not shown.
pub enum OutboundBody {
    Form(Vec<(&'static str, String)>),
    Json(Value),
}

impl fmt::Debug for OutboundBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form(_) => "Form",
            Self::Json(_) => "Json",
        })
    }
}

impl OutboundRequest {
    pub fn get(purpose: Purpose, url: impl Into<String>) -> Self {
        Self::new(purpose, url, OutboundMethod::Get)
    }

    pub fn post(purpose: Purpose, url: impl Into<String>, body: OutboundBody) -> Self {
        Self::new(purpose, url, OutboundMethod::Post(body))
    }

    fn new(purpose: Purpose, url: impl Into<String>, method: OutboundMethod) -> Self {
        Self {
            purpose,
            url: url.into(),
            method,
            accept: None,
            bearer: None,
        }
    }

    #[must_use]
    pub fn accepting(self, accept: &'static str) -> Self {
        Self {
            accept: Some(accept),
            ..self
        }
    }

    /// With a credential in the `Authorization` header (RFC 6750 §2.1).
    #[must_use]
    pub fn with_bearer(self, bearer: SecretString) -> Self {
        Self {
            bearer: Some(bearer),
            ..self
        }
    }
}

/// What came back, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundReply {
    pub status: u16,
    /// The media type in lower case, without parameters.
    pub content_type: Option<String>,
    /// At most [`Purpose::max_bytes`].
    pub body: Bytes,
    /// For how long the host lets it be kept (RFC 9111 §5.2.2): `None` when it did not say, zero when not at all.
    pub keep_for: Option<Duration>,
}

impl OutboundReply {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Why there is no reply. The texts name neither what was sent nor what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// Against the rules.
    #[error("not asked: {0}")]
    Refused(#[from] Refusal),
    /// Too many requests of this kind wait already.
    #[error("too many outbound requests at once")]
    Busy,
    #[error("the host cannot be reached")]
    Unreachable,
    #[error("the host's TLS certificate or handshake was not accepted")]
    Tls,
    #[error("the host took too long")]
    Timeout,
    #[error("the reply is too large")]
    TooLarge,
    #[error("the reply broke off, or is not HTTP as it should be")]
    BadReply,
    /// Our own side: the TLS library, or a header that cannot be written.
    #[error("the request could not be made")]
    Internal,
}

impl OutboundError {
    /// Tells whether the same request could succeed later: a URL stays what it is, but names get other addresses, and maintenance
    /// pages, to which hosts redirect, come to an end.
    pub const fn may_pass(self) -> bool {
        match self {
            Self::Refused(Refusal::NotPublic | Refusal::Redirect)
            | Self::Busy
            | Self::Unreachable
            | Self::Tls
            | Self::Timeout
            | Self::TooLarge
            | Self::BadReply
            | Self::Internal => true,
            Self::Refused(_) => false,
        }
    }

    /// A name for logs and metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Busy => "busy",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::TooLarge => "too_large",
            Self::BadReply => "bad_reply",
            Self::Internal => "internal",
        }
    }
}

/// The one way out. Implementations MUST hold [`crate::domain::reach`]'s rules against the URL and against the address that they
/// connect to, MUST NOT follow redirects, and MUST end within the purpose's limits whatever the host does.
#[async_trait]
pub trait Outbound: Send + Sync + fmt::Debug {
    /// # Errors
    /// [`OutboundError`]. A status that tells of a failure is not one: it is the reply's.
    async fn fetch(&self, request: OutboundRequest) -> Result<OutboundReply, OutboundError>;
}
