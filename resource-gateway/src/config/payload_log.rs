//! What is kept of requests and answers.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::config::Problem;

const DAY: Duration = Duration::from_hours(24);

/// Requests and answers of interfaces whose `log.payload` is on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PayloadLogConfig {
    /// Bytes that are kept of a request, and of an answer.
    pub max_bytes: usize,
    /// Bytes that may wait to be written; what comes then is dropped and counted.
    pub queue_bytes: usize,
    /// Days after which rows are removed; 0 keeps them.
    pub retention_days: u32,
}

impl Default for PayloadLogConfig {
    fn default() -> Self {
        Self {
            max_bytes: 16 * 1024,
            queue_bytes: 32 * 1024 * 1024,
            retention_days: 7,
        }
    }
}

impl PayloadLogConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        if !(256..=1024 * 1024).contains(&self.max_bytes) {
            problems.push(Problem::new("payload_log.max_bytes", "must be from 256 to 1048576"));
        }
        if self.queue_bytes < self.max_bytes {
            problems.push(Problem::new(
                "payload_log.queue_bytes",
                "must be at least payload_log.max_bytes",
            ));
        }
    }

    /// How long rows are kept; `None` is for ever.
    pub fn retention(&self) -> Option<Duration> {
        (self.retention_days > 0).then(|| DAY * self.retention_days)
    }
}
