//! Calls that are passed on: where they go, and what of an answer comes back.

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, uri::PathAndQuery};

use crate::{
    application::registry::BoundVendor,
    domain::call::Call,
    ports::{
        codec::{Manner, Place},
        transport::UpstreamReply,
    },
};

/// The head of an answer, as far as the caller gets it.
#[derive(Debug, Clone)]
pub struct Head {
    pub status: StatusCode,
    pub content_type: HeaderValue,
    pub headers: HeaderMap,
}

/// Turns a request to the codec's own place into the caller's: method, place and headers. Host and scheme stay the vendor's.
pub(in crate::application) fn prepare(
    passed: Place,
    uri: &mut Option<Uri>,
    headers: &mut HeaderMap,
    is_empty: bool,
) -> Method {
    match (passed.manner, passed.path.as_str()) {
        (Manner::Own, "") => {}
        // A query at the codec's own path.
        (Manner::Own, path) if path.starts_with('?') => {
            *uri = uri.take().and_then(|base| asking(base, path));
        }
        (_, path) => *uri = uri.take().and_then(|base| below(base, path)),
    }
    // RFC 9110 §8.3: what has no content has no type.
    if is_empty {
        headers.remove(header::CONTENT_TYPE);
    }
    headers.extend(passed.headers);
    passed.method
}

/// A place behind an address. No text that comes from a caller gets to stand before the path.
fn below(base: Uri, path: &str) -> Option<Uri> {
    let before = base.path().trim_end_matches('/');
    // One slash between the two, and no more: two at the beginning would be read as a host.
    let path = path.strip_prefix('/').filter(|rest| !rest.starts_with('/'))?;
    let place = PathAndQuery::try_from(format!("{before}/{path}")).ok()?;
    let mut parts = base.into_parts();
    parts.path_and_query = Some(place);
    Uri::from_parts(parts).ok()
}

/// The address itself with a query.
fn asking(base: Uri, query: &str) -> Option<Uri> {
    let place = PathAndQuery::try_from(format!("{}{query}", base.path())).ok()?;
    let mut parts = base.into_parts();
    parts.path_and_query = Some(place);
    Uri::from_parts(parts).ok()
}

/// The head for the caller of a raw call: what the policy lets through, and nothing that gives our credential away.
pub(super) fn head(call: &Call, reply: &UpstreamReply, vendor: &BoundVendor) -> Option<Box<Head>> {
    let picked = call.as_raw()?.answer_headers(&reply.headers);
    let mut headers = HeaderMap::with_capacity(picked.len());
    for (name, value) in &picked {
        if !vendor.is_shown_in(value.as_bytes()) {
            headers.append(name.clone(), value.clone());
        }
    }
    let content_type = headers.remove(header::CONTENT_TYPE);
    Some(Box::new(Head {
        status: reply.status,
        // RFC 9110 §8.3: without a type the recipient may take it for this, and must not be left to guess.
        content_type: content_type.unwrap_or(HeaderValue::from_static("application/octet-stream")),
        headers,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_place_stands_behind_the_address() {
        for (base, path, wanted) in [
            (
                "https://vendor.test/v1",
                "/a/b?c=d",
                Some("https://vendor.test/v1/a/b?c=d"),
            ),
            ("http://127.0.0.1:8080/", "/a", Some("http://127.0.0.1:8080/a")),
            ("http://vendor.test", "/a/", Some("http://vendor.test/a/")),
            ("http://vendor.test", "//evil.test/a", None),
            ("http://vendor.test", "@evil.test/a", None),
            ("http://vendor.test", "", None),
            ("http://vendor.test", "/a b", None),
        ] {
            let found = below(base.parse().unwrap(), path).map(|uri| uri.to_string());
            assert_eq!(found.as_deref(), wanted, "{base} {path}");
        }
    }

    proptest! {
        #[test]
        fn no_text_moves_a_call_to_another_host(path in "[/a@:?#\\\\.%;\\[\\]]{0,12}") {
            let base: Uri = "https://vendor.test:8443/v1".parse().unwrap();
            if let Some(uri) = below(base.clone(), &path) {
                prop_assert_eq!((uri.scheme(), uri.authority()), (base.scheme(), base.authority()));
                prop_assert!(uri.path().starts_with("/v1/"), "{}", uri);
            }
        }
    }
}
