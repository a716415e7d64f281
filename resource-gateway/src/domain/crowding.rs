//! How many budgets of money may count one call.

use std::collections::BTreeMap;

use super::{
    budget::{Budget, Match},
    config_row::{RowId, RowKind},
    ids::InterfaceName,
    snapshot::{ConfigFault, FaultReason},
};

/// Each of them is looked up before a call, and named in its usage record afterwards: that has to stay a record.
pub const MOST_BUDGETS: usize = 32;
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

/// No call may count against more than [`MOST_BUDGETS`], whoever makes it.
pub(super) fn check_crowds(budgets: &[Budget], faults: &mut Vec<ConfigFault>) {
    let paying: Vec<_> = budgets.iter().filter(|budget| budget.money.is_some()).collect();
    let mut steps = MOST_STEPS;
    if let Some(budget) = find_crowd(paying, &TRAITS, &mut steps) {
        faults.push(ConfigFault {
            subject: RowId::new(RowKind::Budget, budget.name.as_str()),
            path: "amount".to_owned(),
            reason: FaultReason::Crowded(MOST_BUDGETS),
        });
    }
}

/// One of too many budgets that may count the same call; those in `set` differ in no other traits than these.
fn find_crowd<'b>(set: Vec<&'b Budget>, traits: &[Trait], steps: &mut u32) -> Option<&'b Budget> {
    if at_most(&set, traits) <= MOST_BUDGETS {
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
        return find_crowd(for_all, rest, steps);
    }
    groups.into_values().find_map(|mut group| {
        group.splice(0..0, for_all.iter().copied());
        find_crowd(group, rest, steps)
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
        !faults.is_empty()
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
        for crowd in [32, 33] {
            let tenants = (0..crowd).map(|_| [Some("t".into()), None, None, None]);
            assert_eq!(is_crowded(&budgets(tenants)), crowd > MOST_BUDGETS);
            // Different people's, that meet in one call all the same.
            let meet = (0..crowd).map(|at| match at % 4 {
                0 => [Some("t".into()), None, None, None],
                1 => [None, Some("c".into()), None, None],
                2 => [None, None, Some("s".into()), None],
                _ => [None, None, None, Some("i".into())],
            });
            assert_eq!(is_crowded(&budgets(meet)), crowd > MOST_BUDGETS);
        }
    }
}
