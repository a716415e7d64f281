//! What stands in the `policy` columns: settings that came after the first schema, so that a new one needs no migration.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Faults, Table, balance, confidence, conversation, jobs, limits, options, raw, read_limits};
use crate::domain::{
    interface::{Policy, WhenUnsupported},
    vendor::{Pool, Vendor},
};

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
        when_unsupported: when_unsupported(table, faults).unwrap_or_default(),
        ..default
    };
    balance::read_interface(&mut policy, table, faults);
    conversation::read_interface(&mut policy, table, faults);
    policy
}

const WHEN_UNSUPPORTED: &str = "when_unsupported";

fn when_unsupported(table: &mut Table, faults: &mut Faults) -> Option<WhenUnsupported> {
    let word = table.text(WHEN_UNSUPPORTED, faults)?;
    let rule = WhenUnsupported::parse(&word);
    if rule.is_none() {
        let known = WhenUnsupported::ALL.map(WhenUnsupported::as_str).join(", ");
        faults.add(
            table.at(WHEN_UNSUPPORTED),
            format!("unknown rule {word:?}; known are {known}"),
        );
    }
    rule
}

/// The members that [`read_interface_policy`] takes.
pub fn interface_policy(policy: &Policy) -> Map<String, Value> {
    let default = Policy::default();
    let mut members = Map::from_iter([("max_attempts".to_owned(), json!(policy.max_attempts))]);
    members.extend(limits(&policy.limits));
    members.extend(confidence::render(policy.min_confidence));
    members.extend(jobs::render(&policy.jobs));
    members.extend(policy.raw.as_deref().map(raw::render));
    if policy.when_unsupported != default.when_unsupported {
        members.insert(WHEN_UNSUPPORTED.to_owned(), json!(policy.when_unsupported.as_str()));
    }
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

/// Takes what a vendor's `policy` column holds out of its table.
pub fn read_vendor_policy(vendor: &mut Vendor, table: &mut Table, faults: &mut Faults) {
    read_pool_policy(&mut vendor.pool, table, faults);
    vendor.options = options::read(table, faults);
}

/// The members that [`read_vendor_policy`] takes.
pub fn vendor_policy(vendor: &Vendor) -> Map<String, Value> {
    let mut members = pool_policy(&vendor.pool);
    members.extend(options::render(&vendor.options));
    members
}
