//! What operators see of addresses.

use std::time::Duration;

use service_kit::Timestamp;

use super::BoundPool;
use crate::domain::ids::ModelName;

/// A vendor's pool, for `/status`.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PoolStatus {
    pub vendor: Box<str>,
    pub strategy: &'static str,
    pub endpoints: Vec<EndpointStatus>,
}

/// One address.
#[derive(Debug, Clone, serde::Serialize)]
pub struct EndpointStatus {
    pub url: Box<str>,
    /// The record of the URL's host that it stands for, when each is an address of its own.
    pub address: Option<String>,
    pub weight: u32,
    /// `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// When it may be asked again, if it is left alone now.
    pub cooldown_until: Option<String>,
    /// Models whose rate limit is reached at this address.
    pub limited: Vec<ModelLimit>,
    pub inflight: u32,
    /// None before the first answer.
    pub ewma_ms: Option<f64>,
    /// `up` or `down` by health checks; `unchecked` without them.
    pub health: &'static str,
}

/// A model that is left alone.
#[derive(Debug, Clone, serde::Serialize)]
pub struct ModelLimit {
    pub model: ModelName,
    pub until: String,
}

impl BoundPool {
    pub fn status(&self, wall: Timestamp) -> PoolStatus {
        let now = self.common.now();
        let members = self.members.load();
        let endpoints = members.iter().map(|member| {
            let endpoint = &member.endpoint;
            let (breaker, cooldown) = endpoint.state();
            let wait = match endpoint.rest(now) {
                // Down or probing: nobody knows until when.
                unknown if unknown > Duration::from_secs(86_400) => cooldown.saturating_sub(now),
                wait => wait,
            };
            EndpointStatus {
                url: endpoint.url.clone(),
                address: endpoint.address.map(|address| address.to_string()),
                weight: member.weight,
                breaker: breaker.as_str(),
                cooldown_until: (!wait.is_zero()).then(|| (wall + wait).to_rfc3339()),
                limited: endpoint
                    .limits(now)
                    .into_iter()
                    .map(|(model, left)| ModelLimit {
                        model,
                        until: (wall + left).to_rfc3339(),
                    })
                    .collect(),
                inflight: endpoint.inflight(),
                ewma_ms: endpoint.latency(now).map(|micros| (micros / 10.0).round() / 100.0),
                health: match (self.health(), endpoint.is_up()) {
                    (None, _) => "unchecked",
                    (Some(_), true) => "up",
                    (Some(_), false) => "down",
                },
            }
        });
        PoolStatus {
            vendor: self.vendor.clone(),
            strategy: self.strategy.as_str(),
            endpoints: endpoints.collect(),
        }
    }
}
