//! `/auth/forward`: a proxy asks whether a request may pass, and who makes it (Traefik's ForwardAuth, nginx's `auth_request`).
//!
//! The proxy's own word is taken for method, scheme, host and path of the request that it holds back, and nobody else's: see
//! docs/forward-auth.md.

use std::fmt::Write as _;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse as _, Response},
};
use service_kit::ThroughProxy;

use super::{
    AppState,
    caller::{self, Authenticated, Place},
    error::GatewayError,
    signed::Target,
};
use crate::domain::{
    caller::{Caller, Denied},
    fault::PublicError,
    ids::{AccessKeyId, TenantId},
    signature::hex,
};

const METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

const SUB: HeaderName = HeaderName::from_static("x-hexgate-sub");
const CLIENT_ID: HeaderName = HeaderName::from_static("x-hexgate-client-id");
const TENANT: HeaderName = HeaderName::from_static("x-hexgate-tenant");
const SCOPE: HeaderName = HeaderName::from_static("x-hexgate-scope");
const ACCESS_KEY: HeaderName = HeaderName::from_static("x-hexgate-access-key");
const SIGNED_DIGEST: HeaderName = HeaderName::from_static("x-hexgate-signed-content-sha256");

pub(super) async fn check(State(app): State<AppState>, request: Request) -> Response {
    let (head, _) = request.into_parts();
    let mut response = match judge(&app, &head).await {
        Ok(response) => response,
        Err(refused) => *refused,
    };
    // nginx takes all but 401 and 403 for a failure of ours, and what is wrong with a credential is none.
    if response.status() == StatusCode::BAD_REQUEST && response.headers().contains_key(header::WWW_AUTHENTICATE) {
        *response.status_mut() = StatusCode::UNAUTHORIZED;
    }
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn judge(app: &AppState, head: &Parts) -> Result<Response, Box<Response>> {
    let wanted = Wanted::read(head.uri.query().unwrap_or_default())
        .map_err(|error| Box::new(GatewayError(error).into_response()))?;
    let forwarded = Forwarded::read(head).map_err(|error| Box::new(GatewayError(error).into_response()))?;
    let own = Place {
        target: Target::of(head),
        base: &app.public_url,
    };
    let place = forwarded.as_ref().map_or(own, Forwarded::place);
    let authenticated = caller::begin_at(app, head, place)
        .await
        .map_err(|away| Box::new(away.into_response()))?;
    check_wanted(app, authenticated.before_body(), &wanted)
        .map_err(|denied| Box::new(caller::deny(app, &denied).into_response()))?;
    Ok(identity(&authenticated))
}

fn check_wanted(app: &AppState, caller: &Caller, wanted: &Wanted) -> Result<(), Denied> {
    if let Some(scope) = wanted.scopes.iter().find(|scope| !caller.has_scope(scope)) {
        return Err(Denied::Scope(scope.clone()));
    }
    let Some(name) = &wanted.interface else { return Ok(()) };
    let now = app.clock.now().as_seconds();
    // Whether it is unknown or not theirs is not told.
    app.list_models
        .load(caller, name, now)
        .map(|_| ())
        .map_err(|_| Denied::Interface)
}

/// What the proxy's operator asks of callers, in the query of the address that he configured.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    scopes: Vec<String>,
    interface: Option<String>,
}

impl Wanted {
    /// A word that is not known is an error: whoever wrote it believes that it protects something.
    fn read(query: &str) -> Result<Self, PublicError> {
        let mut wanted = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let wrong = |why: &str| {
                let name: String = name.chars().filter(|c| !c.is_control()).take(40).collect();
                PublicError::invalid(
                    Some(&name),
                    "invalid_value",
                    format!("The parameter '{name}' of /auth/forward {why}."),
                )
            };
            match name.as_ref() {
                "scope" if wanted.scopes.is_empty() => {
                    wanted.scopes = value
                        .split(' ')
                        .filter(|scope| !scope.is_empty())
                        .map(str::to_owned)
                        .collect();
                    if wanted.scopes.is_empty() {
                        return Err(wrong("is empty"));
                    }
                }
                "interface" if wanted.interface.is_none() && !value.is_empty() => {
                    wanted.interface = Some(value.into_owned());
                }
                "scope" | "interface" => return Err(wrong("is empty or stands there twice")),
                _ => return Err(wrong("is not known; there are scope and interface")),
            }
        }
        Ok(wanted)
    }
}

/// The request that a trusted proxy holds back.
#[derive(Debug)]
struct Forwarded<'a> {
    method: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    host: &'a str,
    base: String,
}

impl<'a> Forwarded<'a> {
    /// `None` when no trusted proxy speaks, or it says nothing: then the request is judged as what it is, one to `/auth/forward`.
    fn read(head: &'a Parts) -> Result<Option<Self>, PublicError> {
        let names = [METHOD, PROTO, HOST, URI];
        let trusted = head.extensions.get::<ThroughProxy>().is_some();
        if !trusted || !names.iter().any(|name| head.headers.contains_key(name)) {
            return Ok(None);
        }
        let [method, proto, host, uri] = names.map(|name| sole(&head.headers, &name));
        let (Some(method), Some(proto), Some(host), Some(uri)) = (method, proto, host, uri) else {
            return Err(misconfigured());
        };
        if !matches!(proto, "http" | "https") || !uri.starts_with('/') {
            return Err(misconfigured());
        }
        let uri = uri.split('#').next().unwrap_or_default();
        let (path, query) = match uri.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (uri, None),
        };
        Ok(Some(Self {
            method,
            path,
            query,
            host,
            base: format!("{proto}://{host}"),
        }))
    }

    fn place(&self) -> Place<'_> {
        Place {
            target: Target {
                method: self.method,
                path: self.path,
                query: self.query,
                host: Some(self.host),
            },
            base: &self.base,
        }
    }
}

/// The one value of a header. A list would be the proxy's word behind a client's invention.
fn sole<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let value = value.to_str().ok()?;
    (!value.is_empty() && (*name == URI || !value.contains(','))).then_some(value)
}

/// The proxy's operator has to mend it, so it is no 401.
fn misconfigured() -> PublicError {
    PublicError::invalid(
        None,
        "incomplete_forwarding",
        "The proxy must send X-Forwarded-Method, -Proto, -Host and -Uri, each once and as its own.".to_owned(),
    )
}

/// Who it is, in headers that the proxy hands on. Each is there or not by our word alone: the proxy has to remove what clients send
/// under these names.
fn identity(authenticated: &Authenticated) -> Response {
    let caller = authenticated.before_body();
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    let digest = authenticated.signed_digest().map(|digest| hex(&digest));
    for (name, value) in [
        (SUB, Some(header_safe(caller.sub.as_str()))),
        (CLIENT_ID, Some(header_safe(caller.client_id.as_str()))),
        (TENANT, caller.tenant.as_ref().map(TenantId::as_str).map(header_safe)),
        // The grammar of scopes is a header's already (RFC 6749 §3.3).
        (SCOPE, Some(caller.scope().to_string())),
        (
            ACCESS_KEY,
            caller.access_key.as_ref().map(AccessKeyId::as_str).map(header_safe),
        ),
        // The body is not forwarded: whoever reads it has to compare.
        (SIGNED_DIGEST, digest),
    ] {
        if let Some(Ok(value)) = value.map(HeaderValue::try_from) {
            headers.insert(name, value);
        }
    }
    response
}

/// Percent-encoded but for visible ASCII that separates nothing: one value stays one value, in every script.
fn header_safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' | b',' | b';' | b'"' | b'\\' => {
                // Writing to a string cannot fail.
                let _ = write!(safe, "%{byte:02X}");
            }
            b'!'..=b'~' => safe.push(char::from(byte)),
            _ => {
                let _ = write!(safe, "%{byte:02X}");
            }
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_one_visible_word_in_a_header() {
        for (text, safe) in [
            ("alice", "alice"),
            ("a b", "a%20b"),
            ("100%", "100%25"),
            ("日本", "%E6%97%A5%E6%9C%AC"),
            ("a\r\nX-Hexgate-Sub: root", "a%0D%0AX-Hexgate-Sub:%20root"),
            ("a,b;c\"d\\", "a%2Cb%3Bc%22d%5C"),
            ("https://op.example/u/1?x=y&z", "https://op.example/u/1?x=y&z"),
        ] {
            assert_eq!(header_safe(text), safe);
            assert!(HeaderValue::try_from(header_safe(text)).unwrap().to_str().is_ok());
        }
    }

    #[test]
    fn what_is_asked_of_callers_is_read_to_the_letter() {
        let read = |query: &str| Wanted::read(query).map_err(|error| error.param.unwrap());
        assert_eq!(read(""), Ok(Wanted::default()));
        assert_eq!(
            read("scope=ai:chat+ai%3Aembeddings&interface=small"),
            Ok(Wanted {
                scopes: vec!["ai:chat".into(), "ai:embeddings".into()],
                interface: Some("small".into()),
            })
        );
        for (query, param) in [
            ("scopes=ai:chat", "scopes"),
            ("scope=", "scope"),
            ("scope=+", "scope"),
            ("scope=a&scope=b", "scope"),
            ("interface=", "interface"),
            ("interface=a&interface=b", "interface"),
        ] {
            assert_eq!(read(query), Err(param.into()), "{query}");
        }
    }
}
