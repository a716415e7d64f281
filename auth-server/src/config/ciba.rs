//! Sign-ins that an application starts where the person is not.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::config::Problem;

use crate::{
    application::policy::CibaPolicy,
    domain::{ciba::OpenLimits, throttle::ThrottlePolicy},
};

/// Backchannel authentication (OpenID Connect CIBA).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CibaConfig {
    /// Seconds that a person has to decide when the application asks for no other time, 30 to `max_request_ttl_s`.
    pub request_ttl_s: u64,
    /// Longest time that an application may ask for by `requested_expiry`, in seconds, 30 to 3600.
    pub max_request_ttl_s: u64,
    /// Seconds that an application waits between two polls, 1 to 60.
    pub interval_s: u64,
    /// Requests of one application that may wait for one person at once, 1 to 20.
    pub max_open: u32,
    /// Requests of all applications together that may wait for one person at once, 1 to 100.
    pub max_open_in_all: u32,
    /// Requests that one application may make in a window.
    pub max_requests: u32,
    /// Requests that one application may make to one person in a window, whatever becomes of them.
    pub max_requests_per_person: u32,
    /// Hints of one application that may lead to nobody in a window: by them it could find out who has an account.
    pub max_unknown: u32,
    /// Length of the window in seconds.
    pub window_s: u64,
}

impl Default for CibaConfig {
    fn default() -> Self {
        Self {
            request_ttl_s: 300,
            max_request_ttl_s: 900,
            interval_s: 5,
            max_open: 2,
            max_open_in_all: 10,
            max_requests: 600,
            max_requests_per_person: 10,
            max_unknown: 50,
            window_s: 600,
        }
    }
}

impl CibaConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        let mut between = |name: &str, value: u64, low: u64, high: u64| {
            if !(low..=high).contains(&value) {
                problems.push(Problem::new(format!("ciba.{name}"), format!("must be {low} to {high}")));
            }
        };
        between("max_request_ttl_s", self.max_request_ttl_s, 30, 3600);
        between("request_ttl_s", self.request_ttl_s, 30, self.max_request_ttl_s.max(30));
        between("interval_s", self.interval_s, 1, 60);
        between("max_open", self.max_open.into(), 1, 20);
        between("max_open_in_all", self.max_open_in_all.into(), 1, 100);
        between("max_requests", self.max_requests.into(), 1, u32::MAX.into());
        between(
            "max_requests_per_person",
            self.max_requests_per_person.into(),
            1,
            u32::MAX.into(),
        );
        between("max_unknown", self.max_unknown.into(), 1, u32::MAX.into());
        between("window_s", self.window_s, 1, 86_400);
    }

    /// The same as the use cases need it.
    pub fn policy(&self) -> CibaPolicy {
        let in_window = |limit| ThrottlePolicy {
            limit,
            window: Duration::from_secs(self.window_s),
        };
        let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        CibaPolicy {
            lifetime: Duration::from_secs(self.request_ttl_s),
            max_lifetime: Duration::from_secs(self.max_request_ttl_s),
            interval: Duration::from_secs(self.interval_s),
            open: OpenLimits {
                per_client: count(self.max_open),
                in_all: count(self.max_open_in_all),
            },
            requests: in_window(self.max_requests),
            per_person: in_window(self.max_requests_per_person),
            unknown: in_window(self.max_unknown),
        }
    }
}
