//! Where it is counted who has used how much of a limit.

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;

use crate::domain::{
    ids::{AccessKeyId, ClientId, Subject, TenantId},
    limits::{Measure, Rate, SLOT_WAIT},
};

/// Counts for one process or for all of them.
///
/// A bucket that nobody uses takes no room: it goes when it is empty.
#[async_trait]
pub trait RateStore: Send + Sync + fmt::Debug {
    /// Takes from all buckets or from none: as soon as one that is enforced has not enough left, nothing is taken from any. A
    /// bucket in shadow mode that has not enough left is skipped. N callers at once on a limit of N MUST all pass, and the next
    /// MUST NOT.
    ///
    /// Dropping the future may leave what was taken for as long as a lease lasts, no longer.
    ///
    /// # Errors
    /// The store cannot be asked now. It says so within a bound that a request can wait.
    async fn acquire(&self, wanted: &Wanted) -> Result<Verdict, RatesUnavailable>;

    /// Ends what a granted [`RateStore::acquire`] began: slots come free, and estimates are set right. Called once. It never
    /// waits; a store that is elsewhere is told in the background. Slots whose end is never told come free when their lease ends,
    /// which the store renews for as long as this process lives.
    fn settle(&self, taken: Taken, end: End);

    /// For `/status`.
    fn status(&self) -> RateStatus;
}

/// A request's buckets.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What a store in several parts keeps in one: all buckets that are ever asked for together have the same.
    pub part: Arc<str>,
    pub buckets: Vec<Bucket>,
}

/// One limit for one caller, or for all of them together.
#[derive(Debug, Clone)]
pub struct Bucket {
    pub key: BucketKey,
    pub limit: u32,
    pub mode: Mode,
    /// Units that are taken: requests or tokens; slots are taken one by one.
    pub cost: u64,
}

impl Bucket {
    /// None when slots are counted.
    pub fn rate(&self) -> Option<Rate> {
        self.key.measure.rate(self.limit)
    }

    /// How it stands: by a rate's debt, or by the number of slots in use.
    pub fn standing(&self, over: bool, level: u64) -> Standing {
        let Some(rate) = self.rate() else {
            return Standing {
                over,
                remaining: u64::from(self.limit).saturating_sub(level),
                reset: Duration::ZERO,
                wait: if over { SLOT_WAIT } else { Duration::ZERO },
            };
        };
        let wait = if over { rate.wait(level, self.cost) } else { None };
        Standing {
            over,
            remaining: rate.remaining(level),
            reset: rate.reset(level).to_duration(),
            wait: wait.unwrap_or_default().to_duration(),
        }
    }
}

/// Whether a limit refuses, or only says that it would.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Enforced,
    Shadow,
}

/// What a bucket is found by, on every node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BucketKey {
    /// The interface or quota that sets the limit: `interface/chat`, `quota/gold`.
    pub rule: Arc<str>,
    pub measure: Measure,
    pub who: Who,
}

/// For whom a bucket is, as far as a rule tells callers apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Who {
    pub tenant: Option<TenantId>,
    pub client_id: Option<ClientId>,
    pub sub: Option<Subject>,
    pub access_key: Option<AccessKeyId>,
}

/// Whether all was taken, and how the buckets stand: afterwards if so, as they were if not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub granted: bool,
    /// One for each bucket, in their order.
    pub standings: Vec<Standing>,
    /// Names what was taken, where that has to be named.
    pub lease: u64,
}

impl Verdict {
    /// Whether a bucket gave what was asked of it.
    pub fn took(&self, place: usize) -> bool {
        self.granted && self.standings.get(place).is_some_and(|standing| !standing.over)
    }
}

/// How a bucket stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// It has not enough left.
    pub over: bool,
    pub remaining: u64,
    /// Until it is as if nobody had come.
    pub reset: Duration,
    /// When it is over: until it has enough. Slots come free at no foreseeable time.
    pub wait: Duration,
}

/// What was taken by a verdict that granted.
#[derive(Debug)]
pub struct Taken {
    pub wanted: Wanted,
    pub verdict: Verdict,
}

impl Taken {
    /// What changes in each bucket at the end.
    pub fn changes(&self, end: End) -> impl Iterator<Item = (&Bucket, Change)> {
        self.wanted
            .buckets
            .iter()
            .enumerate()
            .filter_map(move |(place, bucket)| {
                if !self.verdict.took(place) {
                    return None;
                }
                let cost = i64::try_from(bucket.cost).unwrap_or(i64::MAX);
                let change = match (bucket.key.measure, end) {
                    (Measure::Concurrency, _) => Change::Free,
                    (_, End::Undone) => Change::Units(cost.saturating_neg()),
                    (Measure::TokensPerMinute, End::Used { tokens }) => {
                        let used = i64::try_from(tokens).unwrap_or(i64::MAX);
                        Change::Units(used.saturating_sub(cost))
                    }
                    (Measure::RequestsPerSecond | Measure::RequestsPerMinute, End::Used { .. }) => return None,
                };
                (change != Change::Units(0)).then_some((bucket, change))
            })
    }
}

/// What happens to a bucket when a request ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A slot comes free.
    Free,
    /// So many more were used than taken, or fewer.
    Units(i64),
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It ran, and used so many tokens.
    Used { tokens: u64 },
    /// It never began: all is given back.
    Undone,
}

/// The store cannot be asked now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("limits cannot be counted together with the other nodes: {0}")]
pub struct RatesUnavailable(pub String);

/// For `/status`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct RateStatus {
    /// Why it cannot be asked, if it cannot.
    pub error: Option<String>,
    /// Buckets that are not empty, where they can be counted.
    pub buckets: Option<usize>,
    /// Ends of requests that could not be told.
    pub lost_settlements: u64,
}
