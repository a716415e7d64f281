//! `[[quota]]`, also written `[[budget]]`.

use serde_json::{Map, Value, json};

use super::{
    Entry, Faults, Table, limits, name,
    price::{amount, currency},
    read_limits,
};
use crate::domain::{
    budget::{Allowance, Budget, Firmness, Match, Period, Selector},
    config_row::Row,
    ids::{BudgetName, InterfaceName},
    money::Nanos,
};

/// Members that make up the money part.
const MONEY: [&str; 6] = ["amount", "currency", "period", "hard", "notify_at", "notify_url"];
/// Shares of a budget at which operators can be told.
const MOST_SHARES: usize = 10;

pub(super) fn read(mut table: Table, substitute: &str, faults: &mut Faults) -> Entry {
    let name = name(&mut table, substitute, faults);
    let selector = selector(&mut table, faults);
    let interface = table.optional_text("interface", faults).map(InterfaceName::new);
    if selector.is_empty() && interface.is_none() {
        let reason = "is missing: say whose calls count by tenant, client_id, sub, access_key or interface";
        faults.add_unless_known(table.at("tenant"), reason);
    }
    let money = money(&mut table, faults);
    let limits = read_limits(&mut table, faults);
    if money.is_none() && limits.is_empty() && MONEY.iter().all(|member| !faults.mentions(&table.at(member))) {
        faults.add_unless_known(table.at("amount"), "is missing (or limits)");
    }
    let place = table.place().clone();
    table.finish(faults);
    let budget = Budget {
        name: BudgetName::new(name),
        selector,
        interface,
        money,
        limits,
    };
    Entry::without_secret(place, Row::Budget(budget))
}

pub(super) fn render(budget: &Budget) -> Map<String, Value> {
    let mut members = Map::new();
    let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
    set("name", json!(budget.name));
    for (name, member) in budget.selector.members() {
        match member {
            Some(Match::Is(text)) => set(name, json!(text)),
            Some(Match::Each) => set(name, json!(EACH)),
            None => None,
        };
    }
    if let Some(interface) = &budget.interface {
        set("interface", json!(interface));
    }
    if let Some(money) = &budget.money {
        set("amount", json!(money.amount.to_string()));
        set("currency", json!(money.currency));
        set("period", json!(money.period.as_str()));
        set("hard", json!(money.firmness.is_hard()));
        let shares = money.notify_at.iter().map(|share| share_text(*share));
        set("notify_at", shares.collect());
        if let Some(url) = &money.notify_url {
            set("notify_url", json!(url));
        }
    }
    members.extend(limits(&budget.limits));
    members
}

/// Everybody, each for themselves.
const EACH: &str = "*";

fn selector(table: &mut Table, faults: &mut Faults) -> Selector {
    let mut member = |name: &str| {
        let text = table.optional_text(name, faults)?;
        Some(if text == EACH { Match::Each } else { Match::Is(text) })
    };
    Selector {
        tenant: member("tenant"),
        client_id: member("client_id"),
        sub: member("sub"),
        access_key: member("access_key"),
    }
}

fn money(table: &mut Table, faults: &mut Faults) -> Option<Allowance> {
    if !MONEY.iter().any(|member| table.has(member)) {
        return None;
    }
    if !table.has("amount") {
        faults.add(table.at("amount"), "is missing");
    }
    let amount = amount(table, "amount", faults);
    let currency = currency(table, faults);
    let period = table.required_text("period", faults).and_then(|word| {
        let period = Period::parse(&word);
        if period.is_none() {
            let known: Vec<_> = Period::ALL.iter().map(|period| period.as_str()).collect();
            let reason = format!("unknown period {word:?}; known are {}", known.join(", "));
            faults.add(table.at("period"), reason);
        }
        period
    });
    let hard = table.flag("hard", true, faults);
    let notify_at = notify_at(table, faults);
    let notify_url = table.optional_text("notify_url", faults);
    if notify_url.is_some() && notify_at.is_empty() && !faults.mentions(&table.at("notify_at")) {
        faults.add(
            table.at("notify_url"),
            "is never told anything, since notify_at is empty",
        );
    }
    if amount == Some(Nanos::ZERO) && !hard {
        faults.add(table.at("amount"), "must be more than 0 when hard is false");
    }
    Some(Allowance {
        amount: amount.unwrap_or_default(),
        currency,
        period: period.unwrap_or(Period::Total),
        firmness: Firmness::from(hard),
        notify_at,
        notify_url,
    })
}

/// Shares such as 0.8, at most 1, to the thousandth.
fn notify_at(table: &mut Table, faults: &mut Faults) -> Vec<u32> {
    const ONE: i64 = 1_000_000_000;
    let Some(value) = table.take("notify_at") else {
        return Allowance::NOTIFY_AT.to_vec();
    };
    let read = |value: &Value| {
        let share = match value {
            Value::Number(number) => Nanos::from_number(number).ok()?,
            Value::String(text) => Nanos::parse(text).ok()?,
            _ => return None,
        };
        let exact = share.0 % (ONE / 1000) == 0 && (1..=ONE).contains(&share.0);
        exact.then(|| u32::try_from(share.0 / (ONE / 1000)).ok())?
    };
    let shares: Option<Vec<u32>> = value.as_array().and_then(|values| values.iter().map(read).collect());
    match shares {
        Some(mut shares) if shares.len() <= MOST_SHARES => {
            shares.sort_unstable();
            shares.dedup();
            shares
        }
        _ => {
            let reason = "must be an array of at most 10 shares such as 0.8, above 0, up to 1, to the thousandth";
            faults.add(table.at("notify_at"), reason);
            Vec::new()
        }
    }
}

/// Thousandths as a number of JSON.
fn share_text(share: u32) -> Value {
    json!(f64::from(share) / 1000.0)
}
