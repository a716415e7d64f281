//! Used nonces of all nodes, in Redis.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use super::{
    Spread,
    channel::Channel,
    script::{Arguments, StoredScript},
};
use crate::{
    domain::{ids::AccessKeyId, signature::LONGEST_VALIDITY},
    ports::access_keys::{NonceMemory, SignedNonce, Spent},
};

/// Clocks of gateways and Redis may differ by so many seconds. A nonce is remembered for as much longer, and beyond it nothing is
/// accepted: no node's clock, however wrong, makes room for a replay.
const CLOCKS: i64 = 60;
/// How often it is made sure that Redis says since when it remembers.
const BEAT: Duration = Duration::from_secs(1);

/// Remembers nonces exactly. A Redis that comes up empty says so: what was signed before is refused, since it may have been spent there.
pub struct RedisNonces {
    channel: Arc<Channel>,
    spend: StoredScript,
    remember: StoredScript,
    parts: Spread,
    /// Nonces that one key may have.
    share: usize,
    clocks_differ: AtomicBool,
}

impl fmt::Debug for RedisNonces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisNonces")
            .field("channel", &self.channel)
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}

impl RedisNonces {
    /// One key may have `share` nonces remembered, so that nobody fills the server's memory alone.
    pub fn new(channel: Arc<Channel>, share: usize) -> Self {
        Self {
            channel,
            spend: StoredScript::new(include_str!("spend.lua")),
            remember: StoredScript::new(include_str!("remember.lua")),
            parts: Spread::new("nonces"),
            share,
            clocks_differ: AtomicBool::new(false),
        }
    }

    /// Sees to it, until it is dropped, that an empty Redis knows since when it is asked. Otherwise the first who come would be told that
    /// they signed too early.
    pub async fn run(&self) {
        loop {
            let parts = match self.channel.is_cluster() {
                true => self.parts.all(),
                false => std::slice::from_ref(self.channel.home()),
            };
            stream::iter(parts)
                .for_each_concurrent(8, |part| async move {
                    let arguments = Arguments {
                        keys: vec![self.since(part)],
                        ..Arguments::default()
                    };
                    // What does not answer is looked for by others, and requests ask for themselves.
                    let _ = self.channel.ask_soon::<i64>(part, &self.remember, &arguments).await;
                })
                .await;
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Why signed requests are refused, if they are. For `/status`.
    pub fn trouble(&self) -> Option<String> {
        let differ = self.clocks_differ.load(Ordering::Relaxed);
        let clocks = || format!("its clock and this node's differ by more than {CLOCKS} seconds");
        self.channel.trouble().or_else(|| differ.then(clocks))
    }

    fn since(&self, part: &str) -> String {
        format!("{}:nonces-since", self.channel.head(part))
    }

    fn part(&self, key: &str) -> Arc<str> {
        match self.channel.is_cluster() {
            true => {
                let [byte, ..]: [u8; 32] = Sha256::digest(key).into();
                self.parts.of(byte, self.channel.home())
            }
            false => Arc::clone(self.channel.home()),
        }
    }

    fn note_clocks(&self, differ: bool) {
        if self.clocks_differ.load(Ordering::Relaxed) == differ {
            return;
        }
        self.clocks_differ.store(differ, Ordering::Relaxed);
        if differ {
            tracing::error!(
                seconds = CLOCKS,
                "the clocks of this node and of Redis differ too much, signed requests are refused"
            );
        }
    }
}

#[async_trait]
impl NonceMemory for RedisNonces {
    async fn spend(&self, key: &AccessKeyId, nonce: SignedNonce<'_>, _now: i64) -> Spent {
        let part = self.part(key.as_str());
        let mut arguments = Arguments {
            keys: vec![
                // Ids of keys are ours, and plain.
                format!("{}:nonces:{key}", self.channel.head(&part)),
                self.since(&part),
            ],
            ..Arguments::default()
        };
        arguments.push(nonce.text);
        arguments.push(nonce.signed_at);
        arguments.push(nonce.until);
        arguments.push(self.share);
        arguments.push(CLOCKS);
        arguments.push(LONGEST_VALIDITY);
        // Asked twice, the second question would find the nonce spent by the first: better nobody knows, and the caller signs anew.
        arguments.once = true;
        let answer = self.channel.ask_soon::<i64>(&part, &self.spend, &arguments).await;
        self.note_clocks(answer == Ok(4));
        match answer {
            Ok(0) => Spent::Fresh,
            Ok(1) => Spent::Replayed,
            Ok(2) => Spent::TooMany,
            Ok(_) | Err(_) => Spent::Unknown,
        }
    }
}
