//! How many budgets of money may count one call.
//!
//! Each of them is looked up before a call, and named in its usage record afterwards: that has to stay a record. There are shares,
//! so that nobody's rows stand in the way of somebody else's: one of budgets that name no tenant, which the operator alone writes, and
//! one of each tenant's. Of the latter the tenant's own people fill one half at most; the other is the operator's to fill.

use std::collections::BTreeMap;

use super::{
    budget::{Budget, Match},
    config_row::{RowId, RowKind},
    ids::InterfaceName,
    snapshot::{ConfigFault, FaultReason},
};

/// Of the installation's.
pub const MOST_BUDGETS: usize = 32;
/// Of one tenant's, as far as its own people write them.
pub const MOST_OF_TENANT: usize = 32;
/// Of one tenant's, when the operator writes: as many beside whatever the tenant wrote.
const MOST_IN_TENANT: usize = MOST_OF_TENANT + 32;
/// All together. A call that more would count is refused, since none of them may be passed over.
pub const MOST_COUNTING: usize = MOST_BUDGETS + MOST_IN_TENANT;
/// Whoever writes budgets that take longer to tell apart has too many of them anyhow.
const MOST_STEPS: u32 = 1000;

/// What tells callers apart. A call has one value of each.
type Trait = fn(&Budget) -> Option<&str>;

const TRAITS: [Trait; 5] = [
    |budget| budget.interface.as_ref().map(InterfaceName::as_str),
    |budget| named(budget.selector.tenant.as_ref()),
    |budget| named(budget.selector.access_key.as_ref()),
    |budget| named(budget.selector.client_id.as_ref()),
    |budget| named(budget.selector.sub.as_ref()),
];

fn named(member: Option<&Match>) -> Option<&str> {
    match member {
        Some(Match::Is(name)) => Some(name),
        Some(Match::Each) | None => None,
    }
}

/// No call may count against more than [`MOST_BUDGETS`] of the installation's, whoever makes it. Tenants' are judged as they are
/// written ([`Share`]), and no reason to publish nothing.
pub(super) fn check_crowds(budgets: &[Budget], faults: &mut Vec<ConfigFault>) {
    let paying = budgets.iter().filter(|budget| budget.money.is_some());
    let paying = paying.filter(|budget| tenant(budget).is_none()).collect();
    let mut steps = MOST_STEPS;
    if let Some(budget) = find_crowd(paying, MOST_BUDGETS, &TRAITS, &mut steps) {
        faults.push(ConfigFault {
            subject: RowId::new(RowKind::Budget, budget.name.as_str()),
            path: "amount".to_owned(),
            reason: FaultReason::Crowded(MOST_BUDGETS),
        });
    }
}

fn tenant(budget: &Budget) -> Option<&str> {
    named(budget.selector.tenant.as_ref())
}

/// How many budgets of one tenant somebody may write.
#[derive(Debug)]
pub struct Share {
    most: usize,
    in_doubt: Doubt,
    steps: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Doubt {
    Refuses,
    Admits,
}

impl Share {
    /// Of the tenant's own people.
    pub fn of_tenant() -> Self {
        Self {
            most: MOST_OF_TENANT,
            in_doubt: Doubt::Refuses,
            steps: MOST_STEPS,
        }
    }

    /// Of the operator. A tenant's rows may be such that nobody can tell soon how many of them meet in a call: that is no reason to
    /// refuse the operator's, since a call that too many count is refused by itself.
    pub fn of_operator() -> Self {
        Self {
            most: MOST_IN_TENANT,
            in_doubt: Doubt::Admits,
            steps: MOST_STEPS,
        }
    }

    /// Why a tenant's budget must not be put beside the others, among which it stands already, if so.
    pub fn refusal(&mut self, new: &Budget, budgets: &[Budget]) -> Option<FaultReason> {
        if new.money.is_none() || tenant(new).is_none() {
            return None;
        }
        let meets = |other: &&Budget| {
            let apart = |of: &Trait| of(new).is_some_and(|one| of(other).is_some_and(|other| one != other));
            other.money.is_some() && tenant(other) == tenant(new) && !TRAITS.iter().any(apart)
        };
        let set = budgets.iter().filter(meets).collect();
        let is_crowd = find_crowd(set, self.most, &TRAITS, &mut self.steps).is_some();
        let refused = is_crowd && (self.steps > 0 || self.in_doubt == Doubt::Refuses);
        refused.then_some(FaultReason::CrowdedTenant(self.most))
    }
}

/// One of more than `most` budgets that may count the same call; those in `set` differ in no other traits than these.
fn find_crowd<'b>(set: Vec<&'b Budget>, most: usize, traits: &[Trait], steps: &mut u32) -> Option<&'b Budget> {
    if at_most(&set, traits) <= most {
        return None;
    }
    *steps = steps.saturating_sub(1);
    let Some((first, rest)) = traits.split_first().filter(|_| *steps > 0) else {
        return set.last().copied();
    };
    let mut for_all = Vec::new();
    let mut groups: BTreeMap<&str, Vec<&Budget>> = BTreeMap::new();
    for budget in set {
        match first(budget) {
            None => for_all.push(budget),
            Some(value) => groups.entry(value).or_default().push(budget),
        }
    }
    if groups.is_empty() {
        return find_crowd(for_all, most, rest, steps);
    }
    groups.into_values().find_map(|mut group| {
        group.splice(0..0, for_all.iter().copied());
        find_crowd(group, most, rest, steps)
    })
}

/// As many of the set count one call, or fewer: of those that differ in a trait at most the largest group.
fn at_most(set: &[&Budget], traits: &[Trait]) -> usize {
    let mut for_all = 0;
    let mut groups: BTreeMap<(usize, &str), usize> = BTreeMap::new();
    for budget in set {
        let value = traits.iter().enumerate().find_map(|(at, of)| Some((at, of(budget)?)));
        match value {
            None => for_all += 1,
            Some(value) => *groups.entry(value).or_default() += 1,
        }
    }
    let largest = |at: usize| {
        let of = groups.range((at, "")..(at + 1, ""));
        of.map(|(_, count)| *count).max().unwrap_or(0)
    };
    for_all + (0..traits.len()).map(largest).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        budget::{Allowance, Firmness, Period, Selector},
        ids::BudgetName,
        limits::Limits,
        money::{Currency, Nanos},
    };

    /// Budgets by whom they are for: tenant, client, person, interface.
    fn budgets(of: impl IntoIterator<Item = [Option<String>; 4]>) -> Vec<Budget> {
        let is = |name: Option<String>| name.map(Match::Is);
        let one = |(at, [tenant, client_id, sub, interface]): (usize, [Option<String>; 4])| Budget {
            name: BudgetName::new(format!("b{at}")),
            selector: Selector {
                tenant: is(tenant),
                client_id: is(client_id),
                sub: is(sub),
                access_key: None,
            },
            interface: interface.map(InterfaceName::new),
            money: Some(Allowance {
                amount: Nanos(1),
                currency: Currency::parse("EUR").unwrap(),
                period: Period::Day,
                firmness: Firmness::Soft,
                notify_at: Vec::new(),
                notify_url: None,
            }),
            limits: Limits::default(),
        };
        of.into_iter().enumerate().map(one).collect()
    }

    fn is_crowded(budgets: &[Budget]) -> bool {
        let mut faults = Vec::new();
        check_crowds(budgets, &mut faults);
        !faults.is_empty() || is_refused(Share::of_tenant(), budgets)
    }

    /// Whether the last of them could not be written.
    fn is_refused(mut share: Share, budgets: &[Budget]) -> bool {
        share.refusal(budgets.last().unwrap(), budgets).is_some()
    }

    #[test]
    fn budgets_that_never_meet_in_a_call_are_no_crowd() {
        let named = |kind: &str, at: usize| Some(format!("{kind}{at}"));
        let each_person = (0..500).map(|at| [Some("t".into()), None, named("s", at), None]);
        let each_client = (0..500).map(|at| [None, named("c", at), None, None]);
        let each_interface = (0..500).map(|at| [None, None, None, named("i", at)]);
        assert!(!is_crowded(&budgets(
            each_person.chain(each_client).chain(each_interface)
        )));
        // One person at many clients.
        let pairs = (0..500).map(|at| [None, named("c", at), Some("s".into()), None]);
        assert!(!is_crowded(&budgets(pairs)));
        // Many for one client in one tenant, many for one person in another.
        let here = (0..20).map(|_| [Some("t1".into()), Some("c".into()), None, None]);
        let there = (0..20).map(|_| [Some("t2".into()), None, Some("s".into()), None]);
        assert!(!is_crowded(&budgets(here.chain(there))));
    }

    #[test]
    fn a_call_counts_against_thirty_two_budgets_and_no_more() {
        for tenant in [Some("t".to_owned()), None] {
            for crowd in [32, 33] {
                let clients = (0..crowd).map(|_| [tenant.clone(), Some("c".into()), None, None]);
                assert_eq!(is_crowded(&budgets(clients)), crowd > 32);
                // Different people's, that meet in one call all the same.
                let meet = (0..crowd).map(|at| match at % 4 {
                    0 => [tenant.clone(), None, Some("s".into()), Some("i".into())],
                    1 => [tenant.clone(), Some("c".into()), None, None],
                    2 => [tenant.clone(), None, Some("s".into()), None],
                    _ => [tenant.clone(), None, None, Some("i".into())],
                });
                assert_eq!(is_crowded(&budgets(meet)), crowd > 32);
            }
        }
    }

    #[test]
    fn what_one_writes_takes_no_room_of_another() {
        let all = |count: usize| (0..count).map(|_| [None, None, None, Some("i".to_owned())]);
        let of = |tenant: &str, count: usize| {
            let one = [Some(tenant.to_owned()), None, None, None];
            std::iter::repeat_n(one, count)
        };
        let full = || all(32).chain(of("t", 32)).chain(of("u", 32));
        assert!(!is_crowded(&budgets(full())));
        // Beside all that a tenant can write the operator finds room: for everybody, and for the tenant.
        assert!(!is_crowded(&budgets(of("t", 500).chain(all(32)))));
        for (more, refused) in [(32, false), (33, true)] {
            assert_eq!(
                is_refused(Share::of_operator(), &budgets(full().chain(of("t", more)))),
                refused
            );
        }
    }

    #[test]
    fn rows_that_cannot_be_told_apart_soon_refuse_the_tenant_and_not_the_operator() {
        // Each names several of a few clients, people and interfaces: no bound is near, and there are many ways of meeting.
        let named = |kind: &str, at: usize| Some(format!("{kind}{}", at % 12));
        let tangle = (0..4000).map(|at| match at % 3 {
            0 => [Some("t".into()), named("c", at / 3), named("s", at / 36), None],
            1 => [Some("t".into()), None, named("s", at / 3), named("i", at / 36)],
            _ => [Some("t".into()), named("c", at / 3), None, named("i", at / 36)],
        });
        let last = [Some("t".into()), None, None, None];
        let budgets = budgets(tangle.chain([last]));
        let in_doubt = |share: Share| Share { steps: 1, ..share };
        assert!(is_refused(in_doubt(Share::of_tenant()), &budgets));
        assert!(!is_refused(in_doubt(Share::of_operator()), &budgets));
    }
}
