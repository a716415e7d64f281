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
        let claimed = found.headers.get(http::header::CONTENT_TYPE);
        let claimed = claimed.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let media_type = media_type(claimed, &found.body).ok_or_else(|| {
            let message = "A URL in the request leads to what is neither a picture nor a document.";
            PublicError::new(400, ErrorKind::InvalidRequest, "url_not_fetched", message.to_owned())
        })?;
        Ok(Fetched {
            url,
            media_type,
            bytes: found.body,
        })
    };
    try_join_all(urls.into_iter().map(fetch)).await
}

/// What content is: by its own first bytes, which many servers have no name for, else by what its server says. Pages and programs are
/// nothing that a request can be about.
fn media_type(claimed: &str, body: &[u8]) -> Option<String> {
    let known = match body {
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some("image/webp"),
        [b'%', b'P', b'D', b'F', b'-', ..] => Some("application/pdf"),
        _ => None,
    };
    if let Some(known) = known {
        return Some(known.to_owned());
    }
    let claimed = claimed
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let fits = claimed.starts_with("image/") || claimed == "text/plain" || claimed == "application/pdf";
    fits.then_some(claimed)
}

fn refusal(fault: FetchFault) -> PublicError {
    let message = format!("A URL in the request {fault}.");
    let status = if fault == FetchFault::TooLarge { 413 } else { 400 };
    PublicError::new(status, ErrorKind::InvalidRequest, "url_not_fetched", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_what_its_bytes_say_before_what_its_server_says() {
        for (claimed, body, wanted) in [
            ("application/octet-stream", &b"\x89PNG\r\n"[..], Some("image/png")),
            ("text/html", b"\xff\xd8\xff\xe0", Some("image/jpeg")),
            ("", b"GIF89a", Some("image/gif")),
            ("", b"RIFF....WEBPVP8", Some("image/webp")),
            ("", b"%PDF-1.7", Some("application/pdf")),
            ("IMAGE/Bmp; x=y", b"BM", Some("image/bmp")),
            ("text/plain", b"hello", Some("text/plain")),
            ("text/html", b"<html>", None),
            ("application/json", b"{\"AccessKeyId\":\"x\"}", None),
            ("application/octet-stream", b"\x7fELF", None),
            ("", b"", None),
        ] {
            assert_eq!(media_type(claimed, body).as_deref(), wanted, "{claimed}");
        }
    }
}
