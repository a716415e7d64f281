//! Which hosts the provider may reach on behalf of strangers.
//!
//! Clients name URLs that the provider then asks: key sets, request objects, logout endpoints. Each of them could point into the
//! network behind the provider. These rules say what may be asked; the adapter holds them against the address that it really connects to.

use std::{fmt, net::Ipv6Addr, str::FromStr};

pub use service_kit::is_public;
use url::{Host, Url};

/// Longest URL that is asked, in bytes.
pub const MAX_URL_BYTES: usize = 2048;

/// Why a URL is not asked, or a reply from there not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the URL has more than {MAX_URL_BYTES} bytes")]
    TooLong,
    #[error("this is not a URL")]
    NotAUrl,
    #[error("the URL is not https")]
    NotHttps,
    #[error("the URL has a user name")]
    UserInfo,
    #[error("the URL has a fragment")]
    Fragment,
    /// Parsers differ about such hosts, and what one of them has checked another may read differently.
    #[error("the URL's host or port is not written in the usual way")]
    OddHost,
    #[error("the host has no public address")]
    NotPublic,
    /// Where it leads was not checked, and nobody registered it.
    #[error("the host answered with a redirect")]
    Redirect,
}

/// What may be said of a host: the rules of the internet's, or those of the operator's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// https only, and only at public addresses.
    Stranger,
    /// Named by the operator: at any address, and in plain http, too.
    Allowed,
}

/// A host that the operator allows at any address, or one port of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    /// As [`Url::host_str`] writes it.
    host: String,
    port: Option<u16>,
}

/// Why an entry cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a host name or an IP address, with or without a port, and without wildcards")]
pub struct HostSyntax;

impl AllowedHost {
    fn covers(&self, url: &Url) -> bool {
        url.host_str() == Some(&self.host) && (self.port.is_none() || self.port == url.port_or_known_default())
    }
}

impl FromStr for AllowedHost {
    type Err = HostSyntax;

    fn from_str(text: &str) -> Result<Self, HostSyntax> {
        let (host, port) = match text.parse::<Ipv6Addr>() {
            Ok(address) => (format!("[{address}]"), None),
            Err(_) => match text.rsplit_once(':') {
                Some((host, port)) if !text.ends_with(']') => (host.to_ascii_lowercase(), Some(port)),
                _ => (text.to_ascii_lowercase(), None),
            },
        };
        // Also what a parser would rewrite is refused: the operator shall read what is compared.
        let parsed = Host::parse(&host).map_err(|_| HostSyntax)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        if !host.chars().all(is_plain) || parsed.to_string() != host {
            return Err(HostSyntax);
        }
        let port = port.map(|port| written_port(port).ok_or(HostSyntax)).transpose()?;
        Ok(Self { host, port })
    }
}

impl fmt::Display for AllowedHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

fn written_port(text: &str) -> Option<u16> {
    let port: u16 = text.parse().ok().filter(|port| *port != 0)?;
    (port.to_string() == text).then_some(port)
}

/// A URL that may be asked, as far as its text tells. What its name resolves to is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub url: Url,
    pub trust: Trust,
}

impl Target {
    /// Reads a URL that somebody else has chosen.
    ///
    /// # Errors
    /// [`Refusal`], for the first rule that it breaks.
    pub fn parse(text: &str, allowed: &[AllowedHost]) -> Result<Self, Refusal> {
        if text.len() > MAX_URL_BYTES {
            return Err(Refusal::TooLong);
        }
        // RFC 3986 §2: anything else is not part of a URI. Lenient parsers drop tabs and line ends, trim spaces, and take `\` for `/`.
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return Err(Refusal::NotAUrl);
        }
        let (_, rest) = text.split_once("://").ok_or(Refusal::NotAUrl)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(Refusal::UserInfo);
        }
        if text.contains('#') {
            return Err(Refusal::Fragment);
        }
        let url = Url::parse(text).map_err(|_| Refusal::NotAUrl)?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(Refusal::NotHttps);
        }
        if !is_usual(&authority.to_ascii_lowercase(), &url) {
            return Err(Refusal::OddHost);
        }
        let trust = match allowed.iter().any(|host| host.covers(&url)) {
            true => Trust::Allowed,
            false => Trust::Stranger,
        };
        let target = Self { url, trust };
        target.check_stranger()?;
        Ok(target)
    }

    fn check_stranger(&self) -> Result<(), Refusal> {
        if self.trust == Trust::Allowed {
            return Ok(());
        }
        if self.url.scheme() != "https" {
            return Err(Refusal::NotHttps);
        }
        // No resolver is asked about a literal address.
        let is_private = match self.url.host() {
            Some(Host::Ipv4(address)) => !is_public(address.into()),
            Some(Host::Ipv6(address)) => !is_public(address.into()),
            Some(Host::Domain(_)) => false,
            None => true,
        };
        match is_private {
            true => Err(Refusal::NotPublic),
            false => Ok(()),
        }
    }
}

/// Tells whether the authority was written as the parser prints it: no numbers in place of a dotted address, no percent signs, no
/// other spelling of a port, none of the marks that people take for a placeholder. The scheme's own port may be there.
fn is_usual(authority: &str, url: &Url) -> bool {
    let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
        return false;
    };
    let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b':' | b'[' | b']');
    port != 0
        && host.bytes().all(is_plain)
        && (authority == format!("{host}:{port}") || (authority == host && url.port().is_none()))
}

#[cfg(test)]
mod tests;
