//! Guessing limits.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::config::Problem;

use crate::{application::policy::LoginPolicy, domain::throttle::ThrottlePolicy};

/// Limits of password attempts per account, counted over the sign-in page and the password grant together.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoginConfig {
    /// Attempts that an account allows in a window; a success forgets them.
    pub max_attempts: u32,
    /// Length of the window in seconds.
    pub window_s: u64,
    /// User names that are never throttled, for conformance suites and load tests.
    pub throttle_exempt: Vec<String>,
}

impl Default for LoginConfig {
    fn default() -> Self {
        Self {
            max_attempts: 10,
            window_s: 900,
            throttle_exempt: Vec::new(),
        }
    }
}

impl LoginConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        if self.max_attempts == 0 {
            problems.push(Problem::new("login.max_attempts", "must be at least 1"));
        }
        if self.window_s == 0 {
            problems.push(Problem::new("login.window_s", "must be at least 1 second"));
        }
    }

    /// The same as the use cases need it.
    pub fn policy(&self) -> LoginPolicy {
        LoginPolicy {
            throttle: ThrottlePolicy {
                limit: self.max_attempts,
                window: Duration::from_secs(self.window_s),
            },
            throttle_exempt: self
                .throttle_exempt
                .iter()
                .map(|name| name.trim().to_lowercase())
                .collect(),
        }
    }
}
