//! Requests that the provider makes itself.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use service_kit::config::Problem;

use crate::domain::reach::{AllowedHost, HostSyntax};

/// Limits for requests that the provider itself makes at hosts that clients name: for their keys, request objects and descriptions,
/// and to tell them of logouts. Only https at public addresses is asked, and redirects are not followed. Proxies named by the
/// environment are not used.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OutboundConfig {
    /// PEM file with certificate authorities to trust beside the system's.
    pub extra_ca: Option<PathBuf>,
    /// Hosts that may be reached although their address is private, and by plain http, too: names or IP addresses, each with or without
    /// `:port`. No wildcards.
    pub allow_hosts: Vec<String>,
    /// Milliseconds that a client's document may take, from the name's resolution to the last byte.
    pub fetch_timeout_ms: u64,
    /// Milliseconds that the delivery of a logout token or notification may take.
    pub delivery_timeout_ms: u64,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        Self {
            extra_ca: None,
            allow_hosts: Vec::new(),
            fetch_timeout_ms: 2500,
            delivery_timeout_ms: 5000,
        }
    }
}

impl OutboundConfig {
    pub(super) fn problems(&self, problems: &mut Vec<Problem>) {
        for host in &self.allow_hosts {
            if let Err(wrong) = host.parse::<AllowedHost>() {
                problems.push(Problem::new("outbound.allow_hosts", format!("{host:?} {wrong}")));
            }
        }
        for (name, value) in [
            ("fetch_timeout_ms", self.fetch_timeout_ms),
            ("delivery_timeout_ms", self.delivery_timeout_ms),
        ] {
            if !(100..=30_000).contains(&value) {
                problems.push(Problem::new(
                    format!("outbound.{name}"),
                    "must be 100 to 30000 milliseconds",
                ));
            }
        }
    }

    /// The hosts, read.
    ///
    /// # Errors
    /// When one of them cannot be.
    pub fn allowed(&self) -> Result<Vec<AllowedHost>, HostSyntax> {
        self.allow_hosts.iter().map(|host| host.parse()).collect()
    }

    pub fn fetch_deadline(&self) -> Duration {
        Duration::from_millis(self.fetch_timeout_ms)
    }

    pub fn delivery_deadline(&self) -> Duration {
        Duration::from_millis(self.delivery_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_setting_is_named() {
        let config = OutboundConfig {
            allow_hosts: ["good.internal:8443", "*.internal", "https://x"]
                .map(str::to_owned)
                .into(),
            fetch_timeout_ms: 99,
            delivery_timeout_ms: 30_001,
            ..OutboundConfig::default()
        };
        let mut problems = Vec::new();
        config.problems(&mut problems);
        let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(told.len(), 4, "{told:#?}");
        assert!(
            told[0].starts_with("outbound.allow_hosts: \"*.internal\" must be"),
            "{told:#?}"
        );
        assert!(told[2].starts_with("outbound.fetch_timeout_ms: "), "{told:#?}");
        assert!(told[3].starts_with("outbound.delivery_timeout_ms: "), "{told:#?}");
    }
}
