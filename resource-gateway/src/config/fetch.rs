//! What callers and vendors name by a URL, and the gateway fetches.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::{Network, config::Problem};

const MIB: u64 = 1024 * 1024;

/// URLs that are fetched: pictures of callers for vendors that take their bytes alone, and results of vendors' jobs. Redirects are
/// followed three times, each by the same rules. No credential goes along.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FetchConfig {
    /// Whether anything is fetched. Without it, pictures behind URLs are refused where the vendor does not fetch them itself, and so
    /// are capabilities whose results lie behind URLs.
    pub enabled: bool,
    /// Addresses or networks that URLs may lead to beside those of the public internet.
    pub allow_networks: Vec<Network>,
    /// Longest content that is taken.
    pub max_bytes: u64,
    /// Bytes that all calls together hold of what was fetched for them. Whoever finds no room waits for it, and is told with 503 to
    /// come back if none gets free.
    pub max_held_bytes: u64,
    /// Seconds that one URL may take, redirects included.
    pub timeout_s: u64,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            allow_networks: Vec::new(),
            max_bytes: 32 * MIB,
            max_held_bytes: 512 * MIB,
            timeout_s: 30,
        }
    }
}

impl FetchConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        if !(1..=128 * MIB).contains(&self.max_bytes) {
            problems.push(Problem::new("fetch.max_bytes", "must be from 1 to 134217728"));
        }
        // The longest answer has to find room when nothing else is there.
        if self.max_held_bytes < 128 * MIB {
            problems.push(Problem::new("fetch.max_held_bytes", "must be at least 134217728"));
        }
        if !(1..=600).contains(&self.timeout_s) {
            problems.push(Problem::new("fetch.timeout_s", "must be from 1 to 600"));
        }
    }
}
