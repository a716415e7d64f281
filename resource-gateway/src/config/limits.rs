//! Limits that hold for every caller.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::config::Problem;

/// Limits for requests.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// A request's body may have this many bytes; a longer one is answered with 413.
    pub max_body_bytes: usize,
    /// The part of each limit that this node grants on its own while Redis is away, above 0 and at most 1. With 1 callers may get
    /// the whole limit from every node; one divided by the number of nodes keeps the sum.
    pub local_share: f64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 20 * 1024 * 1024,
            local_share: 1.0,
        }
    }
}

impl LimitsConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        if self.max_body_bytes == 0 {
            problems.push(Problem::new("limits.max_body_bytes", "must be at least 1"));
        }
        if !(self.local_share > 0.0 && self.local_share <= 1.0) {
            problems.push(Problem::new("limits.local_share", "must be above 0 and at most 1"));
        }
    }
}
