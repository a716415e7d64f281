//! Admission by limits: which buckets a request takes from, what happens when the nodes cannot count together, and what the
//! caller is told.

mod guard;
mod headers;
mod meters;
mod plan;

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderMap;
use serde_json::json;

pub use guard::Admission;

use self::{
    meters::LimitMeters,
    plan::{Cost, Plan},
};
use crate::{
    domain::{
        caller::Caller,
        fault::{ErrorKind, PublicError, RetryHints},
        interface::Interface,
        limits::Measure,
        snapshot::Snapshot,
    },
    ports::rate_store::{Mode, RateStore, Taken, Verdict, Wanted},
};

/// Admits requests under limits.
#[derive(Debug)]
pub struct Limiter {
    /// Counts for this node.
    local: Arc<dyn RateStore>,
    /// Counts for all nodes, when there is such a store.
    shared: Option<Shared>,
    /// The limits of the newest snapshot that was asked for.
    plan: ArcSwap<Plan>,
    meters: LimitMeters,
}

/// The store of all nodes.
#[derive(Debug)]
pub struct Shared {
    pub store: Arc<dyn RateStore>,
    /// The part of each limit that this node serves on its own while the store is away: above 0, at most 1.
    pub local_share: f64,
}

/// A request that asks to be admitted.
#[derive(Debug, Clone, Copy)]
pub struct Applicant<'a> {
    pub interface: &'a Interface,
    pub caller: &'a Caller,
    /// For logs.
    pub request_id: &'a str,
    /// What it will use, as far as that can be known: the input, and the output that it asks for.
    pub tokens: u64,
    /// Which limits are asked.
    pub part: Part,
}

/// Some of the limits, where not everything about a request is known at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    All,
    /// That there is a request.
    Requests,
    /// How large it is.
    Tokens,
}

impl Part {
    fn takes(self, measure: Measure) -> bool {
        match self {
            Self::All => true,
            Self::Requests => measure != Measure::TokensPerMinute,
            Self::Tokens => measure == Measure::TokensPerMinute,
        }
    }
}

impl Limiter {
    pub fn new(local: Arc<dyn RateStore>, shared: Option<Shared>) -> Self {
        Self {
            local,
            shared,
            plan: ArcSwap::default(),
            meters: LimitMeters::new(),
        }
    }

    /// Takes from every bucket that the request falls into, or from none. `headers` gets what the caller is told about its
    /// limits, whatever becomes of the request.
    ///
    /// Dropping the result without settling it gives everything back.
    ///
    /// # Errors
    /// 429 with the time to wait.
    pub async fn admit(
        &self,
        snapshot: &Arc<Snapshot>,
        applicant: Applicant<'_>,
        headers: &mut HeaderMap,
    ) -> Result<Admission, PublicError> {
        let cost = Cost {
            tokens: applicant.tokens,
            part: applicant.part,
        };
        let Some(wanted) = self
            .plan_of(snapshot)
            .wanted(applicant.interface, applicant.caller, cost)
        else {
            return Ok(Admission::unlimited());
        };
        let (store, taken) = self.acquire(wanted).await;
        let (buckets, verdict) = (&taken.wanted.buckets, &taken.verdict);
        headers::tell(buckets, &verdict.standings, headers);
        let over = || {
            buckets
                .iter()
                .zip(&verdict.standings)
                .filter(|(_, standing)| standing.over)
        };
        for (bucket, _) in over() {
            self.meters.over(bucket);
            if bucket.mode == Mode::Shadow {
                tracing::info!(
                    request.id = applicant.request_id,
                    limit.rule = &*bucket.key.rule,
                    limit.measure = bucket.key.measure.as_str(),
                    "a limit in shadow mode would have refused"
                );
            }
        }
        if verdict.granted {
            return Ok(Admission::of(store, taken));
        }
        let enforced = over().filter(|(bucket, _)| bucket.mode == Mode::Enforced);
        let longest = enforced.max_by_key(|(_, standing)| standing.wait);
        Err(longest.map_or_else(
            || refusal(Measure::RequestsPerMinute, 0, crate::domain::limits::SLOT_WAIT),
            |(bucket, standing)| refusal(bucket.key.measure, bucket.limit, standing.wait),
        ))
    }

    fn plan_of(&self, snapshot: &Arc<Snapshot>) -> arc_swap::Guard<Arc<Plan>> {
        let plan = self.plan.load();
        if plan.snapshot.as_ref().is_some_and(|known| Arc::ptr_eq(known, snapshot)) {
            return plan;
        }
        let fresh = Arc::new(Plan::of(snapshot));
        // Whoever began with an older snapshot leaves the newer one's plan where it is.
        let newest = plan.snapshot.as_ref().map(|known| known.revision());
        if newest.is_none_or(|newest| newest <= snapshot.revision()) {
            self.plan.store(Arc::clone(&fresh));
        }
        arc_swap::Guard::from_inner(fresh)
    }

    /// Asks the store of all nodes, and this node's alone when that one is away.
    async fn acquire(&self, wanted: Wanted) -> (Arc<dyn RateStore>, Taken) {
        let Some(shared) = &self.shared else {
            return Self::acquire_of(&self.local, wanted).await;
        };
        if let Ok(verdict) = shared.store.acquire(&wanted).await {
            return (Arc::clone(&shared.store), Taken { wanted, verdict });
        }
        // Why it cannot be asked, the store says itself.
        self.meters.counting_alone();
        Self::acquire_of(&self.local, shared.share_of(wanted)).await
    }

    async fn acquire_of(store: &Arc<dyn RateStore>, wanted: Wanted) -> (Arc<dyn RateStore>, Taken) {
        // A local store always answers. Were it not to, limits would not be what calls fail by.
        let verdict = store.acquire(&wanted).await.unwrap_or_else(|_| Verdict {
            granted: true,
            standings: Vec::new(),
            lease: 0,
        });
        (Arc::clone(store), Taken { wanted, verdict })
    }

    /// For `/status`.
    pub fn status(&self) -> serde_json::Value {
        let shared = self.shared.as_ref().map(|shared| {
            let status = shared.store.status();
            json!({"reachable": status.error.is_none(), "error": status.error, "local_share": shared.local_share,
                "lost_settlements": status.lost_settlements})
        });
        let counted = match shared.as_ref().map(|shared| &shared["reachable"]) {
            Some(serde_json::Value::Bool(true)) => "together",
            Some(_) | None => "alone",
        };
        json!({"counted": counted, "shared": shared, "buckets": self.local.status().buckets})
    }
}

impl Shared {
    /// The limits of one node on its own. A part of a limit is never nothing.
    fn share_of(&self, mut wanted: Wanted) -> Wanted {
        for bucket in &mut wanted.buckets {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a part of a u32 is a u32, and a cast from f64 saturates"
            )]
            let part = (f64::from(bucket.limit) * self.local_share).floor() as u32;
            bucket.limit = part.max(1);
            if let Some(rate) = bucket.rate() {
                bucket.cost = rate.cost(bucket.cost);
            }
        }
        wanted
    }
}

/// The words are OpenAI's, because SDKs branch on them. They name the limit and not the quota that sets it: quotas are named
/// for operators.
fn refusal(measure: Measure, limit: u32, wait: std::time::Duration) -> PublicError {
    let millis = wait.as_micros().div_ceil(1000).max(1);
    let seconds = millis.div_ceil(1000);
    let message = format!(
        "Rate limit reached: {limit} {}. Please try again in {}.",
        measure.words(),
        crate::domain::limits::Reset(wait)
    );
    let error = PublicError::new(429, ErrorKind::RateLimit, "rate_limit_exceeded", message);
    PublicError {
        // RFC 9110 §10.2.3: whole seconds, so they are rounded up. SDKs read the other one first.
        hints: RetryHints {
            retry_after: Some(seconds.to_string().into()),
            retry_after_ms: Some(millis.to_string().into()),
            ..RetryHints::default()
        },
        ..error
    }
}
