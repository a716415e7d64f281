//! The gateway's parsers of strangers' bytes, as functions of bytes; `resource-gateway/tests/it/fuzz.rs` runs them in every test run
//! for a while.

use http::{Method, Uri};
use resource_gateway::domain::{
    raw::{PathPattern, RawTarget},
    signature::{Authorization, CONTENT_SHA256, DATE, HOST, NONCE, SCHEME, SignedRequest},
};

/// A parser by name.
pub type GatewayParser = (&'static str, fn(&[u8]));

/// All of them.
pub const GATEWAY_PARSERS: &[GatewayParser] = &[
    ("raw_target", raw_target),
    ("raw_pattern", raw_pattern),
    ("signature", signature),
    ("signed_request", signed_request),
];

fn lossy(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// What stands in the request line of a raw call behind its door.
pub fn raw_target(bytes: &[u8]) {
    let text = lossy(bytes);
    let (below, query) = match text.split_once('?') {
        Some((below, query)) => (below, Some(query)),
        None => (text.as_ref(), None),
    };
    let Ok(target) = RawTarget::read(&Method::GET, below, query) else {
        return;
    };
    let again = RawTarget::read(&Method::GET, below, target.query.as_deref());
    assert!(again.is_ok_and(|again| again == target));
    // Behind a host it is a path, and what it was.
    let uri = format!("https://vendor.test{}", target.path_and_query()).parse::<Uri>();
    let same = |uri: Uri| {
        uri.host() == Some("vendor.test") && uri.path() == &*target.path && uri.query() == target.query.as_deref()
    };
    assert!(uri.is_ok_and(same));
    // A server that resolves dots finds none.
    let resolved = url::Url::parse(&format!("https://vendor.test{}", target.path));
    assert!(resolved.is_ok_and(|url| url.path() == &*target.path));
}

/// What an operator allows.
pub fn raw_pattern(bytes: &[u8]) {
    let text = lossy(bytes);
    if let Ok(pattern) = PathPattern::parse(&text) {
        assert!(pattern.as_str() == text && pattern.includes(&pattern));
        assert!(text.contains('*') || pattern.covers(&text));
    }
}

/// An `Authorization` header.
pub fn signature(bytes: &[u8]) {
    if let Ok(Some(authorization)) = Authorization::read(&lossy(bytes)) {
        assert!((1..=300).contains(&authorization.expires));
    }
}

const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Method, path and query of a signed request: one canonical form, which is its own.
pub fn signed_request(bytes: &[u8]) {
    let text = lossy(bytes);
    let (path, query) = match text.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (text.as_ref(), None),
    };
    let Some(canonical) = canonical(path, query) else {
        return;
    };
    let mut lines = canonical.split('\n').skip(1);
    let (path, query) = (lines.next().unwrap_or_default(), lines.next());
    assert_eq!(self::canonical(path, query).as_deref(), Some(canonical.as_str()));
}

fn canonical(path: &str, query: Option<&str>) -> Option<String> {
    let header = format!(
        "{SCHEME} Credential=hgk_1, Expires=300, SignedHeaders={HOST};{CONTENT_SHA256};{DATE};{NONCE}, Signature={DIGEST}"
    );
    let authorization = Authorization::read(&header).ok()??;
    let request = SignedRequest {
        method: "GET",
        path,
        query,
        headers: &[
            (HOST, Some("gateway.test")),
            (DATE, Some("2026-11-22T09:45:00Z")),
            (CONTENT_SHA256, Some(DIGEST)),
            (NONCE, Some("0123456789abcdef")),
        ],
    };
    let claimed = authorization.claims(&request).ok()?;
    Some(claimed.canonical().to_owned())
}
