//! The response cache of all nodes, in Redis.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use token_keys::MasterKey;

use super::{
    Spread,
    channel::Channel,
    errands::{Errand, Errands},
    hex,
    recorded::Sealed,
    script::{Arguments, StoredScript},
};
use crate::{
    domain::recorded::Recorded,
    ports::replies::{AnswerKey, Answers, Kept},
};
use tokio_util::sync::CancellationToken;

/// Answers by question, each for its time. What does not answer in time has none.
#[derive(Debug)]
pub struct RedisAnswers {
    channel: Arc<Channel>,
    find: StoredScript,
    keep: Arc<StoredScript>,
    errands: Errands,
    sealed: Sealed,
    parts: Spread,
    largest: usize,
}

impl RedisAnswers {
    /// Longer answers than `largest` bytes are not kept.
    pub fn new(channel: Arc<Channel>, master: Arc<MasterKey>, largest: usize) -> Self {
        Self {
            find: StoredScript::new(include_str!("find.lua")),
            keep: Arc::new(StoredScript::new(include_str!("keep.lua"))),
            errands: Errands::new(Arc::clone(&channel)),
            sealed: Sealed::new(master),
            parts: Spread::new("cache"),
            largest,
            channel,
        }
    }

    /// Takes answers to Redis until `stop`, and then the last ones.
    pub async fn run(&self, stop: CancellationToken) {
        self.errands.run(&stop).await;
    }

    fn place(&self, key: &AnswerKey) -> (Arc<str>, String) {
        let part = self.parts.of(key.first().copied().unwrap_or(0), self.channel.home());
        let place = format!("{}:cache:{}", self.channel.head(&part), hex(key));
        (part, place)
    }
}

#[async_trait]
impl Answers for RedisAnswers {
    async fn find(&self, key: &AnswerKey) -> Option<Kept> {
        let (part, place) = self.place(key);
        let arguments = Arguments {
            keys: vec![place.clone()],
            ..Arguments::default()
        };
        let answer = self.channel.ask_soon(&part, &self.find, &arguments).await;
        let (age, sealed): (i64, Option<Vec<u8>>) = answer.ok()?;
        // What does not open was sealed by another installation's key, or forged.
        let answer = self.sealed.open(&place, &sealed?)?;
        Some(Kept {
            answer: Arc::new(answer),
            age: Duration::from_secs(u64::try_from(age).ok()?),
        })
    }

    fn keep(&self, key: AnswerKey, answer: Arc<Recorded>, ttl: Duration) {
        let (part, place) = self.place(&key);
        // Not worth the sealing when nobody would take it.
        if self.channel.why_lost(&part).is_some() {
            return;
        }
        let Some(sealed) = self.sealed.seal(&place, &answer) else {
            return;
        };
        let mut arguments = Arguments {
            keys: vec![place],
            ..Arguments::default()
        };
        arguments.push_bytes(sealed);
        arguments.push(ttl.as_millis());
        let script = Arc::clone(&self.keep);
        self.errands.send(Errand {
            part,
            script,
            arguments,
        });
    }

    fn largest(&self) -> usize {
        self.largest
    }
}
