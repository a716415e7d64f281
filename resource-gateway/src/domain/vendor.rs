//! A vendor: one account with one strategy, its credentials and the addresses that answer for it.

use std::{collections::BTreeMap, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{
    balance::HashKey,
    breaker::BreakerPolicy,
    fault::VendorWords,
    ids::{StrategyName, VendorName},
};

/// Whether a row takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Switch {
    On,
    Off,
}

impl Switch {
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

impl From<bool> for Switch {
    fn from(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

/// A vendor account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vendor {
    pub name: VendorName,
    pub strategy: StrategyName,
    pub enabled: Switch,
    /// Where calls go when the pool lists no addresses; `None` leaves it to the strategy's default. Addresses without a path of
    /// their own take this one's path.
    pub base_url: Option<BaseUrl>,
    pub credential: Credential,
    /// What else its strategy wants to know: a region, a version. Which ones is in its
    /// [`StrategyFacts`](super::snapshot::StrategyFacts).
    pub options: BTreeMap<String, String>,
    pub pool: Pool,
}

impl Vendor {
    /// An account of which nothing is known but its name and its strategy.
    pub fn named(name: &str, strategy: &str) -> Self {
        Self {
            name: VendorName::new(name),
            strategy: StrategyName::new(strategy),
            enabled: Switch::On,
            base_url: None,
            credential: Credential::default(),
            options: BTreeMap::new(),
            pool: Pool::default(),
        }
    }

    /// Every address with its weight: the pool's, else the base URL alone; empty when the strategy's default applies.
    pub fn endpoints(&self) -> Vec<Address> {
        if self.pool.addresses.is_empty() {
            let single = self.base_url.clone().map(|url| Address { url, weight: 1 });
            return single.into_iter().collect();
        }
        let path = self.base_url.as_ref().map_or("", |base| base.as_url().path());
        let resolve = |address: &Address| Address {
            url: address.url.with_default_path(path),
            weight: address.weight,
        };
        self.pool.addresses.iter().map(resolve).collect()
    }
}

/// What signs the calls to a vendor. Which parts a strategy wants is in its [`StrategyFacts`](super::snapshot::StrategyFacts).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Credential {
    pub app_id: Option<String>,
    pub secret_id: Option<String>,
    pub secret_key: SecretKey,
}

impl Credential {
    /// Takes the key out of what a vendor says, also in its parts: a temporary key has a session token behind a blank.
    pub fn hide_in(&self, words: &mut VendorWords) {
        let Some(key) = self.secret_key.present() else { return };
        let key = key.expose_secret();
        words.hide(key);
        for part in key.split_whitespace().filter(|part| part.len() < key.len()) {
            words.hide(part);
        }
    }
}

/// The secret part of a credential. Its text never shows in `Debug`.
#[derive(Debug, Clone, Default)]
pub enum SecretKey {
    #[default]
    Absent,
    Present(SecretString),
    /// Stored, but sealed by another master key or changed. A snapshot that holds one is not published.
    Unreadable,
}

impl SecretKey {
    pub fn present(&self) -> Option<&SecretString> {
        match self {
            Self::Present(secret) => Some(secret),
            Self::Absent | Self::Unreadable => None,
        }
    }
}

/// Tells whether applying a document changes anything; both sides are the operator's, so timing gives nothing away.
impl PartialEq for SecretKey {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Absent, Self::Absent) => true,
            (Self::Present(a), Self::Present(b)) => a.expose_secret() == b.expose_secret(),
            _ => false,
        }
    }
}

impl Eq for SecretKey {}

/// The addresses that answer for a vendor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pool {
    /// `None`: the default of this version.
    pub strategy: Option<PoolStrategy>,
    /// What `consistent_hash` tells calls apart by; `None`: the user.
    pub hash_key: Option<HashKey>,
    pub addresses: Vec<Address>,
    pub discovery: Discovery,
    /// An address that is new or back gets its full share only after this time; zero: at once.
    pub slow_start: Duration,
    pub breaker: BreakerPolicy,
    /// `None`: only calls tell whether an address works.
    pub health: Option<Box<HealthCheck>>,
}

impl Pool {
    /// Every address is looked at for every call.
    pub const MOST_ADDRESSES: usize = 256;
}

/// Where the addresses behind the URLs come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Discovery {
    /// Each URL is one address; its host is looked up whenever a connection is made.
    #[default]
    Static,
    /// Each record of a URL's host is an address of its own, looked up every few seconds.
    Dns,
}

impl Discovery {
    pub const ALL: [Self; 2] = [Self::Static, Self::Dns];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Dns => "dns",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|discovery| discovery.as_str() == text)
    }
}

/// How addresses are asked whether they work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// From the root of the host, whatever the base URL's path: many servers answer beside their API.
    pub path: Box<str>,
    pub interval: Duration,
    pub timeout: Duration,
    /// The status that means well.
    pub expect_status: u16,
}

/// One address of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    pub url: BaseUrl,
    /// Share of the calls, relative to the other addresses; 0 drains the address.
    pub weight: u32,
}

/// How an address is picked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PoolStrategy {
    RoundRobin,
    WeightedRoundRobin,
    Random,
    LeastInflight,
    #[default]
    P2cEwma,
    ConsistentHash,
}

impl PoolStrategy {
    pub const ALL: [Self; 6] = [
        Self::RoundRobin,
        Self::WeightedRoundRobin,
        Self::Random,
        Self::LeastInflight,
        Self::P2cEwma,
        Self::ConsistentHash,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::WeightedRoundRobin => "weighted_round_robin",
            Self::Random => "random",
            Self::LeastInflight => "least_inflight",
            Self::P2cEwma => "p2c_ewma",
            Self::ConsistentHash => "consistent_hash",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.as_str() == text)
    }
}

/// The root of a vendor's API: `http` or `https`, a host, perhaps a path; no trailing slash, no user, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl(Url);

/// The text is not the root of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBaseUrl {
    #[error("is not an absolute URL")]
    Malformed,
    #[error("must begin with http:// or https://")]
    Scheme,
    // The text is not repeated: what stands before the @ may be a password.
    #[error("must not hold a user name or password; credentials belong into secret_key")]
    Credentials,
    #[error("must not have a query or fragment")]
    Query,
}

impl BaseUrl {
    /// Reads and checks a URL.
    ///
    /// # Errors
    /// [`InvalidBaseUrl`].
    pub fn parse(text: &str) -> Result<Self, InvalidBaseUrl> {
        let mut url = Url::parse(text).map_err(|_| InvalidBaseUrl::Malformed)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidBaseUrl::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidBaseUrl::Credentials);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidBaseUrl::Query);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }

    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// Without a trailing slash, so that `{base}/chat/completions` is right.
    pub fn as_str(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    fn with_default_path(&self, path: &str) -> Self {
        let mut url = self.0.clone();
        if matches!(url.path(), "" | "/") {
            url.set_path(path);
        }
        Self(url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vendor(base_url: Option<&str>, addresses: &[&str]) -> Vendor {
        Vendor {
            name: VendorName::new("v"),
            strategy: StrategyName::new("openai"),
            enabled: Switch::On,
            base_url: base_url.map(|url| BaseUrl::parse(url).unwrap()),
            credential: Credential::default(),
            options: BTreeMap::new(),
            pool: Pool {
                addresses: addresses
                    .iter()
                    .map(|url| Address {
                        url: BaseUrl::parse(url).unwrap(),
                        weight: 1,
                    })
                    .collect(),
                ..Pool::default()
            },
        }
    }

    #[test]
    fn the_pool_goes_before_the_base_url_and_borrows_its_path() {
        let urls = |v: Vendor| -> Vec<String> { v.endpoints().iter().map(|a| a.url.as_str().to_owned()).collect() };
        assert!(urls(vendor(None, &[])).is_empty());
        assert_eq!(urls(vendor(Some("https://a.test/v1/"), &[])), ["https://a.test/v1"]);
        assert_eq!(
            urls(vendor(
                Some("https://a.test/v1"),
                &["http://10.0.0.1:8000", "http://10.0.0.2/own"]
            )),
            ["http://10.0.0.1:8000/v1", "http://10.0.0.2/own"]
        );
    }

    #[test]
    fn a_base_url_is_the_root_of_an_api() {
        for (text, wanted) in [
            ("https://api.test", None),
            ("http://[::1]:8000/v1", None),
            ("api.test/v1", Some(InvalidBaseUrl::Malformed)),
            ("file:///etc/passwd", Some(InvalidBaseUrl::Scheme)),
            ("https://me:secret@api.test", Some(InvalidBaseUrl::Credentials)),
            ("https://api.test/?key=1", Some(InvalidBaseUrl::Query)),
            ("https://api.test/#x", Some(InvalidBaseUrl::Query)),
        ] {
            assert_eq!(BaseUrl::parse(text).err(), wanted, "{text}");
        }
    }

    #[test]
    fn a_secret_does_not_show() {
        let secret = SecretKey::Present(SecretString::from("sk-very-secret".to_owned()));
        assert!(!format!("{secret:?}").contains("very"));
    }
}
