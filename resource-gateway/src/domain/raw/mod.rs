//! Calls that are passed on as they are, to places that the operator has listed: which paths may be asked for, and which headers go
//! there and back. The host and what stands before the path come from the vendor's row alone.

mod headers;
mod path;
mod query;
mod rules;

use std::fmt;

use http::{HeaderMap, HeaderName, Method, StatusCode};

pub use self::{
    headers::{may_come, may_go},
    path::{PathFault, PathPattern, check_path},
    query::{QueryFault, check_query, find_parameter},
};
pub(super) use rules::check_interface;

use super::{fault::PublicError, ids::RawRouteName};

/// What the operator decided about an interface's raw calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawPolicy {
    /// In the order of the document; the first that fits is a call's.
    pub allow: Vec<RawRoute>,
    /// Headers of requests that go along, besides those that always do.
    pub headers: Vec<HeaderName>,
    /// Headers of answers that come back, besides those that always do.
    pub response_headers: Vec<HeaderName>,
}

/// A place that may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawRoute {
    /// What prices call it.
    pub name: RawRouteName,
    /// Each once.
    pub methods: Vec<Method>,
    pub path: PathPattern,
}

impl RawRoute {
    /// The methods that can be allowed.
    pub const METHODS: [Method; 5] = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
}

impl RawPolicy {
    /// Every call is compared with all of them.
    pub const MOST_ROUTES: usize = 200;
    pub const MOST_HEADERS: usize = 32;

    /// The route of a checked path.
    pub fn find(&self, method: &Method, path: &str) -> Option<&RawRoute> {
        let mut routes = self.allow.iter();
        routes.find(|route| route.methods.contains(method) && route.path.covers(path))
    }

    /// What of a caller's headers goes to the vendor.
    pub fn request_headers(&self, from: &HeaderMap) -> HeaderMap {
        headers::of_request(&self.headers, from)
    }

    /// What of a vendor's headers goes to the caller.
    pub fn answer_headers(&self, from: &HeaderMap) -> HeaderMap {
        headers::of_answer(&self.response_headers, from)
    }
}

/// Where a caller wants its call to go, as it stands in the request line.
#[derive(Clone, PartialEq, Eq)]
pub struct RawTarget {
    pub interface: Box<str>,
    pub method: Method,
    /// Behind the vendor's base URL, with its slash. Not decoded.
    pub path: Box<str>,
    pub query: Option<Box<str>>,
}

/// Paths and queries are the callers' own.
impl fmt::Debug for RawTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawTarget")
            .field("interface", &self.interface)
            .field("method", &self.method)
            .finish_non_exhaustive()
    }
}

impl RawTarget {
    /// Reads a target: `below` is the path behind the door, `{interface}/{path…}`, as it was sent.
    ///
    /// # Errors
    /// What to tell the caller.
    pub fn read(method: &Method, below: &str, query: Option<&str>) -> Result<Self, PublicError> {
        let at = below.find('/').unwrap_or(below.len());
        let (interface, path) = below.split_at_checked(at).unwrap_or_default();
        check_path(path).map_err(|fault| {
            let message = format!("The path of the call {fault}.");
            PublicError::invalid(Some("path"), "invalid_path", message)
        })?;
        // A question mark alone says as little as none.
        let query = query.filter(|query| !query.is_empty());
        check_query(query.unwrap_or_default()).map_err(|fault| {
            let code = match fault {
                QueryFault::Credential(_) => "credential_in_query",
                QueryFault::Method(_) => "method_in_query",
                QueryFault::Long | QueryFault::Character => "invalid_query",
            };
            PublicError::invalid(Some("query"), code, format!("The query of the call {fault}."))
        })?;
        Ok(Self {
            interface: interface.into(),
            method: method.clone(),
            path: path.into(),
            query: query.map(Into::into),
        })
    }

    /// Path and query, as the vendor gets them behind its base URL.
    pub fn path_and_query(&self) -> String {
        match &self.query {
            None => self.path.to_string(),
            Some(query) => format!("{}?{query}", self.path),
        }
    }

    /// Whether making the call twice is like making it once (RFC 9110 §9.2.2).
    pub fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }
}

/// Whether a vendor's answer of this status is the caller's: it worked, or there is something wrong with the request. What is wrong
/// with our account there, or with the vendor, is told in our words: a 401 would say to the caller that its own token is bad.
pub fn is_answer(status: StatusCode) -> bool {
    let ours = matches!(status.as_u16(), 401 | 402 | 403 | 407 | 408 | 429);
    status.is_success() || status == StatusCode::NOT_MODIFIED || (status.is_client_error() && !ours)
}

/// Whether a media type is that of JSON in UTF-8, so that what is read here is what anybody reads.
pub fn is_plain_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';');
    let essence = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let json = essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    json && parts.all(|parameter| {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        !name.trim().eq_ignore_ascii_case("charset") || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(below: &str, query: Option<&str>) -> String {
        match RawTarget::read(&Method::GET, below, query) {
            Ok(target) => format!("{} {}", target.interface, target.path_and_query()),
            Err(error) => error.code.unwrap_or_default().into(),
        }
    }

    #[test]
    fn a_target_is_what_stands_in_the_request_line_or_nothing() {
        for (below, query, wanted) in [
            ("files/v1/things", None, "files /v1/things"),
            ("files/v1/things/", Some("a=1&b=%20"), "files /v1/things/?a=1&b=%20"),
            ("files/a", Some(""), "files /a"),
            ("files", None, "invalid_path"),
            ("files/", None, "invalid_path"),
            ("files//a", None, "invalid_path"),
            ("files/../admin", None, "invalid_path"),
            ("files/a", Some("access_token=x"), "credential_in_query"),
            ("files/a", Some("_method=DELETE"), "method_in_query"),
            ("files/a", Some("a=%"), "invalid_query"),
        ] {
            assert_eq!(code(below, query), wanted, "{below} {query:?}");
        }
    }

    #[test]
    fn the_first_route_of_method_and_path_is_the_calls() {
        let route = |name: &str, methods: &[Method], path: &str| RawRoute {
            name: RawRouteName::new(name),
            methods: methods.to_vec(),
            path: PathPattern::parse(path).unwrap(),
        };
        let policy = RawPolicy {
            allow: vec![
                route("special", &[Method::GET], "/things/special"),
                route("thing", &[Method::GET, Method::DELETE], "/things/*"),
                route("make", &[Method::POST], "/things"),
            ],
            ..RawPolicy::default()
        };
        for (method, path, found) in [
            (Method::GET, "/things/special", Some("special")),
            (Method::DELETE, "/things/special", Some("thing")),
            (Method::GET, "/things/1", Some("thing")),
            (Method::POST, "/things/1", None),
            (Method::POST, "/things", Some("make")),
            (Method::GET, "/things", None),
        ] {
            let route = policy.find(&method, path);
            assert_eq!(route.map(|route| route.name.as_str()), found, "{method} {path}");
        }
    }

    #[test]
    fn statuses_of_the_callers_own_doing_are_answers() {
        for status in [
            200, 201, 204, 206, 304, 400, 404, 405, 409, 410, 412, 413, 415, 418, 422,
        ] {
            assert!(is_answer(StatusCode::from_u16(status).unwrap()), "{status}");
        }
        for status in [
            101, 300, 301, 302, 303, 307, 308, 401, 402, 403, 407, 408, 429, 500, 502, 503, 504, 529,
        ] {
            assert!(!is_answer(StatusCode::from_u16(status).unwrap()), "{status}");
        }
    }

    #[test]
    fn json_is_told_by_its_type_and_its_letters() {
        for json in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/merge-patch+json;charset=\"utf-8\"",
            "application/json; profile=x",
        ] {
            assert!(is_plain_json(json), "{json}");
        }
        for other in [
            "",
            "text/json",
            "application/jsonx",
            "application/json; charset=utf-7",
            "application/json; Charset = utf-16",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!is_plain_json(other), "{other}");
        }
    }
}
