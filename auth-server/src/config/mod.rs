//! Configuration: one file per section. Every key has a working default.

mod assertion_issuers;
mod ciba;
mod client_auth;
mod device;
mod keys;
mod login;
mod mtls;
mod outbound;
mod registration;
mod storage;
mod tokens;

use std::{net::SocketAddr, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::{
    ClientCertificates, ConnectionsConfig, DpopConfig, PeerRules, ProxyConfig, TlsConfig,
    config::{Problem, Settings},
    telemetry::LogConfig,
};
use url::Url;

pub use assertion_issuers::{AssertionIssuerConfig, NamedBy};
pub use ciba::CibaConfig;
pub use client_auth::ClientAuthConfig;
pub use device::DeviceConfig;
pub use keys::KeysConfig;
pub use login::LoginConfig;
pub use mtls::MtlsConfig;
pub use outbound::OutboundConfig;
pub use registration::{Mode as RegistrationModeSetting, RegistrationConfig};
pub use storage::{DatabaseConfig, EtcdConfig, RedisConfig};
pub use tokens::TokensConfig;

use crate::{
    adapters::crypto::HasherConfig,
    application::{assertion_issuers::AssertionIssuer, policy::Certificates},
};

/// The provider's configuration.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The issuer identifier: scheme, host, optional port and path, no trailing slash. Clients compare it byte for byte.
    pub issuer: String,
    /// Address of the public listener. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Address of the management listener (`/healthz`, `/readyz`, `/metrics`, `/status`). Keep it off the internet.
    pub management_listen: SocketAddr,
    /// Lets the issuer be plain http on a host that is not loopback. For laboratories only: tokens and passwords travel in the open.
    pub dev_mode: bool,
    /// Makes every client push its authorization requests (RFC 9126) before it sends a browser. Otherwise each does as its own
    /// `require_pushed_authorization_requests` says.
    pub require_pushed_authorization_requests: bool,
    /// Seconds that requests in flight have to finish when the process is asked to stop.
    pub shutdown_grace_s: u64,
    pub database: DatabaseConfig,
    pub redis: RedisConfig,
    pub etcd: EtcdConfig,
    pub tls: TlsConfig,
    pub mtls: MtlsConfig,
    pub proxy: ProxyConfig,
    pub connections: ConnectionsConfig,
    pub keys: KeysConfig,
    pub outbound: OutboundConfig,
    pub tokens: TokensConfig,
    pub dpop: DpopConfig,
    pub login: LoginConfig,
    pub registration: RegistrationConfig,
    pub client_auth: ClientAuthConfig,
    pub device: DeviceConfig,
    /// Whose word about people is taken (RFC 7523 §2.1), each in a table of its own. An assertion of theirs gets a listed client a token for a
    /// person.
    pub assertion_issuers: Vec<AssertionIssuerConfig>,
    pub ciba: CibaConfig,
    pub password_hashing: HasherConfig,
    pub log: LogConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            issuer: "http://127.0.0.1:9000".into(),
            listen: SocketAddr::from(([127, 0, 0, 1], 9000)),
            management_listen: SocketAddr::from(([127, 0, 0, 1], 9001)),
            dev_mode: false,
            require_pushed_authorization_requests: false,
            shutdown_grace_s: 10,
            database: DatabaseConfig::default(),
            redis: RedisConfig::default(),
            etcd: EtcdConfig::default(),
            tls: TlsConfig::default(),
            mtls: MtlsConfig::default(),
            proxy: ProxyConfig::default(),
            connections: ConnectionsConfig::default(),
            keys: KeysConfig::default(),
            outbound: OutboundConfig::default(),
            tokens: TokensConfig::default(),
            dpop: DpopConfig::default(),
            login: LoginConfig::default(),
            registration: RegistrationConfig::default(),
            client_auth: ClientAuthConfig::default(),
            device: DeviceConfig::default(),
            assertion_issuers: Vec::new(),
            ciba: CibaConfig::default(),
            password_hashing: HasherConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Settings for Config {
    const ENV_PREFIX: &'static str = "AUTH";
    const LISTS: &'static [&'static str] = &[
        "keys.algorithms",
        "outbound.allow_hosts",
        "login.throttle_exempt",
        "client_auth.exempt_clients",
        "client_auth.exempt_networks",
        "mtls.trusted_proxies",
        "proxy.trusted",
        "registration.allowed_hosts",
        "registration.grant_types",
        "registration.scopes",
        "registration.default_scopes",
        "tokens.resources",
        "registration.cimd_hosts",
        "registration.cimd_scopes",
    ];

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.issuer_problems(&mut problems);
        self.database.problems(&mut problems);
        self.redis.problems(&mut problems);
        self.etcd.problems(&mut problems);
        self.keys.problems(self.tokens.max_access_token_ttl_s, &mut problems);
        self.tokens.problems(&mut problems);
        self.dpop.problems(&mut problems);
        self.login.problems(&mut problems);
        self.registration.problems(&mut problems);
        self.client_auth.problems(&mut problems);
        self.device.problems(&mut problems);
        assertion_issuers::problems(self, &mut problems);
        self.ciba.problems(&mut problems);
        self.outbound.problems(&mut problems);
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            problems.push(Problem::new("tls", "cert and key belong together"));
        }
        self.mtls.problems(self.tls.is_on(), &mut problems);
        self.connections.problems(&mut problems);
        problems
    }
}

impl Config {
    /// TLS of the main listener. It asks nobody for a certificate when there is a listener for that.
    pub fn main_tls(&self) -> TlsConfig {
        match self.mtls.listen {
            Some(_) => self.tls.asking(ClientCertificates::Off),
            None => self.tls.clone(),
        }
    }

    /// Whether clients can show certificates: to us, or to a proxy that hands them over.
    pub fn takes_certificates(&self) -> bool {
        let by_proxy = self.mtls.proxy_header.is_some() && !self.mtls.trusted_proxies.is_empty();
        self.tls.asks_for_certificates() || self.mtls.listen.is_some() || by_proxy
    }

    /// Which client certificates get here, and who vouches for them.
    pub fn certificates(&self) -> Certificates {
        match (self.takes_certificates(), self.mtls.ca.is_some()) {
            (false, _) => Certificates::None,
            (true, false) => Certificates::Registered,
            (true, true) => Certificates::Vouched,
        }
    }

    /// The issuers of assertions, with their keys made ready.
    ///
    /// # Errors
    /// When keys cannot be read, which has been reported as a problem by then.
    pub fn trusted_issuers(&self) -> anyhow::Result<Vec<AssertionIssuer>> {
        self.assertion_issuers.iter().map(AssertionIssuerConfig::read).collect()
    }

    /// What the public listeners believe about their peers.
    ///
    /// # Errors
    /// When `mtls.ca` cannot be used.
    pub fn peer_rules(&self) -> anyhow::Result<PeerRules> {
        Ok(PeerRules {
            proxy: self.proxy.clone(),
            certificate_header: self.mtls.header(),
            certificate_proxies: self.mtls.trusted_proxies.clone(),
            authorities: self.mtls.authorities()?.map(Arc::new),
        })
    }

    fn issuer_problems(&self, problems: &mut Vec<Problem>) {
        let mut wrong = |reason: &str| problems.push(Problem::new("issuer", reason));
        let Ok(url) = Url::parse(&self.issuer) else {
            return wrong("must be a URL");
        };
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return wrong("must be an http or https URL");
        }
        // OpenID Connect Discovery §3, RFC 8414 §2.
        if url.query().is_some() || url.fragment().is_some() {
            wrong("must have neither query nor fragment");
        }
        if self.issuer.ends_with('/') {
            wrong("must not end with a slash");
        }
        // Compared byte for byte by clients, so it must be written the one way that parsers print it.
        if url.as_str().trim_end_matches('/') != self.issuer.trim_end_matches('/') || !url.username().is_empty() {
            wrong("must be in normal form: lower-case host, no default port, no dot segments, no user name");
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~');
        if !url.path().chars().all(plain) {
            wrong("its path may hold A-Z a-z 0-9 - _ . ~ only");
        }
        if url.scheme() == "http" && !self.dev_mode && !is_loopback(&url) {
            wrong("must be https unless its host is loopback (or dev_mode is on)");
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_right() {
        assert_eq!(Config::default().problems(), Vec::new());
    }

    #[test]
    fn an_issuer_that_clients_would_trip_over_is_refused() {
        for (issuer, good) in [
            ("https://op.example", true),
            ("https://op.example/tenant", true),
            ("http://localhost:9000", true),
            ("http://op.example", false),
            ("https://op.example/", false),
            ("https://op.example?x=1", false),
            ("https://op.example#x", false),
            ("ftp://op.example", false),
            ("op.example", false),
            ("https://OP.example", false),
            ("https://op.example:443", false),
            ("https://user@op.example", false),
            ("https://op.example/a/../b", false),
            ("https://op.example/{x}", false),
        ] {
            let config = Config {
                issuer: issuer.into(),
                ..Config::default()
            };
            assert_eq!(config.problems().is_empty(), good, "{issuer}");
        }
    }
}
