//! Credentials as vendors' rows hold them, and requests on their way to a signature.

use std::fmt;

use http::{HeaderName, HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString};

use super::canonical::{AccessKey, Signable, Signed};
use crate::{domain::vendor::Vendor, ports::codec::Outgoing};

/// A shorter one stands in many texts by chance, and keeps nobody out.
const SHORTEST_SECRET: usize = 8;
const BAD_CHARACTERS: &str = "its credential holds characters that a header cannot carry";

/// The key of a vendor that has an id as well as a secret. Of a temporary key the token stands behind the secret, with white space in
/// between: neither holds any. `None` without an id.
pub(super) fn access_key(vendor: &Vendor) -> Result<Option<AccessKey>, String> {
    let Some(id) = vendor.credential.secret_id.as_deref().map(str::trim) else {
        return Ok(None);
    };
    let secret = secret_key(vendor).ok_or("it has a secret_id and no secret_key")?;
    let mut parts = secret.split_ascii_whitespace();
    let key = AccessKey::new(id, parts.next().unwrap_or_default());
    let key = match parts.next() {
        Some(token) => key.with_session_token(token),
        None => key,
    };
    if parts.next().is_some() {
        return Err("its secret_key holds more than a secret and a session token".to_owned());
    }
    let texts = [id, key.secret.expose_secret(), key.token().unwrap_or("-")];
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !texts.into_iter().all(plain) {
        return Err(BAD_CHARACTERS.to_owned());
    }
    Ok(Some(key))
}

/// The same where no call can be made without.
pub(super) fn needed_access_key(vendor: &Vendor) -> Result<AccessKey, String> {
    access_key(vendor)?.ok_or_else(|| "it has no secret_id".to_owned())
}

pub(super) fn secret_key(vendor: &Vendor) -> Option<&str> {
    let secret = vendor.credential.secret_key.present()?;
    Some(secret.expose_secret().trim()).filter(|secret| !secret.is_empty())
}

/// A header's value that no log shows.
pub(super) fn sensitive(value: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(value).map_err(|_| BAD_CHARACTERS)?;
    value.set_sensitive(true);
    Ok(value)
}

/// What must not be shown to anybody.
pub(super) struct Secrets(Vec<SecretString>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secrets([redacted])")
    }
}

impl Secrets {
    pub(super) fn of(secret: &str) -> Self {
        Self(vec![SecretString::from(secret)])
    }

    pub(super) fn of_key(key: &AccessKey) -> Self {
        let token = key.session_token.clone();
        Self([Some(key.secret.clone()), token].into_iter().flatten().collect())
    }

    pub(super) fn are_shown_in(&self, text: &[u8]) -> bool {
        self.0.iter().any(|secret| {
            let secret = secret.expose_secret().as_bytes();
            secret.len() >= SHORTEST_SECRET && memchr::memmem::find(text, secret).is_some()
        })
    }
}

/// The `Host` header that goes with an address: with its port, unless that is the scheme's own (RFC 9110 §7.2).
pub(super) fn host_of(request: &Outgoing) -> String {
    let uri = &request.uri;
    let host = uri.host().unwrap_or_default();
    let own = match uri.scheme_str() {
        Some("https" | "wss") => 443,
        _ => 80,
    };
    match uri.port_u16().filter(|port| *port != own) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Signs a request as it is about to leave: with those of its headers that `is_signed` picks.
pub(super) fn sign_outgoing(
    request: &mut Outgoing,
    is_signed: impl Fn(&HeaderName) -> bool,
    sign: impl FnOnce(&Signable<'_>) -> Signed,
) {
    let host = host_of(request);
    let headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .filter(|(name, _)| is_signed(name))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    let signed = sign(&Signable {
        method: request.method.as_str(),
        host: &host,
        path: request.uri.path(),
        query: request.uri.query().unwrap_or_default(),
        headers: &headers,
        body: &request.body,
    });
    // What is signed is what is sent.
    let host = HeaderValue::from_str(&host).ok();
    request.headers.extend(host.map(|host| (header::HOST, host)));
    for (name, value) in signed.headers {
        // The parts were looked at when the vendor was bound.
        if let Ok(value) = sensitive(&value) {
            request.headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Adds parameters to the query of a request.
pub(super) fn extend_query(request: &mut Outgoing, more: &str) {
    let mut parts = request.uri.clone().into_parts();
    let path = request.uri.path();
    let extended = match request.uri.query() {
        None | Some("") => format!("{path}?{more}"),
        Some(query) => format!("{path}?{query}&{more}"),
    };
    parts.path_and_query = extended.parse().ok();
    // Nothing but the query has changed, and that is encoded.
    if let Ok(uri) = parts.try_into() {
        request.uri = uri;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{adapters::auth_schemes::tests::vendor, domain::vendor::SecretKey};
    use http::{HeaderMap, Method};

    fn request(uri: &str) -> Outgoing {
        Outgoing {
            method: Method::POST,
            uri: uri.parse().unwrap(),
            headers: HeaderMap::new(),
            body: Vec::new(),
            dialogue: None,
        }
    }

    #[test]
    fn a_host_is_named_with_its_port_unless_that_is_the_schemes_own() {
        for (uri, wanted) in [
            ("https://a.test/x", "a.test"),
            ("https://a.test:443/x", "a.test"),
            ("https://a.test:80/x", "a.test:80"),
            ("http://a.test:80/x", "a.test"),
            ("http://127.0.0.1:8080", "127.0.0.1:8080"),
            ("wss://a.test/x", "a.test"),
        ] {
            assert_eq!(host_of(&request(uri)), wanted, "{uri}");
        }
    }

    #[test]
    fn a_query_is_extended_and_nothing_else_changes() {
        for (uri, wanted) in [
            ("https://a.test/x%2Fy", "https://a.test/x%2Fy?t=1"),
            ("https://a.test/x?a=b%20c", "https://a.test/x?a=b%20c&t=1"),
            ("https://a.test", "https://a.test/?t=1"),
        ] {
            let mut request = request(uri);
            extend_query(&mut request, "t=1");
            assert_eq!(request.uri, wanted);
        }
    }

    #[test]
    fn a_session_token_stands_behind_the_secret_and_all_are_known_again() {
        let key = access_key(&vendor("id", "secret-secret\n token-token\n"))
            .unwrap()
            .unwrap();
        assert_eq!(
            (&*key.id, key.secret.expose_secret(), key.token()),
            ("id", "secret-secret", Some("token-token"))
        );
        let secrets = Secrets::of_key(&key);
        assert!(secrets.are_shown_in(b"xsecret-secrety") && secrets.are_shown_in(b"token-token"));
        assert!(!secrets.are_shown_in(b"secret-secre token-toke"));
        assert!(!Secrets::of("short").are_shown_in(b"short"));
        assert_eq!(format!("{secrets:?}"), "Secrets([redacted])");
    }

    #[test]
    fn a_key_that_cannot_be_used_is_refused_without_being_shown() {
        for (id, secret) in [
            ("i d", "secret"),
            ("", "secret"),
            ("id", "hush token more"),
            ("id", "se\u{e9}cret"),
            ("id", " "),
        ] {
            let refused = access_key(&vendor(id, secret)).unwrap_err();
            assert!(!refused.contains("hush") && !refused.contains("se\u{e9}"), "{refused}");
        }
        let mut keyless = vendor("id", "secret");
        keyless.credential.secret_key = SecretKey::Absent;
        assert!(access_key(&keyless).is_err());
        keyless.credential.secret_id = None;
        assert!(access_key(&keyless).unwrap().is_none());
        assert!(needed_access_key(&keyless).is_err());
    }
}
