//! `limits`, of interfaces and of quotas.

use serde_json::{Map, Value, json};

use super::{Faults, Table};
use crate::domain::limits::{Limits, Measure};

/// Takes `limits = { … }` out of an entry's table.
pub fn read_limits(table: &mut Table, faults: &mut Faults) -> Limits {
    let mut limits = Limits::default();
    let Some(mut table) = table.table("limits", faults) else {
        return limits;
    };
    for measure in Measure::ALL {
        limits.set(measure, table.number(measure.as_str(), measure.range(), faults));
    }
    limits.shadow = table.flag("shadow", limits.shadow.is_on(), faults).into();
    table.finish(faults);
    limits
}

/// The member that [`read_limits`] takes; absent when nothing is limited.
pub fn limits(limits: &Limits) -> Option<(String, Value)> {
    if limits.is_empty() && !limits.shadow.is_on() {
        return None;
    }
    let mut members: Map<_, _> = limits
        .measures()
        .map(|(measure, limit)| (measure.as_str().to_owned(), json!(limit)))
        .collect();
    members.insert("shadow".to_owned(), json!(limits.shadow.is_on()));
    Some(("limits".to_owned(), Value::Object(members)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: Value) -> (Limits, Vec<String>) {
        let mut faults = Faults::default();
        let Value::Object(members) = text else { panic!() };
        let mut table = Table::root(members);
        let limits = read_limits(&mut table, &mut faults);
        table.finish(&mut faults);
        (limits, faults.into_vec().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_read_is_what_is_written() {
        for text in [
            json!({"limits": {"requests_per_second": 1, "requests_per_minute": 2, "tokens_per_minute": 500_000_000,
                "concurrency": 3, "shadow": true}}),
            json!({"limits": {"concurrency": 100_000, "shadow": false}}),
            json!({}),
        ] {
            let (read, faults) = read(text.clone());
            assert_eq!(faults, Vec::<String>::new());
            assert_eq!(Value::Object(limits(&read).into_iter().collect()), text);
        }
    }

    #[test]
    fn every_fault_is_named() {
        let (_, faults) = read(
            json!({"limits": {"requests_per_second": 0, "requests_per_minute": "many",
            "tokens_per_minute": 500_000_001, "concurrency": 1.5, "shadow": 1, "per_hour": 1}}),
        );
        assert_eq!(
            faults,
            [
                "limits.requests_per_second: must be a whole number from 1 to 1000000",
                "limits.requests_per_minute: must be a whole number from 1 to 1000000",
                "limits.tokens_per_minute: must be a whole number from 1 to 500000000",
                "limits.concurrency: must be a whole number from 1 to 100000",
                "limits.shadow: must be true or false, not a number",
                "limits.per_hour: unknown key; known are requests_per_second, requests_per_minute, tokens_per_minute, \
                 concurrency, shadow",
            ]
        );
        assert_eq!(read(json!({"limits": 5})).1, ["limits: must be a table, not a number"]);
    }
}
