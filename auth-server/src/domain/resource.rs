//! Resource servers that tokens are issued for, by their identifiers (RFC 8707).

use url::Url;

/// Longest identifier that is looked at, in bytes.
const MAX_BYTES: usize = 2048;
/// What ends a pattern that stands for everything below a path.
const WILDCARD: &str = "/*";

/// One identifier, or everything below one (`https://api.example/v1/*`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourcePattern {
    /// Without the wildcard, and without the slash before it.
    base: String,
    is_prefix: bool,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ResourcePatternError {
    #[error("must be an absolute URI without fragment")]
    NotAResource,
    #[error("must be https, or http on loopback")]
    NotHttps,
    #[error("must be in normal form: lower-case host, no default port, no dot segments, no user name")]
    NotNormal,
    #[error("* may stand only for the last part of the path, as in https://api.example/v1/*")]
    StrayWildcard,
}

impl ResourcePattern {
    /// Reads what an operator wrote.
    ///
    /// # Errors
    /// [`ResourcePatternError`].
    pub fn parse(text: &str) -> Result<Self, ResourcePatternError> {
        let (base, is_prefix) = match text.strip_suffix(WILDCARD) {
            Some(base) => (base, true),
            None => (text, false),
        };
        if base.contains('*') || (is_prefix && base.contains('?')) {
            return Err(ResourcePatternError::StrayWildcard);
        }
        let url = Url::parse(base).map_err(|_| ResourcePatternError::NotAResource)?;
        if url.fragment().is_some() || !url.has_host() {
            return Err(ResourcePatternError::NotAResource);
        }
        let is_loopback = match url.host() {
            Some(url::Host::Domain(name)) => name == "localhost",
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && is_loopback) {
            return Err(ResourcePatternError::NotHttps);
        }
        if !is_normal(&url, base) {
            return Err(ResourcePatternError::NotNormal);
        }
        Ok(Self {
            base: base.to_owned(),
            is_prefix,
        })
    }

    /// The identifier by which tokens name what was asked for, if it is this.
    fn canonical(&self, asked: &str) -> Option<String> {
        if !self.is_prefix {
            return same(&self.base, asked).then(|| self.base.clone());
        }
        let below = asked.strip_prefix(&self.base)?.strip_prefix('/')?;
        // Parsed once, here: an identifier that another parser could take for one outside the path is refused.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        let is_plain = below.bytes().all(plain) && Url::parse(asked).is_ok_and(|url| is_normal(&url, asked));
        is_plain.then(|| asked.to_owned())
    }
}

/// Every resource that is known.
#[derive(Debug, Clone)]
pub struct Resources {
    patterns: Vec<ResourcePattern>,
    /// Identifiers of this installation itself, in whatever form they were configured.
    own: Vec<String>,
}

impl Resources {
    /// `own` are the provider and the gateway.
    pub fn new(own: impl IntoIterator<Item = String>, patterns: Vec<ResourcePattern>) -> Self {
        Self {
            patterns,
            own: own.into_iter().collect(),
        }
    }

    /// The identifier by which tokens name a resource that a client asks for (RFC 8707 §2); `None` for one that is not known. One slash
    /// at the end makes no difference: URL parsers add it to a bare host.
    pub fn canonical(&self, asked: &str) -> Option<String> {
        if asked.len() > MAX_BYTES {
            return None;
        }
        let own = self.own.iter().find(|own| same(own, asked)).cloned();
        own.or_else(|| self.patterns.iter().find_map(|pattern| pattern.canonical(asked)))
    }
}

fn same(known: &str, asked: &str) -> bool {
    let bare = |text: &str| -> usize { text.len() - usize::from(text.ends_with('/')) };
    known.get(..bare(known)) == asked.get(..bare(asked))
}

/// Whether a URL is written the one way that parsers print it.
fn is_normal(url: &Url, text: &str) -> bool {
    url.username().is_empty()
        && url.password().is_none()
        && (url.as_str() == text || url.as_str() == format!("{text}/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(patterns: &[&str]) -> Resources {
        let patterns = patterns.iter().map(|text| ResourcePattern::parse(text).unwrap());
        Resources::new(["https://op.example".to_owned()], patterns.collect())
    }

    #[test]
    fn a_listed_identifier_is_known_by_its_one_spelling_and_a_last_slash() {
        let known = resources(&["https://api.example/v1", "https://mcp.example/"]);
        for (asked, canonical) in [
            ("https://api.example/v1", Some("https://api.example/v1")),
            ("https://api.example/v1/", Some("https://api.example/v1")),
            ("https://mcp.example", Some("https://mcp.example/")),
            ("https://op.example/", Some("https://op.example")),
            ("https://api.example/v1//", None),
            ("https://api.example/V1", None),
            ("https://api.example/v1?x=1", None),
            ("https://api.example/v1#x", None),
            ("https://api.example/v1/sub", None),
            ("https://api.example/v1/../v1", None),
            ("https://user@api.example/v1", None),
            ("https://api.example.evil/v1", None),
            ("http://api.example/v1", None),
            ("", None),
            ("/", None),
        ] {
            assert_eq!(known.canonical(asked).as_deref(), canonical, "{asked}");
        }
    }

    #[test]
    fn a_wildcard_opens_what_is_below_and_nothing_beside() {
        let known = resources(&["https://api.example/v1/*"]);
        for (asked, good) in [
            ("https://api.example/v1/a", true),
            ("https://api.example/v1/a/b-c_d~e.f", true),
            ("https://api.example/v1/", true),
            ("https://api.example/v1", false),
            ("https://api.example/v10", false),
            ("https://api.example/v1/../admin", false),
            ("https://api.example/v1/%2e%2e/admin", false),
            ("https://api.example/v1/..%2fadmin", false),
            ("https://api.example/v1/a?x=1", false),
            ("https://api.example/v1/a#x", false),
            ("https://api.example/v1/a b", false),
            ("https://api.example/v1/\u{430}", false),
            ("https://api.example/v1/..;/admin", false),
        ] {
            assert_eq!(known.canonical(asked).is_some(), good, "{asked}");
        }
    }

    #[test]
    fn an_identifier_has_2048_bytes_at_most() {
        let known = resources(&["https://api.example/*"]);
        let asked = |length: usize| format!("https://api.example/{}", "a".repeat(length - 20));
        assert!(known.canonical(&asked(2048)).is_some());
        assert!(known.canonical(&asked(2049)).is_none());
    }

    #[test]
    fn a_pattern_that_could_mean_two_things_is_refused() {
        for (text, error) in [
            ("api.example", ResourcePatternError::NotAResource),
            ("https://api.example/#x", ResourcePatternError::NotAResource),
            ("urn:example:api", ResourcePatternError::NotAResource),
            ("http://api.example/", ResourcePatternError::NotHttps),
            ("ftp://api.example/", ResourcePatternError::NotHttps),
            ("https://API.example/", ResourcePatternError::NotNormal),
            ("https://api.example:443/", ResourcePatternError::NotNormal),
            ("https://user@api.example/", ResourcePatternError::NotNormal),
            ("https://api.example/a/../b", ResourcePatternError::NotNormal),
            ("https://*.example/", ResourcePatternError::StrayWildcard),
            ("https://api.example/*/x", ResourcePatternError::StrayWildcard),
            ("https://api.example/v*", ResourcePatternError::StrayWildcard),
            ("https://api.example/a?x=/*", ResourcePatternError::StrayWildcard),
        ] {
            assert_eq!(ResourcePattern::parse(text), Err(error), "{text}");
        }
        for text in [
            "https://api.example",
            "https://api.example/",
            "https://api.example/*",
            "https://api.example:8443/v1?tenant=1",
            "http://127.0.0.1:9100",
            "http://localhost/x",
        ] {
            assert!(ResourcePattern::parse(text).is_ok(), "{text}");
        }
    }
}
