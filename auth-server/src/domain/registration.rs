//! Clients that registered themselves (RFC 7591), and the tokens that let them.

use std::fmt;

use service_kit::Timestamp;
use url::{Host, Url};

use super::ids::{ClientId, TenantId};

/// Prefix of the ids of clients that registered themselves. No other client is asked after when ids are put to use.
pub const DYNAMIC_PREFIX: &str = "hgd_";

impl ClientId {
    /// Tells whether the client may have registered itself. An operator could name one like that, too.
    pub fn looks_dynamic(&self) -> bool {
        self.as_str().starts_with(DYNAMIC_PREFIX)
    }
}

/// Longest client id that is a URL, in bytes.
const MAX_URL_ID: usize = 512;

impl ClientId {
    /// The URL that the id is, if a client may be described there (draft-ietf-oauth-client-id-metadata-document §3): https, with a
    /// path, without fragment and user name, and written in the one way that parsers print it, so without dot segments, default port
    /// or odd host.
    pub fn as_metadata_url(&self) -> Option<Url> {
        let text = self.as_str();
        if text.len() > MAX_URL_ID || !text.starts_with("https://") {
            return None;
        }
        let url = Url::parse(text).ok()?;
        let is_plain = url.as_str() == text && url.username().is_empty() && url.password().is_none();
        (is_plain && url.fragment().is_none() && url.path() != "/").then_some(url)
    }
}

/// A keyed hash of a token, which the token itself cannot be had from: what the database holds.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenMac(pub String);

impl fmt::Debug for TokenMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenMac(…)")
    }
}

/// That a client registered itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub client: ClientId,
    /// Of the registration access token (RFC 7592 §3).
    pub access_token: TokenMac,
    pub registered_at: Timestamp,
    /// By the day: when tokens were last issued to the client.
    pub last_used_at: Timestamp,
}

/// A token that lets somebody register clients (RFC 7591 §3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialToken {
    /// Names the token to the operator; it is not secret.
    pub id: String,
    pub mac: TokenMac,
    /// Where its clients will be.
    pub tenant: TenantId,
    pub uses_left: i64,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

impl InitialToken {
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.uses_left > 0 && self.expires_at > now
    }
}

/// Hosts that strangers may name: `app.example`, or `*.example` for every name below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRule(String);

/// The text is no rule for hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a host name in lower case or an IP address, or *. and a name of at least two parts")]
pub struct InvalidHostRule;

impl HostRule {
    /// # Errors
    /// [`InvalidHostRule`].
    pub fn parse(text: &str) -> Result<Self, InvalidHostRule> {
        let host = match text.strip_prefix("*.") {
            // `*.com` is everybody.
            Some(suffix) if !suffix.contains('.') => return Err(InvalidHostRule),
            Some(suffix) => suffix,
            None => text,
        };
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
        let parsed = Host::parse(host).map_err(|_| InvalidHostRule)?;
        let is_address = !matches!(parsed, Host::Domain(_));
        if !host.bytes().all(is_plain) || parsed.to_string() != host || (is_address && host != text) {
            return Err(InvalidHostRule);
        }
        Ok(Self(text.to_owned()))
    }

    /// Whole names only: `badexample.com` is not below `example.com`.
    pub fn covers(&self, host: &str) -> bool {
        match self.0.strip_prefix('*') {
            Some(suffix) => host.strip_suffix(suffix).is_some_and(|rest| !rest.is_empty()),
            None => self.0 == host,
        }
    }

    /// Tells whether one of the rules covers the URI's host. No rules allow any; some allow no URI without a host.
    pub fn allow(rules: &[Self], uri: &str) -> bool {
        if rules.is_empty() {
            return true;
        }
        let url = Url::parse(uri).ok();
        let host = url
            .as_ref()
            .filter(|url| url.scheme().starts_with("http"))
            .and_then(Url::host_str);
        host.is_some_and(|host| rules.iter().any(|rule| rule.covers(host)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_be_described_at_plain_urls_alone() {
        for (id, good) in [
            ("https://app.example/client.json", true),
            ("https://app.example:8443/client", true),
            ("https://app.example/a/?v=1", true),
            ("https://app.example", false),
            ("https://app.example/", false),
            ("https://app.example/?client=1", false),
            ("http://app.example/client", false),
            ("https://app.example/client#x", false),
            ("https://app.example/client#", false),
            ("https://user@app.example/client", false),
            ("https://@app.example/client", false),
            ("https://app.example:443/client", false),
            ("https://app.example:/client", false),
            ("https://app.example/a/../client", false),
            ("https://app.example/./client", false),
            ("https://app.example/%2e%2e/client", false),
            ("https://APP.example/client", false),
            ("HTTPS://app.example/client", false),
            ("https://app.example\\client", false),
            ("https://app.example/cl ient", false),
            ("https://app.example/cl\tient", false),
            ("https://2130706433/client", false),
            ("https:app.example/client", false),
            ("web", false),
            ("", false),
        ] {
            assert_eq!(ClientId::new(id).as_metadata_url().is_some(), good, "{id}");
        }
        let long = |length: usize| ClientId::new(format!("https://app.example/{}", "x".repeat(length - 20)));
        assert!(long(512).as_metadata_url().is_some());
        assert!(long(513).as_metadata_url().is_none());
    }

    #[test]
    fn rules_that_say_too_much_or_nothing_are_refused() {
        for (text, good) in [
            ("app.example", true),
            ("localhost", true),
            ("*.app.example", true),
            ("127.0.0.1", true),
            ("[::1]", true),
            ("*.com", false),
            ("*", false),
            ("*.*.example", false),
            ("App.example", false),
            ("https://app.example", false),
            ("app.example:8443", false),
            ("*.127.0.0.1", false),
            ("app example", false),
            ("", false),
        ] {
            assert_eq!(HostRule::parse(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_suffix_covers_whole_names_below_it() {
        let rule = HostRule::parse("*.app.example").unwrap();
        for (host, covered) in [
            ("a.app.example", true),
            ("a.b.app.example", true),
            ("app.example", false),
            (".app.example", false),
            ("badapp.example", false),
            ("a.app.example.evil", false),
        ] {
            assert_eq!(rule.covers(host), covered, "{host}");
        }
    }

    #[test]
    fn with_rules_a_private_scheme_is_at_no_host() {
        let rules = [HostRule::parse("app.example").unwrap()];
        assert!(HostRule::allow(&rules, "https://app.example:8443/cb"));
        assert!(!HostRule::allow(&rules, "https://other.example/cb"));
        assert!(!HostRule::allow(&rules, "com.app.example://app.example/cb"));
        assert!(!HostRule::allow(&rules, "http://127.0.0.1/cb"));
        assert!(HostRule::allow(&[], "com.app.example:/cb"));
    }
}
