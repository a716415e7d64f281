//! What counts requests: this process, or Redis for all nodes.

use std::sync::Arc;

use service_kit::Tasks;

use super::{Ambient, shared::SharedMemory};
use crate::{
    adapters::{
        limits_local::LocalRates,
        redis::{LEASE, RedisRates},
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
    pub(super) fn build(config: &Config, ambient: &Ambient, memory: Option<&SharedMemory>) -> Self {
        let local = Arc::new(LocalRates::new(ambient.clock.clone()));
        let rates = |memory: &SharedMemory| {
            let channel = Arc::clone(&memory.limits);
            Arc::new(RedisRates::new(channel, LEASE, ambient.entropy.as_ref()))
        };
        let redis = memory.map(rates);
        let shared = redis.clone().map(|store| Shared {
            store,
            local_share: config.limits.local_share,
        });
        Self {
            limiter: Arc::new(Limiter::new(local.clone(), shared)),
            local,
            redis,
        }
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
