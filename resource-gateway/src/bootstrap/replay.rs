//! What gives answers again: from this process's memory, or from Redis for all nodes.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use service_kit::Tasks;

use super::{Foundation, shared::SharedMemory};
use crate::{
    adapters::{
        local_answers::LocalAnswers,
        local_replies::LocalReplies,
        redis::{Channel, LEASE, RedisAnswers, RedisReplies, ReplyTimes},
    },
    application::replay::{Repeats, Replay, ResponseCache},
    config::Config,
    domain::recorded::Recorded,
};

/// Redis does one thing at a time: nobody's answer is to hold up everybody.
const LARGEST_SHARED: usize = 1024 * 1024;

/// What gives answers again, and what it needs beside the requests.
#[derive(Debug)]
pub(super) struct Answers {
    pub(super) replay: Replay,
    shared: Option<SharedAnswers>,
}

#[derive(Debug)]
struct SharedAnswers {
    channel: Arc<Channel>,
    replies: Arc<RedisReplies>,
    answers: Arc<RedisAnswers>,
}

impl Answers {
    pub(super) fn build(config: &Config, foundation: &Foundation, memory: Option<&SharedMemory>) -> Self {
        let ttl = Duration::from_secs(u64::from(config.idempotency.ttl_s));
        let largest = Recorded::largest_in(config.idempotency.max_bytes);
        let Some(memory) = memory else {
            return Self {
                replay: Replay {
                    cache: Arc::new(ResponseCache::new(Arc::new(LocalAnswers::new(
                        config.cache.max_bytes,
                        Arc::clone(&foundation.ambient.clock),
                    )))),
                    repeats: Repeats {
                        largest,
                        replies: Arc::new(LocalReplies::new(config.idempotency.max_bytes, ttl)),
                    },
                },
                shared: None,
            };
        };
        let (channel, master) = (&memory.answers, &foundation.master);
        let times = ReplyTimes { ttl, lease: LEASE };
        let entropy = foundation.ambient.entropy.as_ref();
        let replies = Arc::new(RedisReplies::new(channel.clone(), master.clone(), times, entropy));
        let longest = Recorded::largest_in(config.cache.max_bytes).min(LARGEST_SHARED);
        let answers = Arc::new(RedisAnswers::new(channel.clone(), master.clone(), longest));
        Self {
            replay: Replay {
                cache: Arc::new(ResponseCache::new(answers.clone())),
                repeats: Repeats {
                    largest: largest.min(LARGEST_SHARED),
                    replies: replies.clone(),
                },
            },
            shared: Some(SharedAnswers {
                channel: channel.clone(),
                replies,
                answers,
            }),
        }
    }

    /// Answers are taken to Redis until `records` stops, which comes after the last reply.
    pub(super) fn start(&self, records: &Tasks) {
        let Some(shared) = &self.shared else { return };
        let (replies, stop) = (shared.replies.clone(), records.stop_token());
        records.spawn(async move { replies.run(stop).await });
        let (answers, stop) = (shared.answers.clone(), records.stop_token());
        records.spawn(async move { answers.run(stop).await });
    }

    /// For `/status`.
    pub(super) fn status(&self) -> Value {
        let Some(shared) = &self.shared else {
            return json!({"kept": "alone", "error": null});
        };
        let error = shared.channel.trouble();
        let kept = if error.is_none() { "together" } else { "lost" };
        json!({"kept": kept, "error": error})
    }
}
