//! Which limits a request falls under, worked out once for each snapshot.

use std::{collections::HashMap, sync::Arc};

use super::Part;
use crate::{
    domain::{
        budget::{Budget, BudgetBook, Match, Selector, Spender},
        caller::Caller,
        ids::{AccessKeyId, BudgetName, InterfaceName, TenantId},
        interface::Interface,
        limits::{Limits, Measure},
        snapshot::Snapshot,
    },
    ports::rate_store::{Bucket, BucketKey, Mode, Wanted, Who},
};

/// The part in which all buckets lie when a quota spans interfaces.
const EVERYTHING: &str = "all";

/// All limits of a snapshot.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Whose limits these are.
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// Interfaces with limits of their own, or with quotas for them alone.
    sites: HashMap<InterfaceName, Site>,
    /// Quotas with limits.
    quotas: BudgetBook,
    rules: HashMap<BudgetName, Rule>,
    /// There when a quota spans interfaces: then any two buckets may meet in a request.
    everything: Option<Arc<str>>,
}

/// What is known of an interface before anybody calls it.
#[derive(Debug)]
struct Site {
    part: Arc<str>,
    own: Option<Rule>,
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
    fn new(name: Arc<str>, limits: &Limits) -> Self {
        Self {
            name,
            terms: limits.measures().collect(),
            mode: match limits.shadow.is_on() {
                true => Mode::Shadow,
                false => Mode::Enforced,
            },
        }
    }

    fn buckets(&self, who: Who, cost: Cost) -> impl Iterator<Item = Bucket> {
        let terms = self.terms.iter().filter(move |(measure, _)| cost.part.takes(*measure));
        terms.map(move |(measure, limit)| Bucket {
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
    pub(super) part: Part,
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
        let limited = snapshot.budgets().all().filter(|quota| !quota.limits.is_empty());
        let quotas: Vec<Budget> = limited.map(|quota| Budget::clone(quota)).collect();
        let spans = quotas.iter().any(|quota| quota.interface.is_none());
        let everything: Option<Arc<str>> = spans.then(|| EVERYTHING.into());
        let mut sites = HashMap::new();
        for interface in snapshot.interfaces() {
            let limits = &interface.policy.limits;
            let has_quota = quotas
                .iter()
                .any(|quota| quota.interface.as_ref() == Some(&interface.name));
            if limits.is_empty() && !has_quota {
                continue;
            }
            let name: Arc<str> = format!("interface/{}", interface.name).into();
            let site = Site {
                part: everything.clone().unwrap_or_else(|| Arc::clone(&name)),
                own: (!limits.is_empty()).then(|| Rule::new(name, limits)),
            };
            sites.insert(interface.name.clone(), site);
        }
        let rule = |quota: &Budget| {
            let name = format!("quota/{}", quota.name).into();
            (quota.name.clone(), Rule::new(name, &quota.limits))
        };
        Self {
            snapshot: Some(Arc::clone(snapshot)),
            sites,
            rules: quotas.iter().map(rule).collect(),
            quotas: BudgetBook::new(quotas),
            everything,
        }
    }

    /// The buckets of a request; none when nothing limits it.
    pub(super) fn wanted(&self, interface: &Interface, caller: &Caller, cost: Cost) -> Option<Wanted> {
        let site = self.sites.get(&interface.name);
        let part = self.everything.as_ref().or(site.map(|site| &site.part))?;
        let mut buckets = Vec::new();
        if let Some(own) = site.and_then(|site| site.own.as_ref()) {
            buckets.extend(own.buckets(Who::default(), cost));
        }
        if !self.quotas.is_empty() {
            let spender = spender(caller);
            for quota in self.quotas.matching(&spender, interface.name.as_str()) {
                if let Some(rule) = self.rules.get(&quota.name) {
                    buckets.extend(rule.buckets(each_of(&quota.selector, caller), cost));
                }
            }
        }
        let part = Arc::clone(part);
        (!buckets.is_empty()).then_some(Wanted { part, buckets })
    }
}

fn spender(caller: &Caller) -> Spender<'_> {
    Spender {
        tenant: caller.tenant.as_ref().map(TenantId::as_str),
        client_id: caller.client_id.as_str(),
        sub: caller.sub.as_str(),
        access_key: caller.access_key.as_ref().map(AccessKeyId::as_str),
    }
}

/// Whom a bucket is for: each of those for whom the selector has `"*"`, and together those whom it names.
fn each_of(selector: &Selector, caller: &Caller) -> Who {
    fn each<T: Clone>(member: Option<&Match>, own: Option<&T>) -> Option<T> {
        own.filter(|_| matches!(member, Some(Match::Each))).cloned()
    }
    Who {
        tenant: each(selector.tenant.as_ref(), caller.tenant.as_ref()),
        client_id: each(selector.client_id.as_ref(), Some(&caller.client_id)),
        sub: each(selector.sub.as_ref(), Some(&caller.sub)),
        access_key: each(selector.access_key.as_ref(), caller.access_key.as_ref()),
    }
}
