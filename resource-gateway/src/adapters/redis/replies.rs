//! Finished answers by idempotency key for all nodes, in Redis.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use service_kit::Entropy;
use token_keys::MasterKey;
use tokio_util::sync::CancellationToken;

use super::{
    Spread,
    channel::Channel,
    errands::{Errand, Errands},
    hex,
    leases::Leases,
    recorded::Sealed,
    script::{Arguments, StoredScript},
};
use crate::{
    domain::recorded::Recorded,
    ports::replies::{Beginning, Fingerprint, Replies, ReplyPlace},
};

const SHARDS: usize = 16;

/// Keys of requests that are under way are leases: of a node that died they come free, and the request may be sent again.
pub struct RedisReplies {
    channel: Arc<Channel>,
    begin: StoredScript,
    finish: Arc<StoredScript>,
    abandon: Arc<StoredScript>,
    prolong: StoredScript,
    leases: Leases,
    errands: Errands,
    sealed: Sealed,
    parts: Spread,
    ttl: Duration,
    /// The leases of this node's own requests.
    mine: [Mutex<HashMap<ReplyPlace, u64>>; SHARDS],
}

impl fmt::Debug for RedisReplies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisReplies")
            .field("channel", &self.channel)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

/// For how long what is kept.
#[derive(Debug, Clone, Copy)]
pub struct ReplyTimes {
    /// An answer.
    pub ttl: Duration,
    /// The key of a request under way whose node has died.
    pub lease: Duration,
}

impl RedisReplies {
    pub fn new(channel: Arc<Channel>, master: Arc<MasterKey>, times: ReplyTimes, entropy: &dyn Entropy) -> Self {
        let script = |text| Arc::new(StoredScript::new(text));
        Self {
            begin: StoredScript::new(include_str!("begin.lua")),
            finish: script(include_str!("finish.lua")),
            abandon: script(include_str!("abandon.lua")),
            prolong: StoredScript::new(include_str!("prolong.lua")),
            leases: Leases::new(entropy.id(), times.lease),
            errands: Errands::new(Arc::clone(&channel)),
            sealed: Sealed::new(master),
            parts: Spread::new("replies"),
            ttl: times.ttl,
            mine: Default::default(),
            channel,
        }
    }

    /// Takes answers to Redis and renews keys until `stop`, and then takes the last answers.
    pub async fn run(&self, stop: CancellationToken) {
        // A key that was given back has no asker to prolong it for.
        let leases = self.leases.keep(&self.channel, &self.prolong, |_, _| {});
        tokio::join!(self.errands.run(&stop), stop.run_until_cancelled(leases));
    }

    fn part(&self, place: &ReplyPlace) -> Arc<str> {
        self.parts.of(byte(place), self.channel.home())
    }

    fn key(&self, part: &str, place: &ReplyPlace) -> String {
        format!("{}:reply:{}", self.channel.head(part), hex(place))
    }

    fn mine(&self, place: &ReplyPlace) -> MutexGuard<'_, HashMap<ReplyPlace, u64>> {
        let [first, ..] = &self.mine;
        let shard = self.mine.get(usize::from(byte(place)) % SHARDS).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_back(&self, place: &ReplyPlace, lease: u64) {
        let part = self.part(place);
        let mut arguments = Arguments {
            keys: vec![self.key(&part, place)],
            ..Arguments::default()
        };
        arguments.push(self.leases.name(lease));
        self.errands.send(Errand {
            part,
            script: Arc::clone(&self.abandon),
            arguments,
        });
    }

    /// This node's request under the key is over.
    fn release(&self, place: &ReplyPlace) -> Option<u64> {
        let lease = self.mine(place).remove(place)?;
        self.leases.release(lease);
        Some(lease)
    }
}

/// Digests are even, so any byte of one will do.
fn byte(place: &ReplyPlace) -> u8 {
    place.first().copied().unwrap_or(0)
}

/// Sees to it that a key comes free that may have been taken for somebody who did not wait for it.
struct Unclaimed<'a> {
    replies: &'a RedisReplies,
    place: ReplyPlace,
    lease: u64,
    settled: bool,
}

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        if !self.settled {
            self.replies.give_back(&self.place, self.lease);
        }
    }
}

#[async_trait]
impl Replies for RedisReplies {
    async fn begin(&self, place: ReplyPlace, request: Fingerprint) -> Beginning {
        let part = self.part(&place);
        if self.channel.why_lost(&part).is_some() {
            return Beginning::Unknown;
        }
        let (key, lease) = (self.key(&part, &place), self.leases.next());
        let mut arguments = Arguments {
            keys: vec![key.clone()],
            ..Arguments::default()
        };
        arguments.push_bytes(request.to_vec());
        arguments.push(self.leases.name(lease));
        arguments.push(self.leases.length().as_millis());
        let mut unclaimed = Unclaimed {
            replies: self,
            place,
            lease,
            settled: false,
        };
        let answer = self.channel.ask_soon(&part, &self.begin, &arguments).await;
        let Ok((code, sealed)): Result<(i64, Option<Vec<u8>>), String> = answer else {
            return Beginning::Unknown;
        };
        unclaimed.settled = true;
        match (code, sealed) {
            (0, _) => {
                self.mine(&place).insert(place, lease);
                self.leases.hold(lease, &part, vec![key]);
                Beginning::Begun
            }
            (1, Some(sealed)) => {
                let answer = self.sealed.open(&key, &sealed);
                if answer.is_none() {
                    tracing::error!("an answer in Redis was not sealed by this installation's master key");
                }
                answer.map_or(Beginning::Unknown, |answer| Beginning::Finished(Arc::new(answer)))
            }
            (2, _) => Beginning::UnderWay,
            (3, _) => Beginning::Another,
            _ => Beginning::Unknown,
        }
    }

    fn finish(&self, place: ReplyPlace, request: Fingerprint, answer: Arc<Recorded>) {
        let Some(lease) = self.release(&place) else { return };
        let part = self.part(&place);
        let key = self.key(&part, &place);
        let Some(sealed) = self.sealed.seal(&key, &answer) else {
            return self.give_back(&place, lease);
        };
        let mut arguments = Arguments {
            keys: vec![key],
            ..Arguments::default()
        };
        arguments.push(self.leases.name(lease));
        arguments.push_bytes(request.to_vec());
        arguments.push_bytes(sealed);
        arguments.push(self.ttl.as_millis());
        self.errands.send(Errand {
            part,
            script: Arc::clone(&self.finish),
            arguments,
        });
    }

    fn abandon(&self, place: ReplyPlace) {
        if let Some(lease) = self.release(&place) {
            self.give_back(&place, lease);
        }
    }
}
