//! Which limits a request falls under, worked out once for each snapshot.

use std::{collections::HashMap, sync::Arc};

use crate::{
    domain::{
        caller::Caller,
        ids::InterfaceName,
        interface::Interface,
        limits::{Limits, Measure},
        snapshot::Snapshot,
    },
    ports::rate_store::{Bucket, BucketKey, Mode, Wanted, Who},
};

/// All limits of a snapshot.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Whose limits these are.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    interfaces: HashMap<InterfaceName, Rule>,
}

/// Limits that hold together: an interface's or a quota's.
#[derive(Debug)]
struct Rule {
    /// Stable over restarts and nodes, since buckets are found by it.
    name: Arc<str>,
    terms: Vec<(Measure, u32)>,
    mode: Mode,
}

impl Rule {
    fn new(name: String, limits: &Limits) -> Self {
        Self {
            name: name.into(),
            terms: limits.measures().collect(),
            mode: match limits.shadow.is_on() {
                true => Mode::Shadow,
                false => Mode::Enforced,
            },
        }
    }

    fn buckets(&self, who: &Who, cost: Cost) -> impl Iterator<Item = Bucket> {
        self.terms.iter().map(move |(measure, limit)| Bucket {
            key: BucketKey {
                rule: Arc::clone(&self.name),
                measure: *measure,
                who: who.clone(),
            },
            limit: *limit,
            mode: self.mode,
            cost: cost.of(*measure, *limit),
        })
    }
}

/// What a request takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    /// Tokens, as far as they can be known before.
    pub(super) tokens: u64,
}

impl Cost {
    fn of(self, measure: Measure, limit: u32) -> u64 {
        match measure.rate(limit) {
            // Even what is estimated at nothing waits for those who are in debt.
            Some(rate) if measure == Measure::TokensPerMinute => rate.cost(self.tokens.max(1)),
            Some(_) | None => 1,
        }
    }
}

impl Plan {
    pub(super) fn of(snapshot: &Arc<Snapshot>) -> Self {
        let limited = snapshot
            .interfaces()
            .filter(|interface| !interface.policy.limits.is_empty());
        let interfaces = limited.map(|interface| {
            let name = format!("interface/{}", interface.name);
            (interface.name.clone(), Rule::new(name, &interface.policy.limits))
        });
        Self {
            interfaces: interfaces.collect(),
            snapshot: Some(Arc::clone(snapshot)),
        }
    }

    /// The buckets of a request; none when nothing limits it.
    pub(super) fn wanted(&self, interface: &Interface, _caller: &Caller, cost: Cost) -> Option<Wanted> {
        if self.interfaces.is_empty() {
            return None;
        }
        let own = self.interfaces.get(&interface.name)?;
        let buckets = own.buckets(&Who::default(), cost).collect();
        Some(Wanted {
            part: Arc::clone(&own.name),
            buckets,
        })
    }
}
