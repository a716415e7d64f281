//! Redirect URIs: what may be registered, and what matches at use.
//!
//! Comparison is by plain string (RFC 9700 §2.1); only the port of a loopback redirect of a native app may vary
//! (RFC 8252 §7.3).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use url::{Host, Url};

/// A registered redirect URI, kept as the very string that was registered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct RedirectUri(String);

/// Why a URI cannot be a redirect URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RedirectUriError {
    #[error("not an absolute URI")]
    NotAbsolute,
    #[error("must not have a fragment")]
    Fragment,
    #[error("must not hold user information")]
    UserInfo,
    #[error("http is only for loopback addresses")]
    PlainHttp,
    #[error("the scheme is not allowed")]
    Scheme,
    #[error("holds a character that is not allowed in a URI")]
    Character,
    #[error("* is not a host: there are no wildcards")]
    Wildcard,
    #[error("has dot segments or path parameters that parsers read differently")]
    Ambiguous,
}

/// Schemes that a browser runs or opens locally; a private-use scheme needs a dot (RFC 8252 §7.1), these never pass.
const FORBIDDEN_SCHEMES: &[&str] = &[
    "javascript",
    "data",
    "vbscript",
    "file",
    "blob",
    "about",
    "filesystem",
    "ws",
    "wss",
];

impl RedirectUri {
    /// Checks a URI for registration.
    ///
    /// # Errors
    /// [`RedirectUriError`] says which rule it breaks.
    pub fn parse(text: &str) -> Result<Self, RedirectUriError> {
        // Only the characters of RFC 3986: parsers drop tabs, turn backslashes and trim spaces each in their own way.
        if !text.bytes().all(|b| {
            b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}')
        }) {
            return Err(RedirectUriError::Character);
        }
        if text.contains('#') {
            return Err(RedirectUriError::Fragment);
        }
        let url = Url::parse(text).map_err(|_| RedirectUriError::NotAbsolute)?;
        // The scheme as written, so that `JaVaScRiPt:` is judged by what a browser would do with it.
        let scheme = url.scheme();
        if FORBIDDEN_SCHEMES.contains(&scheme) {
            return Err(RedirectUriError::Scheme);
        }
        match scheme {
            "https" | "http" => Self::check_web(text, &url)?,
            // RFC 8252 §7.1: private-use schemes are reverse domain names.
            _ if scheme.contains('.') => {}
            _ => return Err(RedirectUriError::Scheme),
        }
        Ok(Self(text.to_owned()))
    }

    fn check_web(text: &str, url: &Url) -> Result<(), RedirectUriError> {
        let authority_and_rest = text.split_once("://").ok_or(RedirectUriError::NotAbsolute)?.1;
        let authority = authority_and_rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') || !url.username().is_empty() || url.password().is_some() {
            return Err(RedirectUriError::UserInfo);
        }
        // An operator would take it for a pattern; it is none.
        if authority.contains('*') {
            return Err(RedirectUriError::Wildcard);
        }
        // A host may stand in a Content-Security-Policy, where `;` and `,` mean something.
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
        if !authority.bytes().all(plain) {
            return Err(RedirectUriError::Character);
        }
        if url.scheme() == "http" && loopback_authority(text).is_none() {
            return Err(RedirectUriError::PlainHttp);
        }
        let path = authority_and_rest
            .strip_prefix(authority)
            .unwrap_or_default()
            .split('?')
            .next()
            .unwrap_or_default();
        let lowered = path.to_ascii_lowercase();
        let ambiguous = |segment: &str| segment == "." || segment == ".." || segment.contains(';');
        if lowered.contains("%2e")
            || lowered.contains("%2f")
            || lowered.contains("%5c")
            || path.split('/').any(ambiguous)
        {
            return Err(RedirectUriError::Ambiguous);
        }
        Ok(())
    }

    /// Tells whether `asked` is this registered URI: equal as a string, or equal but for the port when the registered
    /// one is `http` on a loopback address.
    pub fn matches(&self, asked: &str) -> bool {
        if self.0 == asked {
            return true;
        }
        // RFC 8252 §7.3: the port of a loopback redirect is chosen by the app at run time.
        match (loopback_authority(&self.0), loopback_authority(asked)) {
            (Some((host, rest)), Some((other_host, other_rest))) => host == other_host && rest == other_rest,
            _ => false,
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The scheme and authority, for a Content-Security-Policy source; `None` for a private-use scheme.
    pub fn origin(&self) -> Option<String> {
        let origin = Url::parse(&self.0).ok()?.origin();
        origin.is_tuple().then(|| origin.ascii_serialization())
    }
}

/// Splits `http://<loopback>[:port]<rest>` into host and rest; `None` for anything else. `localhost` counts, since
/// registration names it and it is compared as a string.
fn loopback_authority(text: &str) -> Option<(&str, &str)> {
    let after = text.strip_prefix("http://")?;
    let end = after.find(['/', '?']).unwrap_or(after.len());
    let (authority, rest) = after.split_at_checked(end)?;
    let (host, port) = match authority.rfind(':') {
        Some(at) if !authority.ends_with(']') => (authority.get(..at)?, authority.get(at + 1..)?),
        _ => (authority, "80"),
    };
    let canonical = |number: u16| number.to_string() == port;
    let port_is_sane = port.parse::<u16>().is_ok_and(canonical);
    let is_loopback = match Host::parse(host).ok()? {
        Host::Ipv4(address) => address.is_loopback() && host.bytes().all(|b| b.is_ascii_digit() || b == b'.'),
        Host::Ipv6(address) => address.is_loopback(),
        Host::Domain(name) => name == "localhost" && host == "localhost",
    };
    (is_loopback && port_is_sane && !rest.contains('#')).then_some((host, rest))
}

impl fmt::Display for RedirectUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for RedirectUri {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_may_be_registered() {
        for good in [
            "https://app.example/callback",
            "https://app.example/callback?tenant=1",
            "https://app.example",
            "http://127.0.0.1:8080/callback",
            "http://[::1]/cb",
            "http://localhost:3000/cb",
            "com.example.app:/callback",
        ] {
            assert!(RedirectUri::parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn what_may_not_be_registered() {
        use RedirectUriError as E;
        for (bad, why) in [
            ("/callback", E::NotAbsolute),
            ("https://app.example/cb#frag", E::Fragment),
            ("https://user@app.example/cb", E::UserInfo),
            ("https://app.example@@evil.example/cb", E::UserInfo),
            ("http://app.example/cb", E::PlainHttp),
            ("https://*.example/cb", E::Wildcard),
            ("http://127.0.0.1.evil.example/cb", E::PlainHttp),
            ("http://localhost.evil.example/cb", E::PlainHttp),
            ("JaVaScRiPt:alert(1)", E::Scheme),
            ("data:text/html,x", E::Scheme),
            ("myapp:/cb", E::Scheme),
            ("https://app.example/a/../cb", E::Ambiguous),
            ("https://app.example/a/..;/cb", E::Ambiguous),
            ("https://app.example/a/%2e%2e/cb", E::Ambiguous),
            ("https://app.example\\@evil.example/", E::Character),
            ("https://app.example/c b", E::Character),
            ("https://x;sandbox/cb", E::Character),
            (" https://app.example/cb", E::Character),
            ("https://app.example/\tcb", E::Character),
        ] {
            assert_eq!(RedirectUri::parse(bad).unwrap_err(), why, "{bad}");
        }
    }

    #[test]
    fn matching_is_by_string_but_for_the_loopback_port() {
        let web = RedirectUri::parse("https://app.example/callback").unwrap();
        assert!(web.matches("https://app.example/callback"));
        for other in [
            "https://app.example/CALLBACK",
            "https://APP.example/callback",
            "https://app.example:443/callback",
            "https://app.example/callback/",
            "https://app.example/callback?x=1",
            "https://app.example.evil.example/callback",
        ] {
            assert!(!web.matches(other), "{other}");
        }
        let native = RedirectUri::parse("http://127.0.0.1/cb?x=1").unwrap();
        assert!(native.matches("http://127.0.0.1:51234/cb?x=1"));
        for other in [
            "http://127.0.0.1:51234/cb",
            "http://127.0.0.1:51234/cb?x=1&y=2",
            "http://127.0.0.2:51234/cb?x=1",
            "http://localhost:51234/cb?x=1",
            "http://127.0.0.1:99999/cb?x=1",
            "http://127.0.0.1:/cb?x=1",
            "http://127.0.0.1:08080/cb?x=1",
            "http://127.0.0.1:+8080/cb?x=1",
            "https://127.0.0.1:51234/cb?x=1",
            "http://127.0.0.1:51234@evil.example/cb?x=1",
            "http://2130706433:51234/cb?x=1",
        ] {
            assert!(!native.matches(other), "{other}");
        }
        assert!(
            !RedirectUri::parse("https://127.0.0.1/cb")
                .unwrap()
                .matches("https://127.0.0.1:8443/cb")
        );
    }

    proptest! {
        #[test]
        fn no_text_panics_and_a_registered_uri_matches_itself(text in "\\PC{0,60}|https?://[a-z0-9.@:;/?%-]{0,40}") {
            if let Ok(uri) = RedirectUri::parse(&text) {
                prop_assert!(uri.matches(&text));
            }
        }

        #[test]
        fn any_port_matches_a_loopback_registration(port in 1u16..) {
            let native = RedirectUri::parse("http://[::1]:1/cb").unwrap();
            let asked = format!("http://[::1]:{port}/cb");
            prop_assert!(native.matches(&asked));
        }
    }
}
