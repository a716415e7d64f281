//! Counts requests, tokens and slots of all nodes together, in Redis.

mod background;
mod keys;
mod leases;
mod link;
mod lost;
mod script;

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use redis::{RedisError, RedisResult};
use service_kit::Entropy;
use tokio::sync::mpsc;

use self::{
    background::Errand,
    keys::Names,
    leases::Leases,
    link::Link,
    lost::Lost,
    script::{Arguments, StoredScript},
};
use crate::{
    domain::redis_place::RedisPlace,
    ports::rate_store::{Bucket, Change, End, Mode, RateStatus, RateStore, RatesUnavailable, Taken, Verdict, Wanted},
};

/// Ends of requests that wait to be told; beyond that they are not told, and slots come free when their leases end.
const ERRANDS: usize = 16 * 1024;

/// How Redis is used.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    pub place: RedisPlace,
    /// Certificate authorities to trust beside the system's, as PEM.
    pub extra_ca: Option<Vec<u8>>,
    /// What the keys begin with, so that several installations can share a Redis.
    pub prefix: String,
    /// A request waits this long at most.
    pub patience: Duration,
    /// Slots of a node that died come free after this.
    pub lease: Duration,
}

impl RedisOptions {
    pub const PATIENCE: Duration = Duration::from_millis(100);
    pub const LEASE: Duration = Duration::from_secs(30);
}

/// The store of all nodes.
pub struct RedisRates {
    link: Link,
    names: Names,
    acquire: StoredScript,
    settle: StoredScript,
    renew: StoredScript,
    leases: Leases,
    lost: Lost,
    patience: Duration,
    errands: mpsc::Sender<Errand>,
    /// Taken by whoever runs them.
    inbox: Mutex<Option<mpsc::Receiver<Errand>>>,
    lost_settlements: AtomicU64,
}

impl fmt::Debug for RedisRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisRates")
            .field("link", &self.link)
            .finish_non_exhaustive()
    }
}

impl RedisRates {
    /// Connects when it is first needed, or when [`RedisRates::run`] begins.
    pub fn new(options: RedisOptions, entropy: &dyn Entropy) -> Self {
        let link = Link::new(options.place, options.extra_ca, options.patience);
        let names = Names::new(options.prefix, link.is_cluster());
        let (errands, inbox) = mpsc::channel(ERRANDS);
        Self {
            names,
            link,
            acquire: StoredScript::new(include_str!("acquire.lua")),
            settle: StoredScript::new(include_str!("settle.lua")),
            renew: StoredScript::new(include_str!("renew.lua")),
            leases: Leases::new(entropy.id(), options.lease),
            lost: Lost::nothing(),
            patience: options.patience,
            errands,
            inbox: Mutex::new(Some(inbox)),
            lost_settlements: AtomicU64::new(0),
        }
    }

    /// Whether limits can be counted there: for `doctor`.
    ///
    /// # Errors
    /// Why not.
    pub async fn check(&self) -> Result<(), RatesUnavailable> {
        let home = self.names.home();
        self.look_at(home, 0).await;
        match self.lost.why(home) {
            Some(reason) => Err(RatesUnavailable(reason)),
            None => Ok(()),
        }
    }

    /// The arguments of the script that takes.
    fn taking(&self, wanted: &Wanted, lease: u64) -> Arguments {
        let mut arguments = Arguments::default();
        arguments.push(self.leases.name(lease));
        arguments.push(self.leases.length().as_millis());
        for bucket in &wanted.buckets {
            arguments.keys.push(self.names.key(&wanted.part, &bucket.key));
            let (limit, period) = terms(bucket);
            arguments.push(limit);
            arguments.push(period);
            arguments.push(bucket.cost);
            arguments.push(u8::from(bucket.mode == Mode::Enforced));
        }
        arguments
    }

    /// Runs a script. When the connection turns out to be gone, it is run once more over a new one: a lost answer may then be
    /// counted twice, which lets fewer pass and never more. Slots are named, and taken once however often they are asked for. What
    /// gives something back is not repeated.
    async fn ask(&self, script: &StoredScript, arguments: &Arguments) -> RedisResult<Vec<i64>> {
        let pool = self.link.pool().await?;
        match script.run(&mut pool.pick()?, arguments).await {
            Err(error) if error.is_connection_dropped() && !self.link.is_cluster() => {
                let pool = self.link.replace(Some(&pool)).await?;
                if arguments.once {
                    self.lost_settlements.fetch_add(1, Ordering::Relaxed);
                    return Ok(Vec::new());
                }
                script.run(&mut pool.pick()?, arguments).await
            }
            answer => answer,
        }
    }

    /// Runs a script within the time that a request can wait.
    async fn ask_soon(
        &self,
        part: &Arc<str>,
        script: &StoredScript,
        arguments: &Arguments,
    ) -> Result<Vec<i64>, String> {
        if let Some(reason) = self.lost.why(self.lane(part)) {
            return Err(reason);
        }
        let answer = tokio::time::timeout(self.patience, Box::pin(self.ask(script, arguments))).await;
        let reason = match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => describe(&error),
            Err(_) => format!("no answer within {} ms", self.patience.as_millis()),
        };
        self.lost.note(self.lane(part), reason.clone());
        Err(reason)
    }

    /// What is lost together: a server as a whole, a cluster by its parts.
    fn lane<'p>(&'p self, part: &'p Arc<str>) -> &'p Arc<str> {
        if self.link.is_cluster() {
            part
        } else {
            self.names.home()
        }
    }

    fn send(&self, errand: Errand) {
        if self.errands.try_send(errand).is_err() {
            self.lost_settlements.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A bucket's limit and period as scripts know them.
fn terms(bucket: &Bucket) -> (u64, u64) {
    match bucket.rate() {
        Some(rate) => (rate.limit, rate.period.0),
        None => (u64::from(bucket.limit), 0),
    }
}

/// Without the address: it is in the configuration, and names hosts.
fn describe(error: &RedisError) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.category()),
        None => error.to_string(),
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
        self.store.send(errand);
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
            arguments.keys.push(self.names.key(part, &bucket.key));
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
            arguments,
        }
    }
}

#[async_trait]
impl RateStore for RedisRates {
    async fn acquire(&self, wanted: &Wanted) -> Result<Verdict, RatesUnavailable> {
        if let Some(reason) = self.lost.why(self.lane(&wanted.part)) {
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
        let answer = self.ask_soon(&wanted.part, &self.acquire, &arguments).await;
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
            self.send(errand);
        }
    }

    fn status(&self) -> RateStatus {
        RateStatus {
            error: self.lost.reason(),
            buckets: None,
            lost_settlements: self.lost_settlements.load(Ordering::Relaxed),
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
