//! What counts requests: this process, or Redis for all nodes.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use service_kit::Tasks;

use super::Ambient;
use crate::{
    adapters::{
        limits_local::LocalRates,
        limits_redis::{RedisOptions, RedisRates},
    },
    application::limits::{Limiter, Shared},
    config::Config,
};

/// What counts requests.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) limiter: Arc<Limiter>,
    local: Arc<LocalRates>,
    redis: Option<Arc<RedisRates>>,
}

impl Limits {
    pub(super) fn build(config: &Config, ambient: &Ambient) -> anyhow::Result<Self> {
        let local = Arc::new(LocalRates::new(ambient.clock.clone()));
        let options = config.redis.place().context("redis.url")?.map(|place| {
            let pem = config.outbound.extra_ca.as_ref().map(std::fs::read).transpose();
            pem.context("outbound.extra_ca").map(|extra_ca| RedisOptions {
                place,
                extra_ca,
                prefix: config.redis.prefix.clone(),
                patience: Duration::from_millis(config.redis.timeout_ms),
                lease: RedisOptions::LEASE,
            })
        });
        let options = options.transpose()?;
        let redis = options.map(|options| Arc::new(RedisRates::new(options, ambient.entropy.as_ref())));
        let shared = redis.clone().map(|store| Shared {
            store,
            local_share: config.limits.local_share,
        });
        Ok(Self {
            limiter: Arc::new(Limiter::new(local.clone(), shared)),
            local,
            redis,
        })
    }

    /// The ends of requests are told until `records` stops, which comes after the last reply.
    pub(super) fn start(&self, tasks: &Tasks, records: &Tasks) {
        let (local, stop) = (self.local.clone(), tasks.stop_token());
        tasks.spawn(async move { local.keep_tidy(stop).await });
        if let Some(redis) = self.redis.clone() {
            let stop = records.stop_token();
            records.spawn(async move { redis.run(stop).await });
        }
    }
}
