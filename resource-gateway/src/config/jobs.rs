//! Calls that are run later.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::{Network, config::Problem};

const MIB: usize = 1024 * 1024;

/// Jobs of interfaces whose `jobs` are enabled.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JobsConfig {
    /// Jobs that this process runs at once; 0 leaves them to other nodes.
    pub workers: usize,
    /// Longest body of a request that is answered later: it is kept in the database until then.
    pub max_request_bytes: usize,
    /// Longest answer that is kept; a longer one fails its job.
    pub max_result_bytes: usize,
    /// Hosts that may be told: by callers of the end of their jobs, by budgets (`notify_url`) that they run out. Such as
    /// `hooks.example.com` or `*.example.com`. None: nobody is told.
    pub webhook_hosts: Vec<String>,
    /// Addresses or networks that such hosts may have beside those of the public internet, and that are told in plain http, too.
    pub webhook_networks: Vec<Network>,
}

impl Default for JobsConfig {
    fn default() -> Self {
        Self {
            workers: 8,
            max_request_bytes: 8 * MIB,
            max_result_bytes: 8 * MIB,
            webhook_hosts: Vec::new(),
            webhook_networks: Vec::new(),
        }
    }
}

impl JobsConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        if self.workers > 1000 {
            problems.push(Problem::new("jobs.workers", "must be from 0 to 1000"));
        }
        for (path, bytes) in [
            ("jobs.max_request_bytes", self.max_request_bytes),
            ("jobs.max_result_bytes", self.max_result_bytes),
        ] {
            if !(1024..=256 * MIB).contains(&bytes) {
                problems.push(Problem::new(path, "must be from 1024 to 268435456"));
            }
        }
        let is_host = |host: &String| {
            let name = host.strip_prefix("*.").unwrap_or(host);
            url::Host::parse(name).is_ok_and(|parsed| parsed.to_string() == name)
        };
        if !self.webhook_hosts.iter().all(is_host) {
            problems.push(Problem::new(
                "jobs.webhook_hosts",
                "must be host names in lower case or addresses, without ports; *. stands for any name below",
            ));
        }
    }
}
