//! What gives answers again.

use std::{sync::Arc, time::Duration};

use crate::{
    adapters::local_replies::LocalReplies,
    application::replay::{Repeats, Replay, ResponseCache},
    config::Config,
};

pub(super) fn replay(config: &Config) -> Replay {
    let ttl = Duration::from_secs(u64::from(config.idempotency.ttl_s));
    let cache = Arc::new(ResponseCache::new(config.cache.max_bytes));
    let replies = LocalReplies::new(config.idempotency.max_bytes, ttl);
    let repeats = Repeats {
        largest: ResponseCache::largest_of(config.idempotency.max_bytes),
        replies: Arc::new(replies),
    };
    Replay { cache, repeats }
}
