//! Answers that are kept to be given again.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::config::Problem;

/// Answers of interfaces that have `cache_ttl_s`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Bytes of answers that this node keeps at most. An answer that is longer than an eighth of it, or than 8 MiB, is not kept. With
    /// Redis the answers are there, each for its time, and 1 MiB at most.
    pub max_bytes: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            max_bytes: 64 * 1024 * 1024,
        }
    }
}

/// Answers to requests with an `Idempotency-Key`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct IdempotencyConfig {
    /// Bytes of answers that this node keeps at most; the oldest make room. An answer that is longer than an eighth of it, or
    /// than 8 MiB, is not kept: its request runs again when it is repeated. With Redis the answers are there, each for its time, and
    /// 1 MiB at most.
    pub max_bytes: u64,
    /// Seconds for which an answer is kept.
    pub ttl_s: u32,
}

impl Default for IdempotencyConfig {
    fn default() -> Self {
        Self {
            max_bytes: 32 * 1024 * 1024,
            ttl_s: 24 * 60 * 60,
        }
    }
}

impl CacheConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        at_least_a_mebibyte("cache.max_bytes", self.max_bytes, problems);
    }
}

impl IdempotencyConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        at_least_a_mebibyte("idempotency.max_bytes", self.max_bytes, problems);
        if self.ttl_s == 0 {
            problems.push(Problem::new("idempotency.ttl_s", "must be at least 1"));
        }
    }
}

fn at_least_a_mebibyte(path: &'static str, bytes: u64, problems: &mut Vec<Problem>) {
    if bytes < 1024 * 1024 {
        problems.push(Problem::new(path, "must be at least 1048576"));
    }
}
