//! Places that callers and vendors name, looked at for them.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderMap;

/// Fetches what lies behind a URL of somebody else's. Nothing but public addresses and what the operator allows is connected to,
/// redirects included, and no credential of ours goes along.
#[async_trait]
pub trait Fetcher: Send + Sync + fmt::Debug {
    /// The whole body, which must not be longer than `limit` bytes and has to be there `within` that time.
    async fn fetch(&self, url: &str, limit: usize, within: Duration) -> Result<Found, FetchFault>;
}

/// What was there.
#[derive(Debug, Clone)]
pub struct Found {
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is nothing. The texts are for the caller, and tell nothing of what is reachable from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FetchFault {
    #[error("is not a URL that is fetched here")]
    Refused,
    #[error("could not be fetched")]
    Failed,
    #[error("is too large")]
    TooLarge,
    #[error("took too long")]
    Late,
}
