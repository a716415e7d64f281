//! `jobs = { … }`, of interfaces.

use serde_json::{Value, json};

use super::{Faults, Table};
use crate::domain::job::JobPolicy;

pub(super) fn read(table: &mut Table, faults: &mut Faults) -> JobPolicy {
    let default = JobPolicy::default();
    let Some(mut table) = table.table("jobs", faults) else {
        return default;
    };
    let mut number = |name: &str, most: u32, default: u32| table.number(name, 1..=most, faults).unwrap_or(default);
    let (retention_hours, max_waiting_per_client) = (
        number("retention_hours", JobPolicy::LONGEST_RETENTION, default.retention_hours),
        number(
            "max_waiting_per_client",
            JobPolicy::MOST_WAITING,
            default.max_waiting_per_client,
        ),
    );
    // Who writes the table wants jobs.
    let policy = JobPolicy {
        enabled: table.flag("enabled", true, faults).into(),
        retention_hours,
        max_waiting_per_client,
    };
    table.finish(faults);
    policy
}

/// Absent while it is as it is by default.
pub(super) fn render(policy: &JobPolicy) -> Option<(String, Value)> {
    let value = json!({"enabled": policy.enabled.is_on(), "retention_hours": policy.retention_hours,
        "max_waiting_per_client": policy.max_waiting_per_client});
    (*policy != JobPolicy::default()).then(|| ("jobs".to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: Value) -> (JobPolicy, Vec<String>) {
        let mut faults = Faults::default();
        let Value::Object(members) = text else { panic!() };
        let mut table = Table::root(members);
        let policy = read(&mut table, &mut faults);
        table.finish(&mut faults);
        (policy, faults.into_vec().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_read_is_what_is_written() {
        for text in [
            json!({"jobs": {"enabled": true, "retention_hours": 744, "max_waiting_per_client": 1}}),
            json!({"jobs": {"enabled": false, "retention_hours": 1, "max_waiting_per_client": 100_000}}),
            json!({}),
        ] {
            let (policy, faults) = read_text(text.clone());
            assert_eq!(faults, Vec::<String>::new());
            assert_eq!(Value::Object(render(&policy).into_iter().collect()), text);
        }
        assert!(read_text(json!({"jobs": {}})).0.enabled.is_on());
        assert!(!read_text(json!({})).0.enabled.is_on());
    }

    #[test]
    fn every_fault_is_named() {
        let (_, faults) = read_text(
            json!({"jobs": {"enabled": 1, "retention_hours": 745, "max_waiting_per_client": 0,
            "webhook": "x"}}),
        );
        assert_eq!(
            faults,
            [
                "jobs.retention_hours: must be a whole number from 1 to 744",
                "jobs.max_waiting_per_client: must be a whole number from 1 to 100000",
                "jobs.enabled: must be true or false, not a number",
                "jobs.webhook: unknown key; known are retention_hours, max_waiting_per_client, enabled",
            ]
        );
    }
}
