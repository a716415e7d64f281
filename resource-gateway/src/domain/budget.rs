//! Budgets: who may spend how much in which time.

use std::{collections::HashMap, fmt::Write as _, sync::Arc};

use service_kit::Timestamp;

use super::{
    ids::{BudgetName, InterfaceName},
    limits::Limits,
    money::{Currency, Nanos},
};

const DAY: i64 = 24 * 60 * 60;
/// 1970-01-01 was a Thursday: three days after a Monday.
const FIRST_MONDAY: i64 = -3 * DAY;

/// A row of the budget table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    pub name: BudgetName,
    pub selector: Selector,
    /// Calls of this interface alone; `None`: of all.
    pub interface: Option<InterfaceName>,
    pub money: Option<Allowance>,
    /// How many calls and tokens; empty when that is not limited.
    pub limits: Limits,
}

/// Whose calls count. All members that are there must match; at least one is there, or the budget names an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    pub tenant: Option<Match>,
    pub client_id: Option<Match>,
    pub sub: Option<Match>,
    pub access_key: Option<Match>,
}

/// One member of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    Is(String),
    /// `"*"`: everybody, each for themselves.
    Each,
}

/// How much may be spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowance {
    pub amount: Nanos,
    pub currency: Currency,
    pub period: Period,
    pub firmness: Firmness,
    /// Shares of the amount, in thousandths and rising, at which operators are told.
    pub notify_at: Vec<u32>,
    /// Where else they are told, beside log and table.
    pub notify_url: Option<String>,
}

impl Allowance {
    /// When `notify_at` says nothing.
    pub const NOTIFY_AT: [u32; 2] = [800, 1000];

    /// The shares that `spent` has reached.
    pub fn reached(&self, spent: Nanos) -> impl Iterator<Item = u32> {
        let (spent, amount) = (i128::from(spent.0) * 1000, i128::from(self.amount.0));
        let shares = self.notify_at.iter().copied();
        shares.filter(move |share| spent > 0 && spent >= amount * i128::from(*share))
    }
}

/// What happens when nothing is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firmness {
    /// Calls are refused.
    Hard,
    /// Operators are told, calls go on.
    Soft,
}

impl Firmness {
    pub fn is_hard(self) -> bool {
        self == Self::Hard
    }
}

impl From<bool> for Firmness {
    fn from(hard: bool) -> Self {
        if hard { Self::Hard } else { Self::Soft }
    }
}

/// After which time the allowance is new: the calendar of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Period {
    Day,
    /// From Monday on (ISO 8601).
    Week,
    Month,
    /// Never.
    Total,
}

impl Period {
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Total];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Total => "total",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.as_str() == text)
    }

    /// The beginning of the period that holds `at`; the epoch for the one that never ends.
    pub fn start(self, at: Timestamp) -> Timestamp {
        let seconds = at.as_seconds();
        let since = |first: i64, length: i64| first + (seconds - first).div_euclid(length) * length;
        Timestamp::from_seconds(match self {
            Self::Day => since(0, DAY),
            Self::Week => since(FIRST_MONDAY, 7 * DAY),
            Self::Month => month_start(seconds),
            Self::Total => 0,
        })
    }

    /// The end of the period that holds `at`: the beginning of the next.
    pub fn end(self, at: Timestamp) -> Option<Timestamp> {
        let start = self.start(at).as_seconds();
        let end = match self {
            Self::Day => start + DAY,
            Self::Week => start + 7 * DAY,
            // No month has more than 31 days, and none is shorter than 28.
            Self::Month => month_start(start + 32 * DAY),
            Self::Total => return None,
        };
        Some(Timestamp::from_seconds(end))
    }
}

/// The first second of the month. Beyond the years that have a calendar every day is a month.
fn month_start(seconds: i64) -> i64 {
    let day_start = seconds.div_euclid(DAY) * DAY;
    let day = time::OffsetDateTime::from_unix_timestamp(seconds).map_or(1, time::OffsetDateTime::day);
    day_start - (i64::from(day) - 1) * DAY
}

/// Who pays for a call.
#[derive(Debug, Clone, Copy)]
pub struct Spender<'a> {
    pub tenant: Option<&'a str>,
    pub client_id: &'a str,
    pub sub: &'a str,
    pub access_key: Option<&'a str>,
}

impl Selector {
    /// The members with their names in documents.
    pub fn members(&self) -> [(&'static str, Option<&Match>); 4] {
        [
            ("tenant", self.tenant.as_ref()),
            ("client_id", self.client_id.as_ref()),
            ("sub", self.sub.as_ref()),
            ("access_key", self.access_key.as_ref()),
        ]
    }

    pub fn is_empty(&self) -> bool {
        self.members().iter().all(|(_, member)| member.is_none())
    }

    fn pairs<'s>(&'s self, spender: &Spender<'s>) -> [(&'static str, Option<&'s Match>, Option<&'s str>); 4] {
        let [tenant, client_id, sub, access_key] = self.members();
        [
            (tenant.0, tenant.1, spender.tenant),
            (client_id.0, client_id.1, Some(spender.client_id)),
            (sub.0, sub.1, Some(spender.sub)),
            (access_key.0, access_key.1, spender.access_key),
        ]
    }

    pub fn matches<'s>(&'s self, spender: &Spender<'s>) -> bool {
        self.pairs(spender)
            .into_iter()
            .all(|(_, wanted, given)| match (wanted, given) {
                (None, _) | (Some(Match::Each), Some(_)) => true,
                (Some(Match::Is(wanted)), Some(given)) => wanted == given,
                (Some(_), None) => false,
            })
    }
}

impl Budget {
    /// Where operators are told that it runs out.
    pub fn notify_url(&self) -> Option<&str> {
        self.money.as_ref()?.notify_url.as_deref()
    }

    /// What the budget's sums are kept by: its name, and whoever each of `"*"` stands for.
    pub fn key<'s>(&'s self, spender: &Spender<'s>) -> String {
        let mut key = self.name.as_str().to_owned();
        for (name, wanted, given) in self.selector.pairs(spender) {
            if let (Some(Match::Each), Some(given)) = (wanted, given) {
                key.push('|');
                key.push_str(name);
                key.push('=');
                push_escaped(&mut key, given);
            }
        }
        key
    }
}

/// No value may look like another member, nor hold what a database cannot store.
fn push_escaped(key: &mut String, value: &str) {
    for c in value.chars() {
        if matches!(c, '|' | '%') || c.is_control() {
            // Writing to a string never fails.
            let _ = write!(key, "%{:02X}", u32::from(c));
        } else {
            key.push(c);
        }
    }
}

/// All budgets, by whom they are for, so that a call looks only at those that may be its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BudgetBook {
    by_name: HashMap<BudgetName, Arc<Budget>>,
    clients: HashMap<String, Vec<Arc<Budget>>>,
    tenants: HashMap<String, Vec<Arc<Budget>>>,
    subs: HashMap<String, Vec<Arc<Budget>>>,
    access_keys: HashMap<String, Vec<Arc<Budget>>>,
    others: Vec<Arc<Budget>>,
}

impl BudgetBook {
    pub fn new(budgets: impl IntoIterator<Item = Budget>) -> Self {
        let mut book = Self::default();
        for budget in budgets {
            let budget = Arc::new(budget);
            let shelf = match &budget.selector {
                Selector {
                    access_key: Some(Match::Is(id)),
                    ..
                } => book.access_keys.entry(id.clone()).or_default(),
                Selector {
                    sub: Some(Match::Is(sub)),
                    ..
                } => book.subs.entry(sub.clone()).or_default(),
                Selector {
                    client_id: Some(Match::Is(id)),
                    ..
                } => book.clients.entry(id.clone()).or_default(),
                Selector {
                    tenant: Some(Match::Is(tenant)),
                    ..
                } => book.tenants.entry(tenant.clone()).or_default(),
                _ => &mut book.others,
            };
            shelf.push(Arc::clone(&budget));
            book.by_name.insert(budget.name.clone(), budget);
        }
        book
    }

    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub fn find(&self, name: &str) -> Option<&Arc<Budget>> {
        self.by_name.get(name)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<Budget>> {
        self.by_name.values()
    }

    /// Whether anybody is told of a budget over the network.
    pub fn tells(&self) -> bool {
        self.by_name.values().any(|budget| budget.notify_url().is_some())
    }

    /// Every budget that a call counts against.
    pub fn matching<'b>(&'b self, spender: &Spender<'b>, interface: &'b str) -> impl Iterator<Item = &'b Arc<Budget>> {
        let of = |shelves: &'b HashMap<String, Vec<Arc<Budget>>>, value: Option<&str>| {
            // Nearly always there is nothing on the shelves.
            let shelf = if shelves.is_empty() { None } else { shelves.get(value?) };
            shelf.map(Vec::as_slice)
        };
        let shelves = [
            of(&self.clients, Some(spender.client_id)),
            of(&self.tenants, spender.tenant),
            of(&self.subs, Some(spender.sub)),
            of(&self.access_keys, spender.access_key),
            Some(self.others.as_slice()),
        ];
        let spender = *spender;
        shelves.into_iter().flatten().flatten().filter(move |budget| {
            let here = budget.interface.as_ref().is_none_or(|only| only.as_str() == interface);
            here && budget.selector.matches(&spender)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Timestamp {
        let moment = time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap();
        Timestamp::from_seconds(moment.unix_timestamp())
    }

    fn is(text: &str) -> Match {
        Match::Is(text.to_owned())
    }

    fn budget(name: &str, selector: Selector) -> Budget {
        Budget {
            name: BudgetName::new(name),
            selector,
            interface: None,
            money: None,
            limits: Limits::default(),
        }
    }

    const ALICE: Spender<'static> = Spender {
        tenant: Some("main"),
        client_id: "web",
        sub: "alice",
        access_key: None,
    };

    #[test]
    fn periods_begin_and_end_by_the_calendar_of_utc() {
        for (period, moment, start, end) in [
            (
                Period::Day,
                "2030-01-01T00:00:00Z",
                "2030-01-01T00:00:00Z",
                "2030-01-02T00:00:00Z",
            ),
            (
                Period::Day,
                "2030-01-01T23:59:59Z",
                "2030-01-01T00:00:00Z",
                "2030-01-02T00:00:00Z",
            ),
            // 2030-01-01 is a Tuesday.
            (
                Period::Week,
                "2030-01-01T12:00:00Z",
                "2029-12-31T00:00:00Z",
                "2030-01-07T00:00:00Z",
            ),
            (
                Period::Week,
                "2029-12-30T23:59:59Z",
                "2029-12-24T00:00:00Z",
                "2029-12-31T00:00:00Z",
            ),
            (
                Period::Week,
                "2029-12-31T00:00:00Z",
                "2029-12-31T00:00:00Z",
                "2030-01-07T00:00:00Z",
            ),
            (
                Period::Month,
                "2028-02-29T23:59:59Z",
                "2028-02-01T00:00:00Z",
                "2028-03-01T00:00:00Z",
            ),
            (
                Period::Month,
                "2030-12-31T23:59:59Z",
                "2030-12-01T00:00:00Z",
                "2031-01-01T00:00:00Z",
            ),
            (
                Period::Month,
                "2030-01-31T00:00:00Z",
                "2030-01-01T00:00:00Z",
                "2030-02-01T00:00:00Z",
            ),
            (
                Period::Day,
                "1969-12-31T23:00:00Z",
                "1969-12-31T00:00:00Z",
                "1970-01-01T00:00:00Z",
            ),
        ] {
            assert_eq!(period.start(at(moment)), at(start), "{period:?} {moment}");
            assert_eq!(period.end(at(moment)), Some(at(end)), "{period:?} {moment}");
        }
        assert_eq!(
            Period::Total.start(at("2030-01-01T00:00:00Z")),
            Timestamp::from_seconds(0)
        );
        assert_eq!(Period::Total.end(at("2030-01-01T00:00:00Z")), None);
    }

    #[test]
    fn a_budget_counts_the_calls_of_those_whom_it_names() {
        let all_of = |tenant, client_id, sub, access_key| Selector {
            tenant,
            client_id,
            sub,
            access_key,
        };
        let each = || Some(Match::Each);
        let book = BudgetBook::new([
            budget("tenant", all_of(Some(is("main")), None, None, None)),
            budget("other-tenant", all_of(Some(is("else")), None, None, None)),
            budget("alice-in-web", all_of(None, Some(is("web")), Some(is("alice")), None)),
            budget("alice-in-app", all_of(None, Some(is("app")), Some(is("alice")), None)),
            budget("each-user-of-web", all_of(None, Some(is("web")), each(), None)),
            budget("each-user", all_of(None, None, each(), None)),
            budget("each-key", all_of(None, None, None, each())),
            budget("key", all_of(None, None, None, Some(is("ak")))),
            Budget {
                interface: Some(InterfaceName::new("draw")),
                ..budget("drawing", Selector::default())
            },
        ]);
        let names = |spender: &Spender<'_>, interface: &str| {
            let mut names: Vec<_> = book
                .matching(spender, interface)
                .map(|budget| budget.key(spender))
                .collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(
            names(&ALICE, "chat"),
            "alice-in-web each-user-of-web|sub=alice each-user|sub=alice tenant"
        );
        assert_eq!(
            names(&ALICE, "draw"),
            "alice-in-web drawing each-user-of-web|sub=alice each-user|sub=alice tenant"
        );
        let machine = Spender {
            tenant: None,
            client_id: "job",
            sub: "job",
            access_key: Some("ak"),
        };
        assert_eq!(names(&machine, "chat"), "each-key|access_key=ak each-user|sub=job key");
    }

    #[test]
    fn nobody_can_be_named_like_somebody_elses_sums() {
        let selector = Selector {
            client_id: Some(Match::Each),
            sub: Some(Match::Each),
            ..Selector::default()
        };
        let budget = budget("b", selector);
        let key = |client_id, sub| {
            budget.key(&Spender {
                client_id,
                sub,
                ..ALICE
            })
        };
        assert_eq!(key("a", "b"), "b|client_id=a|sub=b");
        assert_ne!(key("a|sub=x", "y"), key("a", "x|sub=y"));
        assert_ne!(key("a%7C", "b"), key("a|", "b"));
        assert_eq!(key("a\0", "b"), "b|client_id=a%00|sub=b");
    }

    #[test]
    fn operators_are_told_at_each_share() {
        let allowance = Allowance {
            amount: Nanos(1000),
            currency: Currency::parse("EUR").unwrap(),
            period: Period::Day,
            firmness: Firmness::Soft,
            notify_at: vec![500, 800, 1000],
            notify_url: None,
        };
        for (spent, wanted) in [
            (0, vec![]),
            (499, vec![]),
            (500, vec![500]),
            (999, vec![500, 800]),
            (1000, vec![500, 800, 1000]),
            (i64::MAX, vec![500, 800, 1000]),
        ] {
            assert_eq!(allowance.reached(Nanos(spent)).collect::<Vec<_>>(), wanted, "{spent}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_is_in_exactly_one_period(seconds in -10_000_000_000_i64..100_000_000_000, which in 0_usize..3) {
            let period = Period::ALL[which];
            let moment = Timestamp::from_seconds(seconds);
            let (start, end) = (period.start(moment), period.end(moment).unwrap());
            prop_assert!(start <= moment && moment < end);
            prop_assert_eq!(period.start(start), start);
            prop_assert_eq!(period.start(end), end);
            let last = Timestamp::from_micros(end.as_micros() - 1);
            prop_assert_eq!(period.start(last), start);
        }
    }
}
