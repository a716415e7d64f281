//! Configuration: one file per section. Every key has a working default.

mod access_keys;
mod auth;
mod fetch;
mod jobs;
mod limits;
mod mtls;
mod payload_log;
mod replay;
mod storage;

use std::{net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::{
    ConnectionsConfig, DpopConfig, PeerRules, ProxyConfig, TlsConfig,
    config::{Problem, Settings},
    telemetry::LogConfig,
};
use url::Url;

pub use access_keys::AccessKeysConfig;
pub use auth::AuthConfig;
pub use fetch::FetchConfig;
pub use jobs::JobsConfig;
pub use limits::LimitsConfig;
pub use mtls::MtlsConfig;
pub use payload_log::PayloadLogConfig;
pub use replay::{CacheConfig, IdempotencyConfig};
pub use storage::{DatabaseConfig, EtcdConfig, KeysConfig, RedisConfig, UsageConfig};

/// The gateway's configuration.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address of the public listener. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Address of the management listener (`/healthz`, `/readyz`, `/metrics`, `/status`). Keep it off the internet.
    pub management_listen: SocketAddr,
    /// The URL under which callers reach the gateway, when it is not `auth.audience`. It stands in challenges and in the metadata
    /// document (RFC 9728).
    pub public_url: Option<String>,
    /// Seconds that requests in flight have to finish when the process is asked to stop.
    pub shutdown_grace_s: u64,
    pub auth: AuthConfig,
    pub admin: AdminConfig,
    pub dpop: DpopConfig,
    pub database: DatabaseConfig,
    pub redis: RedisConfig,
    pub etcd: EtcdConfig,
    pub tls: TlsConfig,
    pub mtls: MtlsConfig,
    pub proxy: ProxyConfig,
    pub connections: ConnectionsConfig,
    pub keys: KeysConfig,
    pub limits: LimitsConfig,
    pub access_keys: AccessKeysConfig,
    pub cache: CacheConfig,
    pub idempotency: IdempotencyConfig,
    pub usage: UsageConfig,
    pub payload_log: PayloadLogConfig,
    pub jobs: JobsConfig,
    pub fetch: FetchConfig,
    pub outbound: OutboundConfig,
    pub log: LogConfig,
}

/// The admin API.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// The tenant whose people administer the installation: vendors, interfaces, prices, and the rows of every tenant. People of
    /// other tenants reach their own tenant's rows.
    pub operator_tenant: String,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            operator_tenant: "default".to_owned(),
        }
    }
}

/// Calls that the gateway makes: to vendors and to the provider. Proxies named by the environment are not used.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutboundConfig {
    /// PEM file with certificate authorities to trust beside the system's.
    pub extra_ca: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 9100)),
            management_listen: SocketAddr::from(([127, 0, 0, 1], 9101)),
            public_url: None,
            shutdown_grace_s: 10,
            auth: AuthConfig::default(),
            admin: AdminConfig::default(),
            dpop: DpopConfig::default(),
            database: DatabaseConfig::default(),
            redis: RedisConfig::default(),
            etcd: EtcdConfig::default(),
            tls: TlsConfig::default(),
            mtls: MtlsConfig::default(),
            proxy: ProxyConfig::default(),
            connections: ConnectionsConfig::default(),
            keys: KeysConfig::default(),
            limits: LimitsConfig::default(),
            access_keys: AccessKeysConfig::default(),
            cache: CacheConfig::default(),
            idempotency: IdempotencyConfig::default(),
            usage: UsageConfig::default(),
            payload_log: PayloadLogConfig::default(),
            jobs: JobsConfig::default(),
            fetch: FetchConfig::default(),
            outbound: OutboundConfig::default(),
            log: LogConfig::default(),
        }
    }
}

impl Settings for Config {
    const ENV_PREFIX: &'static str = "GATEWAY";
    const LISTS: &'static [&'static str] = &[
        "etcd.endpoints",
        "fetch.allow_networks",
        "jobs.webhook_hosts",
        "jobs.webhook_networks",
        "mtls.trusted_proxies",
        "proxy.trusted",
    ];

    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        self.auth.problems(&mut problems);
        self.dpop.problems(&mut problems);
        self.database.problems(&mut problems);
        self.redis.problems(&self.outbound, &mut problems);
        self.etcd.problems(&mut problems);
        self.limits.problems(&mut problems);
        self.access_keys.problems(&mut problems);
        self.cache.problems(&mut problems);
        self.idempotency.problems(&mut problems);
        self.usage.problems(&mut problems);
        self.payload_log.problems(&mut problems);
        self.jobs.problems(&mut problems);
        self.fetch.problems(&mut problems);
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            problems.push(Problem::new("tls", "cert and key belong together"));
        }
        self.mtls.problems(&mut problems);
        self.connections.problems(&mut problems);
        match &self.public_url {
            Some(url) if resource_url(url).is_none() => {
                problems.push(Problem::new(
                    "public_url",
                    "must be an http or https URL without query and fragment",
                ));
            }
            None if resource_url(&self.auth.audience).is_none() => {
                problems.push(Problem::new(
                    "public_url",
                    "is needed, since auth.audience is not an http or https URL",
                ));
            }
            Some(_) | None => {}
        }
        problems
    }
}

impl Config {
    /// Whether callers can show certificates: to us, or to a proxy that hands them over.
    pub fn takes_certificates(&self) -> bool {
        let by_proxy = self.mtls.proxy_header.is_some() && !self.mtls.trusted_proxies.is_empty();
        self.tls.asks_for_certificates() || by_proxy
    }

    /// What the public listener believes about its peers. Certificates are compared with tokens, so nobody vouches for them here.
    pub fn peer_rules(&self) -> PeerRules {
        PeerRules {
            proxy: self.proxy.clone(),
            certificate_header: self.mtls.header(),
            certificate_proxies: self.mtls.trusted_proxies.clone(),
            authorities: None,
        }
    }

    /// What callers know the gateway by (RFC 9728 §1.2: the resource identifier).
    pub fn resource(&self) -> &str {
        self.public_url.as_deref().unwrap_or(&self.auth.audience)
    }

    /// What stands before the path in the gateway's own URLs.
    pub fn base_url(&self) -> &str {
        self.resource().trim_end_matches('/')
    }
}

/// RFC 9728 §1.2: a URL without fragment; a query would only be in the way.
fn resource_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = url.query().is_none() && url.fragment().is_none() && url.has_host();
    (plain && matches!(url.scheme(), "http" | "https")).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_right() {
        assert_eq!(Config::default().problems(), Vec::new());
    }

    #[test]
    fn a_cluster_over_tls_is_not_believed_to_trust_what_it_does_not() {
        let named = |url: &str, extra_ca: Option<&str>| {
            let mut config = Config::default();
            config.redis.url = Some(url.into());
            config.outbound.extra_ca = extra_ca.map(PathBuf::from);
            config
                .problems()
                .into_iter()
                .map(|problem| problem.path)
                .collect::<Vec<_>>()
        };
        assert_eq!(named("rediss+cluster://a:7000", Some("ca.pem")), ["redis.url"]);
        for (url, extra_ca) in [
            ("rediss+cluster://a:7000", None),
            ("redis+cluster://a:7000", Some("ca.pem")),
            ("rediss://a", Some("ca.pem")),
            ("rediss+sentinel://a/m", Some("ca.pem")),
        ] {
            assert!(named(url, extra_ca).is_empty(), "{url}");
        }
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let mut config = Config::default();
        config.auth.issuer = "op.example/".into();
        config.auth.audience = "urn:gateway".into();
        config.database.url = "oracle://x".into();
        config.redis.url = Some("redis:127.0.0.1".into());
        config.redis.timeout_ms = 0;
        config.limits.local_share = 0.0;
        config.etcd.endpoints = vec!["http://127.0.0.1:2379".into()];
        config.fetch.max_bytes = 0;
        config.fetch.max_held_bytes = 128 * 1024 * 1024 - 1;
        config.fetch.timeout_s = 601;
        config.limits.max_body_bytes = 0;
        config.access_keys.cache_entries = 0;
        config.cache.max_bytes = 1;
        config.idempotency.max_bytes = 1;
        config.idempotency.ttl_s = 0;
        config.access_keys.nonce_entries = 10;
        config.jobs.workers = 10_000;
        config.jobs.webhook_hosts = vec!["hooks.example/path".into()];
        config.tls.cert = Some("cert.pem".into());
        config.mtls.proxy_header = Some("client cert".into());
        config.connections.per_address = 0;
        let named: Vec<_> = config.problems().into_iter().map(|problem| problem.path).collect();
        for path in [
            "auth.issuer",
            "database.url",
            "redis.url",
            "redis.timeout_ms",
            "limits.local_share",
            "etcd.endpoints",
            "fetch.max_bytes",
            "fetch.max_held_bytes",
            "fetch.timeout_s",
            "limits.max_body_bytes",
            "access_keys.cache_entries",
            "cache.max_bytes",
            "idempotency.max_bytes",
            "idempotency.ttl_s",
            "access_keys.nonce_entries",
            "jobs.workers",
            "jobs.webhook_hosts",
            "tls",
            "mtls.proxy_header",
            "connections.per_address",
            "public_url",
        ] {
            assert!(named.contains(&path.to_owned()), "{path} in {named:?}");
        }
    }
}
