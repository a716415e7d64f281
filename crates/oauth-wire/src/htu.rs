//! The address that a DPoP proof is for ([RFC 9449 §4.2](https://www.rfc-editor.org/rfc/rfc9449#section-4.2)).

use url::{Position, Url};

/// Longer addresses are refused before any work is done.
const MAX_BYTES: usize = 2048;

/// An `htu`, brought into one form so that two ways of writing the same address compare equal: RFC 9449 §4.3 step 9 leaves query and
/// fragment out and recommends the normalisations of RFC 3986 §6.2.2 (case, percent-encoding, dot segments) and §6.2.3 (default port,
/// empty path).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Htu(String);

/// The text is no http(s) address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("htu must be an absolute http or https URI without user information")]
pub struct HtuError;

impl Htu {
    /// Reads an address. Query and fragment are dropped.
    ///
    /// # Errors
    /// [`HtuError`].
    pub fn parse(text: &str) -> Result<Self, HtuError> {
        // What a browser would mend (white space, back slashes, other scripts, a missing slash) is no URI, and is not mended here.
        let legal = |b: u8| matches!(b, b'!' | b'#'..=b';' | b'=' | b'?'..=b'[' | b']' | b'_' | b'a'..=b'z' | b'~');
        let (scheme, rest) = text.split_once("://").ok_or(HtuError)?;
        if text.len() > MAX_BYTES || !text.bytes().all(legal) || !is_http(scheme) || rest.starts_with(['/', '?', '#']) {
            return Err(HtuError);
        }
        let (before_query, _) = rest.split_once(['?', '#']).unwrap_or((rest, ""));
        let (authority, path) = before_query.split_once('/').unwrap_or((before_query, ""));
        // RFC 3986 §3.2.1: user information is no part of what a server listens on. Dots are resolved after percent-encoded ones
        // have shown themselves.
        if authority.contains('@') {
            return Err(HtuError);
        }
        let path = normalised(path).ok_or(HtuError)?;
        let url = Url::parse(&format!("{scheme}://{authority}/{path}")).map_err(|_| HtuError)?;
        if !url.has_host() {
            return Err(HtuError);
        }
        Ok(Self(url[..Position::AfterPath].to_owned()))
    }

    /// Tells whether a proof's `htu` is this address.
    pub fn is(&self, htu: &str) -> bool {
        // Nearly always it is, byte for byte.
        self.0 == htu || Self::parse(htu).is_ok_and(|other| other == *self)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http")
}

/// RFC 3986 §6.2.2.1 and §6.2.2.2: an encoded unreserved character stands for itself, and other encodings have upper-case digits.
/// `None` for a percent sign that begins no encoding.
fn normalised(path: &str) -> Option<String> {
    let mut pieces = path.split('%');
    let mut text = pieces.next()?.to_owned();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        match char::from(u8::from_str_radix(digits, 16).ok()?) {
            c if c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~') => text.push(c),
            _ => {
                text.push('%');
                text.push_str(&digits.to_ascii_uppercase());
            }
        }
        text.push_str(rest);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ways_to_write_one_address_are_equal() {
        let address = Htu::parse("https://server.example/oauth2/a-b%2Ftoken").unwrap();
        for same in [
            "https://server.example/oauth2/a-b%2Ftoken",
            "HTTPS://SERVER.example/oauth2/a-b%2Ftoken",
            "https://server.example:443/oauth2/a-b%2Ftoken",
            "https://server.example:/oauth2/a-b%2Ftoken",
            "https://server.example/oauth2/a-b%2ftoken",
            "https://server.example/%6fauth2/a%2Db%2Ftoken",
            "https://server.example/x/../oauth2/./a-b%2Ftoken",
            "https://server.example/x/%2e%2E/oauth2/a-b%2Ftoken",
            "https://server.example/oauth2/a-b%2Ftoken?q=/x%",
            "https://server.example/oauth2/a-b%2Ftoken#f?g",
        ] {
            assert!(address.is(same), "{same}");
        }
        assert!(Htu::parse("http://a.example").unwrap().is("http://A.example:80/?x"));
        assert!(Htu::parse("https://[::1]:8443/t").unwrap().is("https://[::1]:8443/t"));
    }

    #[test]
    fn other_addresses_are_not() {
        let address = Htu::parse("https://server.example/oauth2/token").unwrap();
        for other in [
            "http://server.example/oauth2/token",
            "https://server.example:8443/oauth2/token",
            "https://server.example.evil/oauth2/token",
            "https://server.example/oauth2/token/",
            "https://server.example/oauth2/Token",
            "https://server.example/oauth2//token",
            "https://server.example/oauth2%2Ftoken",
            "https://server.example",
            // Not URIs, whatever a browser would make of them.
            " https://server.example/oauth2/token",
            "https://server.example/oauth2/token\n",
            "https:\\\\server.example\\oauth2\\token",
            "https:/server.example/oauth2/token",
            "https:///server.example/oauth2/token",
            "https://me@server.example/oauth2/token",
            "//server.example/oauth2/token",
            "/oauth2/token",
            "https://server.example/oauth2/t%6",
            "https://server.example/oauth2/t%zzken",
            "https://ſerver.example/oauth2/token",
            "ftp://server.example/oauth2/token",
            "",
        ] {
            assert!(!address.is(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_stays_as_it_is(text in "\\PC{0,60}|https?://[a-z.:@%\\[\\]]{0,12}/[-a-zA-Z./%0-9?#]{0,40}") {
            if let Ok(once) = Htu::parse(&text) {
                prop_assert_eq!(Htu::parse(once.as_str()), Ok(once.clone()));
                prop_assert!(once.is(&text));
            }
        }
    }
}
