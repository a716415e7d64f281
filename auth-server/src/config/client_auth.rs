//! How clients prove who they are.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::{Network, config::Problem};

use crate::{
    application::policy::{Certificates, ClientAuthPolicy},
    domain::{ids::ClientId, throttle::ThrottlePolicy},
};

/// Client authentication.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClientAuthConfig {
    /// Wrong secrets of one client from one address (or one /64 of IPv6) in a window. The next are refused until the window ends, right ones
    /// included; the client is not locked out at other addresses.
    pub max_failures: u32,
    /// Length of the window in seconds.
    pub window_s: u64,
    /// Clients, by id, whose wrong secrets are not counted, for conformance suites and load tests.
    pub exempt_clients: Vec<String>,
    /// Addresses and networks from which wrong secrets are not counted.
    pub exempt_networks: Vec<Network>,
    /// Seconds that `exp` of a client assertion may lie ahead. Its `jti` is remembered for as long.
    pub max_assertion_lifetime_s: u64,
}

impl Default for ClientAuthConfig {
    fn default() -> Self {
        Self {
            max_failures: 100,
            window_s: 300,
            exempt_clients: Vec::new(),
            exempt_networks: Vec::new(),
            // Some libraries sign for an hour and cannot be told otherwise.
            max_assertion_lifetime_s: 3600,
        }
    }
}

impl ClientAuthConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        let mut between = |name: &str, value: u64, low: u64, high: u64| {
            if !(low..=high).contains(&value) {
                problems.push(Problem::new(
                    format!("client_auth.{name}"),
                    format!("must be {low} to {high}"),
                ));
            }
        };
        between("max_failures", self.max_failures.into(), 1, 1_000_000);
        between("window_s", self.window_s, 1, 86_400);
        between("max_assertion_lifetime_s", self.max_assertion_lifetime_s, 60, 86_400);
    }

    /// The same as the use cases need it.
    pub fn policy(&self, certificates: Certificates) -> ClientAuthPolicy {
        ClientAuthPolicy {
            throttle: ThrottlePolicy {
                limit: self.max_failures,
                window: Duration::from_secs(self.window_s),
            },
            exempt_clients: self.exempt_clients.iter().map(ClientId::new).collect(),
            exempt_networks: self.exempt_networks.clone(),
            max_assertion_lifetime: Duration::from_secs(self.max_assertion_lifetime_s),
            certificates,
        }
    }
}
