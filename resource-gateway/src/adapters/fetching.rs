//! No URLs of others are looked at.

use std::time::Duration;

use async_trait::async_trait;

use crate::ports::fetcher::{FetchFault, Fetcher, Found};

/// Refuses every URL.
#[derive(Debug, Clone, Copy, Default)]
pub struct NothingFetched;

#[async_trait]
impl Fetcher for NothingFetched {
    async fn fetch(&self, _: &str, _: usize, _: Duration) -> Result<Found, FetchFault> {
        Err(FetchFault::Refused)
    }
}
