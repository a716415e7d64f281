//! The client's address as trusted proxies tell it: `X-Forwarded-For` and `Forwarded` (RFC 7239).

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header::FORWARDED};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ProxyConfig, network::any_contains};

/// The header that names the client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ForwardedHeader {
    #[default]
    XForwardedFor,
    Forwarded,
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The right-most address that is no trusted proxy's. Everything left of it may be the client's own invention, so an entry that is
/// no address ends the search: what stood right of it is as far as the proxies' word goes.
pub(super) fn client(headers: &HeaderMap, proxy: &ProxyConfig) -> Option<SocketAddr> {
    let name = match proxy.header {
        ForwardedHeader::XForwardedFor => X_FORWARDED_FOR,
        ForwardedHeader::Forwarded => FORWARDED,
    };
    let mut nearest = None;
    for line in headers.get_all(name).iter().rev() {
        let Ok(line) = line.to_str() else { return nearest };
        let mut rest = Some(line);
        while let Some(text) = rest {
            let (left, entry) = last_part(text, b',');
            rest = left;
            if entry.trim().is_empty() {
                continue;
            }
            let address = match proxy.header {
                ForwardedHeader::XForwardedFor => node(entry.trim()),
                ForwardedHeader::Forwarded => forwarded_for(entry).and_then(node),
            };
            let Some(address) = address else { return nearest };
            nearest = Some(address);
            if !any_contains(&proxy.trusted, address.ip()) {
                return nearest;
            }
        }
    }
    nearest
}

/// Splits at the last separator outside quotes. From the right, because there the text is the proxy's: a quote that a client left
/// open further left must not swallow it.
fn last_part(text: &str, separator: u8) -> (Option<&str>, &str) {
    let mut quoted = false;
    for (at, byte) in text.bytes().enumerate().rev() {
        match byte {
            b'"' => quoted = !quoted,
            _ if byte == separator && !quoted => {
                return (text.get(..at), text.get(at + 1..).unwrap_or_default());
            }
            _ => {}
        }
    }
    (None, text)
}

/// The `for` parameter of a forwarded-element (RFC 7239 §4).
fn forwarded_for(element: &str) -> Option<&str> {
    let mut rest = Some(element);
    while let Some(text) = rest {
        let (left, pair) = last_part(text, b';');
        rest = left;
        if let Some((name, value)) = pair.split_once('=')
            && name.trim().eq_ignore_ascii_case("for")
        {
            let value = value.trim();
            let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
            return Some(unquoted.unwrap_or(value));
        }
    }
    None
}

/// An address, with a port or without; IPv6 in brackets (RFC 7239 §6), or bare, as many proxies write it.
fn node(text: &str) -> Option<SocketAddr> {
    let address = |ip: IpAddr, port| SocketAddr::new(ip.to_canonical(), port);
    if let Ok(ip) = text.parse() {
        return Some(address(ip, 0));
    }
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(address(socket.ip(), socket.port()));
    }
    let bracketed = text.strip_prefix('[')?.strip_suffix(']')?;
    bracketed.parse().ok().map(|ip| address(IpAddr::V6(ip), 0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn proxy(header: ForwardedHeader) -> ProxyConfig {
        ProxyConfig {
            trusted: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            header,
        }
    }

    fn told(header: ForwardedHeader, lines: &[&str]) -> Option<String> {
        let name = match header {
            ForwardedHeader::XForwardedFor => "x-forwarded-for",
            ForwardedHeader::Forwarded => "forwarded",
        };
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, line.parse().unwrap());
        }
        client(&headers, &proxy(header)).map(|address| address.to_string())
    }

    #[test]
    fn the_right_most_address_that_is_no_proxys_is_the_clients() {
        for (lines, client) in [
            (&["192.0.2.1"][..], Some("192.0.2.1:0")),
            (&["198.51.100.9, 192.0.2.1"], Some("192.0.2.1:0")),
            (&["198.51.100.9, 192.0.2.1, 10.0.0.2"], Some("192.0.2.1:0")),
            (&["198.51.100.9", "192.0.2.1", "10.0.0.2,10.0.0.3"], Some("192.0.2.1:0")),
            (&["10.0.0.1, 10.0.0.2"], Some("10.0.0.1:0")),
            (&["2001:db8::1, fd00::1"], Some("[2001:db8::1]:0")),
            (&["[2001:db8::1]:4711"], Some("[2001:db8::1]:4711")),
            (&["192.0.2.1:4711"], Some("192.0.2.1:4711")),
            (&["::ffff:192.0.2.1"], Some("192.0.2.1:0")),
            (&["192.0.2.1, "], Some("192.0.2.1:0")),
            // As far as the proxies' word goes.
            (&["192.0.2.1, unknown, 10.0.0.2"], Some("10.0.0.2:0")),
            (&["192.0.2.1, unknown"], None),
            (&["localhost"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(
                told(ForwardedHeader::XForwardedFor, lines).as_deref(),
                client,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn forwarded_elements_are_read_from_the_right() {
        for (lines, client) in [
            (&["for=192.0.2.1"][..], Some("192.0.2.1:0")),
            (
                &["For=\"192.0.2.1:4711\";proto=https;by=10.0.0.1"],
                Some("192.0.2.1:4711"),
            ),
            (&["for=\"[2001:db8::1]\";host=\"a,b;c\""], Some("[2001:db8::1]:0")),
            (
                &["for=198.51.100.9, for=192.0.2.1;by=x, for=10.0.0.2"],
                Some("192.0.2.1:0"),
            ),
            (&["for=198.51.100.9", "by=x;for=192.0.2.1"], Some("192.0.2.1:0")),
            // An open quote further left does not swallow what the proxy wrote.
            (&["for=\"198.51.100.9, for=192.0.2.1"], Some("192.0.2.1:0")),
            (&["for=_hidden, for=10.0.0.2"], Some("10.0.0.2:0")),
            (&["for=unknown"], None),
            (&["proto=https"], None),
            (&["192.0.2.1"], None),
        ] {
            assert_eq!(told(ForwardedHeader::Forwarded, lines).as_deref(), client, "{lines:?}");
        }
    }

    #[test]
    fn the_header_that_the_proxy_does_not_write_is_not_looked_at() {
        let mut headers = HeaderMap::new();
        headers.insert("forwarded", "for=198.51.100.9".parse().unwrap());
        assert_eq!(client(&headers, &proxy(ForwardedHeader::XForwardedFor)), None);
        headers.insert("x-forwarded-for", "198.51.100.9".parse().unwrap());
        headers.remove("forwarded");
        assert_eq!(client(&headers, &proxy(ForwardedHeader::Forwarded)), None);
    }

    proptest! {
        #[test]
        fn no_invention_of_the_client_changes_what_the_proxy_appended(invented in "[ -~]{0,80}") {
            prop_assert_eq!(
                told(ForwardedHeader::XForwardedFor, &[&format!("{invented}, 192.0.2.1")]),
                Some("192.0.2.1:0".to_owned())
            );
            prop_assert_eq!(
                told(ForwardedHeader::Forwarded, &[&format!("{invented}, for=192.0.2.1")]),
                Some("192.0.2.1:0".to_owned())
            );
        }
    }
}
