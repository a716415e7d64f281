//! What lies behind the URLs of a request, for vendors that do not look themselves.

use futures_util::future::try_join_all;
use tokio::time::Instant;

use crate::{
    domain::fault::{ErrorKind, PublicError},
    ports::{
        codec::Fetched,
        fetcher::{FetchFault, Fetcher},
    },
};

/// Pictures that vendors take are smaller.
const MAX_BYTES: usize = 20 * 1024 * 1024;
/// URLs of one request.
const MOST: usize = 20;

/// Fetches all of them, at the same time.
pub(super) async fn fetch_all(
    fetcher: &dyn Fetcher,
    urls: Vec<String>,
    deadline: Instant,
) -> Result<Vec<Fetched>, PublicError> {
    if urls.len() > MOST {
        let message = format!("The request names more than {MOST} URLs that have to be fetched for its provider.");
        return Err(PublicError::invalid(None, "too_many_urls", message));
    }
    let fetch = async |url: String| {
        let within = deadline.saturating_duration_since(Instant::now());
        let found = fetcher.fetch(&url, MAX_BYTES, within).await.map_err(refusal)?;
        let media_type = found.headers.get(http::header::CONTENT_TYPE);
        let media_type = media_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        Ok(Fetched {
            url,
            media_type,
            bytes: found.body,
        })
    };
    try_join_all(urls.into_iter().map(fetch)).await
}

fn refusal(fault: FetchFault) -> PublicError {
    let message = format!("A URL in the request {fault}.");
    let status = if fault == FetchFault::TooLarge { 413 } else { 400 };
    PublicError::new(status, ErrorKind::InvalidRequest, "url_not_fetched", message)
}
