//! Headers of raw calls: few go along by themselves, more when the operator lists them, and some never, whatever is listed.

use http::{HeaderMap, HeaderName, header};

/// Headers that every request takes along.
const OF_REQUESTS: [HeaderName; 3] = [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::ACCEPT];
/// Headers that every answer brings back. Without the last ones callers come back in storms.
const OF_ANSWERS: [HeaderName; 5] = [
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::RETRY_AFTER,
    HeaderName::from_static("retry-after-ms"),
    HeaderName::from_static("x-should-retry"),
];

/// What of a caller's headers goes to the vendor.
pub(super) fn of_request(listed: &[HeaderName], from: &HeaderMap) -> HeaderMap {
    pick(OF_REQUESTS.iter().chain(listed), from, may_go)
}

/// What of a vendor's headers goes to the caller.
pub(super) fn of_answer(listed: &[HeaderName], from: &HeaderMap) -> HeaderMap {
    let mut headers = pick(OF_ANSWERS.iter().chain(listed), from, may_come);
    let stays = headers
        .get(header::LOCATION)
        .is_none_or(|value| is_on_same_host(value.as_bytes()));
    if !stays {
        headers.remove(header::LOCATION);
    }
    headers
}

fn pick<'n>(names: impl Iterator<Item = &'n HeaderName>, from: &HeaderMap, may: fn(&HeaderName) -> bool) -> HeaderMap {
    let mut picked = HeaderMap::new();
    for name in names.filter(|name| may(name) && !is_of_connection(name, from)) {
        if picked.contains_key(name) {
            continue;
        }
        for value in from.get_all(name) {
            picked.append(name.clone(), value.clone());
        }
    }
    picked
}

/// RFC 9110 §7.6.1: what `Connection` names is for the next hop alone.
fn is_of_connection(name: &HeaderName, headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter();
    let mut names = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    names.any(|named| named.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
}

/// Headers that belong to one hop (RFC 9110 §7.6.1), or that the two ends of a connection work out between them.
const OF_ONE_HOP: [&str; 13] = [
    "accept-encoding",
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
/// Headers by which a caller proves who it is, to us or to anybody: the vendor is shown our credential and no other.
const CREDENTIALS: [&str; 19] = [
    "api-key",
    "apikey",
    "authorization",
    "client-cert",
    "client-cert-chain",
    "cookie",
    "cookie2",
    "dpop",
    "ocp-apim-subscription-key",
    "private-token",
    "signature",
    "signature-input",
    "x-access-token",
    "x-api-key",
    "x-auth-key",
    "x-auth-token",
    "x-real-ip",
    "x-secret-key",
    "x-token",
];
/// Headers by which a request says that it is another one: the list of methods and paths would be worth nothing.
const DISGUISES: [&str; 8] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-uri",
    "x-rewrite-url",
];
/// Headers that we write ourselves.
const OURS: [&str; 3] = ["traceparent", "tracestate", "user-agent"];
/// Headers by which a vendor would set or learn something about whoever reads its answer, or have it kept.
const OF_ORIGIN: [&str; 14] = [
    "age",
    "alt-svc",
    "authentication-info",
    "cache-control",
    "clear-site-data",
    "expires",
    "pragma",
    "refresh",
    "server",
    "set-cookie",
    "set-cookie2",
    "strict-transport-security",
    "www-authenticate",
    "x-request-id",
];
/// The same by their beginning.
const FAMILIES: [&str; 8] = [
    "access-control-",
    "forwarded",
    "proxy-",
    "sec-",
    "x-amz-",
    "x-forwarded-",
    "x-goog-",
    "x-hexgate-",
];

fn is_in_a_family(name: &HeaderName) -> bool {
    FAMILIES.iter().any(|family| name.as_str().starts_with(family))
}

/// Whether a caller's header may ever go to a vendor, whatever the operator lists.
pub fn may_go(name: &HeaderName) -> bool {
    let lists: [&[&str]; 4] = [&OF_ONE_HOP, &CREDENTIALS, &DISGUISES, &OURS];
    !lists.iter().any(|list| list.contains(&name.as_str())) && !is_in_a_family(name)
}

/// Whether a vendor's header may ever come back, whatever the operator lists.
pub fn may_come(name: &HeaderName) -> bool {
    may_go(name) && !OF_ORIGIN.contains(&name.as_str())
}

/// Whether a `Location` names no host. Two slashes, or a slash and a backslash, begin one (WHATWG URL §4.4).
fn is_on_same_host(location: &[u8]) -> bool {
    matches!(location, [b'/'] | [b'/', b'!'..=b'.' | b'0'..=b'[' | b']'..=b'~', ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    #[test]
    fn credentials_go_neither_way() {
        let listed = [
            "authorization",
            "cookie",
            "x-forwarded-for",
            "x-tag",
            "x-once",
            "set-cookie",
            "location",
            "x-hexgate-date",
            "x-http-method-override",
        ];
        let listed: Vec<HeaderName> = listed.into_iter().map(HeaderName::from_static).collect();
        let sent = headers(&[
            ("Authorization", "Bearer t"),
            ("Cookie", "c"),
            ("X-Forwarded-For", "1"),
            ("x-tag", "a"),
            ("x-tag", "b"),
            ("x-once", "1"),
            ("Connection", "close, X-Once"),
            ("x-other", "o"),
            ("x-hexgate-date", "d"),
            ("X-HTTP-Method-Override", "DELETE"),
            ("content-type", "text/plain"),
        ]);
        let wanted = headers(&[("content-type", "text/plain"), ("x-tag", "a"), ("x-tag", "b")]);
        assert_eq!(of_request(&listed, &sent), wanted);
        for (location, passes) in [
            ("/v1/things/2", true),
            ("/", true),
            ("//evil/x", false),
            ("/\\evil", false),
            ("https://vendor.test/x", false),
            ("x", false),
        ] {
            let came = headers(&[
                ("location", location),
                ("set-cookie", "s=1"),
                ("www-authenticate", "Basic"),
                ("x-tag", "a"),
                ("retry-after", "3"),
            ]);
            let shown = of_answer(&listed, &came);
            assert_eq!(shown.contains_key("location"), passes, "{location}");
            assert_eq!(
                (shown.len(), &shown["retry-after"]),
                (2 + usize::from(passes), &HeaderValue::from_static("3"))
            );
        }
    }
}
