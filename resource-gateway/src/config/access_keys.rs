//! Requests that are signed by access keys.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::config::Problem;

/// Requests that are signed by access keys.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessKeysConfig {
    /// Access keys that are kept in memory at most. Others are read from the database when they are used.
    pub cache_entries: u64,
    /// Nonces that are remembered at most, some 40 bytes each: as many signed requests get through in five minutes, or in the time that
    /// callers sign them for. More are refused with 503, one key's own flood (half of them) with 429. With Redis all nodes remember
    /// together, and only what one key may have is limited.
    pub nonce_entries: usize,
}

impl Default for AccessKeysConfig {
    fn default() -> Self {
        Self {
            cache_entries: 10_000,
            nonce_entries: 400_000,
        }
    }
}

impl AccessKeysConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        if self.nonce_entries < 1000 {
            problems.push(Problem::new("access_keys.nonce_entries", "must be at least 1000"));
        }
        if self.cache_entries == 0 {
            problems.push(Problem::new("access_keys.cache_entries", "must be at least 1"));
        }
    }
}
