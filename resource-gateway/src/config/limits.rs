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
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_body_bytes: 20 * 1024 * 1024,
        }
    }
}

impl LimitsConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        if self.max_body_bytes == 0 {
            problems.push(Problem::new("limits.max_body_bytes", "must be at least 1"));
        }
    }
}
