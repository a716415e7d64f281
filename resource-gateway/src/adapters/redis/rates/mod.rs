//! Counts requests, tokens and slots of all nodes together, in Redis.

mod keys;

use std::sync::Arc;

use async_trait::async_trait;
use service_kit::Entropy;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

use super::{
    channel::Channel,
    errands::{Errand, Errands},
    leases::{Held, Leases},
    script::{Arguments, StoredScript},
};
use crate::ports::rate_store::{
    Bucket, Change, End, Mode, RateStatus, RateStore, RatesUnavailable, Taken, Verdict, Wanted,
};

/// The store of all nodes.
#[derive(Debug)]
pub struct RedisRates {
    channel: Arc<Channel>,
    acquire: StoredScript,
    settle: Arc<StoredScript>,
    renew: StoredScript,
    leases: Leases,
    errands: Errands,
}

impl RedisRates {
    /// Slots of a node that died come free after `lease`.
    pub fn new(channel: Arc<Channel>, lease: Duration, entropy: &dyn Entropy) -> Self {
        Self {
            acquire: StoredScript::new(include_str!("acquire.lua")),
            settle: Arc::new(StoredScript::new(include_str!("settle.lua"))),
            renew: StoredScript::new(include_str!("renew.lua")),
            leases: Leases::new(entropy.id(), lease),
            errands: Errands::new(Arc::clone(&channel)),
            channel,
        }
    }

    /// Tells the ends of requests and renews their leases until `stop`, and then tells the last ends.
    pub async fn run(&self, stop: CancellationToken) {
        let leases = self
            .leases
            .keep(&self.channel, &self.renew, |lease, held| self.free(lease, held));
        tokio::join!(self.errands.run(&stop), stop.run_until_cancelled(leases));
    }

    /// Has slots freed that nobody holds any more.
    fn free(&self, lease: u64, held: Held) {
        let mut arguments = Arguments::default();
        arguments.push(self.leases.name(lease));
        for _ in &held.keys {
            // Slots: neither limit nor period, and no units.
            for value in [0, 0, 0] {
                arguments.push(value);
            }
        }
        arguments.keys = held.keys;
        self.errands.send(Errand {
            part: held.part,
            script: Arc::clone(&self.settle),
            arguments,
        });
    }

    fn key(&self, part: &str, bucket: &Bucket) -> String {
        keys::name(self.channel.head(part), &bucket.key)
    }

    /// The arguments of the script that takes.
    fn taking(&self, wanted: &Wanted, lease: u64) -> Arguments {
        let mut arguments = Arguments::default();
        arguments.push(self.leases.name(lease));
        arguments.push(self.leases.length().as_millis());
        for bucket in &wanted.buckets {
            arguments.keys.push(self.key(&wanted.part, bucket));
            let (limit, period) = terms(bucket);
            arguments.push(limit);
            arguments.push(period);
            arguments.push(bucket.cost);
            arguments.push(u8::from(bucket.mode == Mode::Enforced));
        }
        arguments
    }
}

/// A bucket's limit and period as scripts know them.
fn terms(bucket: &Bucket) -> (u64, u64) {
    match bucket.rate() {
        Some(rate) => (rate.limit, rate.period.0),
        None => (u64::from(bucket.limit), 0),
    }
}

/// Sees to it that a slot comes free that may have been taken for somebody who did not wait for it.
struct Unclaimed<'a> {
    store: &'a RedisRates,
    wanted: &'a Wanted,
    lease: u64,
    claimed: bool,
}

impl Drop for Unclaimed<'_> {
    fn drop(&mut self) {
        let slots = self.wanted.buckets.iter().filter(|bucket| bucket.rate().is_none());
        let changes: Vec<_> = slots.map(|bucket| (bucket, Change::Free)).collect();
        if self.claimed || changes.is_empty() {
            return;
        }
        let errand = self.store.errand(&self.wanted.part, self.lease, changes);
        self.store.errands.send(errand);
    }
}

impl RedisRates {
    fn errand<'b>(
        &self,
        part: &Arc<str>,
        lease: u64,
        changes: impl IntoIterator<Item = (&'b Bucket, Change)>,
    ) -> Errand {
        let mut arguments = Arguments::default();
        arguments.push(self.leases.name(lease));
        for (bucket, change) in changes {
            arguments.keys.push(self.key(part, bucket));
            let (limit, period) = terms(bucket);
            arguments.push(limit);
            arguments.push(period);
            let units = match change {
                Change::Free => 0,
                Change::Units(units) => units,
            };
            arguments.push(units);
            arguments.once |= units < 0;
        }
        Errand {
            part: Arc::clone(part),
            script: Arc::clone(&self.settle),
            arguments,
        }
    }
}

#[async_trait]
impl RateStore for RedisRates {
    async fn acquire(&self, wanted: &Wanted) -> Result<Verdict, RatesUnavailable> {
        if let Some(reason) = self.channel.why_lost(&wanted.part) {
            return Err(RatesUnavailable(reason));
        }
        let lease = self.leases.next();
        let arguments = self.taking(wanted, lease);
        let mut unclaimed = Unclaimed {
            store: self,
            wanted,
            lease,
            claimed: false,
        };
        let answer = self
            .channel
            .ask_soon::<Vec<i64>>(&wanted.part, &self.acquire, &arguments)
            .await;
        let verdict = answer.and_then(|answer| {
            let verdict = verdict(wanted, lease, &answer);
            verdict.ok_or_else(|| "its answer makes no sense".to_owned())
        });
        let verdict = verdict.map_err(RatesUnavailable)?;
        unclaimed.claimed = true;
        if verdict.granted {
            let slots = wanted.buckets.iter().zip(&arguments.keys).enumerate();
            let held = slots.filter(|(place, (bucket, _))| bucket.rate().is_none() && verdict.took(*place));
            let keys: Vec<String> = held.map(|(_, (_, key))| key.clone()).collect();
            if !keys.is_empty() {
                self.leases.hold(lease, &wanted.part, keys);
            }
        }
        Ok(verdict)
    }

    fn settle(&self, taken: Taken, end: End) {
        let lease = taken.verdict.lease;
        self.leases.release(lease);
        let mut changes = taken.changes(end).peekable();
        if changes.peek().is_some() {
            let errand = self.errand(&taken.wanted.part, lease, changes);
            self.errands.send(errand);
        }
    }

    fn status(&self) -> RateStatus {
        RateStatus {
            error: self.channel.trouble(),
            buckets: None,
            lost_settlements: self.errands.lost(),
        }
    }
}

/// What the script answered.
fn verdict(wanted: &Wanted, lease: u64, answer: &[i64]) -> Option<Verdict> {
    let (granted, levels) = answer.split_first()?;
    let (pairs, []) = levels.as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != wanted.buckets.len() {
        return None;
    }
    let standing = |(bucket, [over, level]): (&Bucket, &[i64; 2])| {
        let level = u64::try_from(*level).unwrap_or_default();
        bucket.standing(*over == 1, level)
    };
    Some(Verdict {
        granted: *granted == 1,
        standings: wanted.buckets.iter().zip(pairs).map(standing).collect(),
        lease,
    })
}
