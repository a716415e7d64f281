//! Where rows, keys and the usage journal live.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::config::Problem;

use super::OutboundConfig;
use crate::domain::redis_place::{InvalidRedisUrl, RedisPlace};

/// The database.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `sqlite://path` (created when missing) or `postgres://user:password@host/name`.
    pub url: String,
    /// Connections kept at most.
    pub max_connections: u32,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: "sqlite://data/gateway.db".into(),
            max_connections: 10,
        }
    }
}

impl DatabaseConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        let known = ["sqlite:", "postgres:", "postgresql:"]
            .iter()
            .any(|scheme| self.url.starts_with(scheme));
        if !known {
            problems.push(Problem::new("database.url", "must begin with sqlite: or postgres:"));
        }
        if self.max_connections == 0 {
            problems.push(Problem::new("database.max_connections", "must be at least 1"));
        }
    }

    /// Beside an SQLite file, so that two installations on one machine do not share a journal.
    fn journal_dir(&self) -> PathBuf {
        let file = self
            .url
            .strip_prefix("sqlite:")
            .map(|rest| rest.strip_prefix("//").unwrap_or(rest));
        let file = file.map(|file| file.split('?').next().unwrap_or_default());
        match file {
            Some(file) if !file.is_empty() && file != ":memory:" => PathBuf::from(format!("{file}.usage")),
            Some(_) | None => PathBuf::from("data/usage"),
        }
    }
}

/// The journal that holds usage records until the database has them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UsageConfig {
    /// Directory of the journal, on a local disk. By default the SQLite file's name with `.usage` behind it, or `data/usage` for
    /// other databases.
    pub journal_dir: Option<PathBuf>,
    /// Bytes that the database may owe before new calls are refused. A record has about 450 bytes.
    pub journal_cap_bytes: u64,
    /// Days that usage rows are kept; 0 keeps them for ever. What budgets have spent stays known.
    pub retention_days: u32,
}

impl Default for UsageConfig {
    fn default() -> Self {
        Self {
            journal_dir: None,
            journal_cap_bytes: 256 * 1024 * 1024,
            retention_days: 0,
        }
    }
}

impl UsageConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        if self.journal_cap_bytes < 1024 * 1024 {
            problems.push(Problem::new("usage.journal_cap_bytes", "must be at least 1048576"));
        }
    }

    /// How long usage rows are kept; `None`: for ever.
    pub fn retention(&self) -> Option<Duration> {
        (self.retention_days > 0).then(|| Duration::from_secs(u64::from(self.retention_days) * 24 * 60 * 60))
    }

    /// Where the journal goes.
    pub fn journal_dir(&self, database: &DatabaseConfig) -> PathBuf {
        self.journal_dir.clone().unwrap_or_else(|| database.journal_dir())
    }
}

/// Where the master key is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeysConfig {
    /// Directory of `master.key`, which is created on the first start. All nodes and both services share it.
    pub dir: PathBuf,
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self { dir: "keys".into() }
    }
}

/// Redis, in which all nodes keep together what limits have counted, nonces of signed requests, and answers that are given again.
/// Without it each node has its own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// `redis://[user:password@]host[:port][/database]`, `redis+sentinel://host:port,…/master[/database]` or
    /// `redis+cluster://host:port,…`; `rediss…` for TLS, which trusts `outbound.extra_ca`, too. A cluster trusts the system's
    /// authorities alone, so the two are refused together: give the system the authority (`SSL_CERT_FILE`) in place of
    /// `outbound.extra_ca`.
    pub url: Option<String>,
    /// What the keys begin with, so that several installations can share a Redis.
    pub prefix: String,
    /// Milliseconds that a request waits for Redis. Then limits are decided by the node on its own (`limits.local_share`), signed
    /// requests and those with an `Idempotency-Key` are refused, and answers are not looked for in the cache.
    pub timeout_ms: u64,
}

impl Default for RedisConfig {
    fn default() -> Self {
        Self {
            url: None,
            prefix: "hexgate".into(),
            timeout_ms: 100,
        }
    }
}

impl RedisConfig {
    /// Where Redis is, if there is one.
    ///
    /// # Errors
    /// The URL cannot be read.
    pub fn place(&self) -> Result<Option<RedisPlace>, InvalidRedisUrl> {
        let url = self.url.as_deref().filter(|url| !url.is_empty());
        url.map(RedisPlace::parse).transpose()
    }

    pub(super) fn problems(&self, outbound: &OutboundConfig, problems: &mut Vec<Problem>) {
        match self.place() {
            Err(error) => problems.push(Problem::new("redis.url", error.to_string())),
            Ok(Some(place)) if place.is_encrypted_cluster() && outbound.extra_ca.is_some() => {
                let reason = "a cluster over TLS trusts the system's authorities alone and would not obey outbound.extra_ca: add the \
                              authority to the system's, or name both in SSL_CERT_FILE, and leave outbound.extra_ca unset";
                problems.push(Problem::new("redis.url", reason));
            }
            Ok(_) => {}
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':');
        if self.prefix.is_empty() || self.prefix.len() > 64 || !self.prefix.chars().all(plain) {
            problems.push(Problem::new("redis.prefix", "must be 1 to 64 of A-Z a-z 0-9 - _ . :"));
        }
        if !(1..=10_000).contains(&self.timeout_ms) {
            problems.push(Problem::new("redis.timeout_ms", "must be from 1 to 10000"));
        }
    }
}

/// etcd. A key of the contract that this version does not serve yet: setting it is an error, so that nobody believes it works.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EtcdConfig {
    /// Not available in this version: nodes find changes through the database.
    pub endpoints: Vec<String>,
}

impl EtcdConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        if !self.endpoints.is_empty() {
            problems.push(Problem::new(
                "etcd.endpoints",
                "etcd is not available in this version; leave it unset",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_lies_beside_the_database() {
        for (url, dir) in [
            ("sqlite://data/gateway.db", "data/gateway.db.usage"),
            ("sqlite:///var/lib/gateway.db?mode=rwc", "/var/lib/gateway.db.usage"),
            ("sqlite::memory:", "data/usage"),
            ("postgres://localhost/gateway", "data/usage"),
        ] {
            let database = DatabaseConfig {
                url: url.into(),
                ..DatabaseConfig::default()
            };
            assert_eq!(
                UsageConfig::default().journal_dir(&database),
                PathBuf::from(dir),
                "{url}"
            );
        }
    }
}
