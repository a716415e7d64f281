//! Where rows, counters and cluster state live.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::config::Problem;

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
            url: "sqlite://data/auth.db".into(),
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
}

/// Redis. A key of the contract that this version does not serve yet: setting it is an error, so that nobody believes it works.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// Not available in this version: sessions, counters and revocations live in the database.
    pub url: Option<String>,
}

impl RedisConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        if self.url.as_ref().is_some_and(|url| !url.is_empty()) {
            problems.push(Problem::new(
                "redis.url",
                "Redis is not available in this version; leave it unset",
            ));
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
