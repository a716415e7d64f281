//! Devices that cannot show a sign-in page themselves.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::config::Problem;

use crate::{application::policy::DevicePolicy, domain::throttle::ThrottlePolicy};

/// The device grant (RFC 8628).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DeviceConfig {
    /// Seconds that a person has to bring the code to a browser and decide, 60 to 1800.
    pub code_ttl_s: u64,
    /// Seconds that a device waits between two polls, 1 to 60.
    pub interval_s: u64,
    /// Wrong user codes that one person, and one network address, may type in a window (RFC 8628 §5.1).
    pub max_attempts: u32,
    /// Devices without credentials of their own that one network address may connect in a window.
    pub max_requests: u32,
    /// Length of the window in seconds.
    pub window_s: u64,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self {
            code_ttl_s: 600,
            interval_s: 5,
            max_attempts: 10,
            max_requests: 200,
            window_s: 600,
        }
    }
}

impl DeviceConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        let mut between = |name: &str, value: u64, low: u64, high: u64| {
            if !(low..=high).contains(&value) {
                problems.push(Problem::new(
                    format!("device.{name}"),
                    format!("must be {low} to {high}"),
                ));
            }
        };
        between("code_ttl_s", self.code_ttl_s, 60, 1800);
        between("interval_s", self.interval_s, 1, 60);
        between("max_attempts", self.max_attempts.into(), 1, 1000);
        between("max_requests", self.max_requests.into(), 1, u32::MAX.into());
        between("window_s", self.window_s, 1, 86_400);
    }

    /// The same as the use cases need it.
    pub fn policy(&self) -> DevicePolicy {
        let in_window = |limit| ThrottlePolicy {
            limit,
            window: Duration::from_secs(self.window_s),
        };
        DevicePolicy {
            lifetime: Duration::from_secs(self.code_ttl_s),
            interval: Duration::from_secs(self.interval_s),
            attempts: in_window(self.max_attempts),
            requests: in_window(self.max_requests),
        }
    }
}
