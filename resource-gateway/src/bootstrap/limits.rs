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
        let options = redis_options(config)?;
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

fn redis_options(config: &Config) -> anyhow::Result<Option<RedisOptions>> {
    let Some(place) = config.redis.place().context("redis.url")? else {
        return Ok(None);
    };
    let pem = config.outbound.extra_ca.as_ref().map(std::fs::read).transpose();
    Ok(Some(RedisOptions {
        place,
        extra_ca: pem.context("outbound.extra_ca")?,
        prefix: config.redis.prefix.clone(),
        patience: Duration::from_millis(config.redis.timeout_ms),
        lease: RedisOptions::LEASE,
    }))
}

/// For `doctor`: nothing when there is no Redis.
///
/// # Errors
/// Limits cannot be counted there.
pub(crate) async fn check_redis(config: &Config, ambient: &Ambient) -> anyhow::Result<Option<String>> {
    let Some(options) = redis_options(config)? else {
        return Ok(None);
    };
    let place = options.place.to_string();
    let redis = RedisRates::new(options, ambient.entropy.as_ref());
    redis.check().await.with_context(|| place.clone())?;
    Ok(Some(format!("{place} counts limits")))
}
