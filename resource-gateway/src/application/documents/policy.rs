//! What stands in the `policy` columns: settings that came after the first schema, so that a new one needs no migration.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Faults, Table, balance, confidence, conversation, jobs, limits, raw, read_limits};
use crate::domain::{interface::Policy, vendor::Pool};

/// Takes an interface's policy out of its table.
pub fn read_interface_policy(table: &mut Table, faults: &mut Faults) -> Policy {
    let default = Policy::default();
    let mut policy = Policy {
        max_attempts: table
            .number("max_attempts", 1..=Policy::MOST_ATTEMPTS, faults)
            .unwrap_or(default.max_attempts),
        limits: read_limits(table, faults),
        min_confidence: confidence::read(table, faults),
        jobs: jobs::read(table, faults),
        cache_ttl: table
            .number("cache_ttl_s", 0..=Policy::LONGEST_CACHE, faults)
            .filter(|seconds| *seconds > 0)
            .map(|seconds| Duration::from_secs(u64::from(seconds))),
        raw: raw::read(table, faults),
        ..default
    };
    balance::read_interface(&mut policy, table, faults);
    conversation::read_interface(&mut policy, table, faults);
    policy
}

/// The members that [`read_interface_policy`] takes.
pub fn interface_policy(policy: &Policy) -> Map<String, Value> {
    let mut members = Map::from_iter([("max_attempts".to_owned(), json!(policy.max_attempts))]);
    members.extend(limits(&policy.limits));
    members.extend(confidence::render(policy.min_confidence));
    members.extend(jobs::render(&policy.jobs));
    members.extend(policy.raw.as_deref().map(raw::render));
    if let Some(ttl) = policy.cache_ttl {
        members.insert("cache_ttl_s".to_owned(), json!(ttl.as_secs()));
    }
    balance::render_interface(policy, &mut members);
    conversation::render_interface(policy, &mut members);
    members
}

/// Takes what a pool has besides strategy and addresses out of its table.
pub fn read_pool_policy(pool: &mut Pool, table: &mut Table, faults: &mut Faults) {
    balance::read_pool(pool, table, faults);
}

/// The members that [`read_pool_policy`] takes.
pub fn pool_policy(pool: &Pool) -> Map<String, Value> {
    let mut members = Map::new();
    balance::render_pool(pool, &mut members);
    members
}
