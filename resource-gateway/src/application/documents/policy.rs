//! What stands in the `policy` columns: settings that came after the first schema, so that a new one needs no migration.

use serde_json::{Map, Value, json};

use super::{Faults, Table, limits, read_limits};
use crate::domain::{interface::Policy, vendor::Pool};

/// The members of an interface that are read here, for error texts.
pub(super) const INTERFACE_MEMBERS: &str = "max_attempts, limits";
/// The same of a vendor's pool.
pub(super) const POOL_MEMBERS: &str = "discovery";

/// Takes an interface's policy out of its table.
pub fn read_interface_policy(table: &mut Table, faults: &mut Faults) -> Policy {
    let default = Policy::default();
    table.refuse(&["min_confidence", "cache_ttl_s"], faults);
    Policy {
        max_attempts: table
            .number("max_attempts", 1..=Policy::MOST_ATTEMPTS, faults)
            .unwrap_or(default.max_attempts),
        limits: read_limits(table, faults),
    }
}

/// The members that [`read_interface_policy`] takes.
pub fn interface_policy(policy: &Policy) -> Map<String, Value> {
    let mut members = Map::from_iter([("max_attempts".to_owned(), json!(policy.max_attempts))]);
    members.extend(limits(&policy.limits));
    members
}

/// Takes what a pool has besides strategy and addresses out of its table.
pub fn read_pool_policy(_pool: &mut Pool, table: &mut Table, faults: &mut Faults) {
    discovery(table, faults);
    table.refuse(&["hash_key"], faults);
}

/// The members that [`read_pool_policy`] takes.
pub fn pool_policy(_pool: &Pool) -> Map<String, Value> {
    Map::new()
}

/// The list in the document is the only discovery of this version, and naming it says nothing new.
fn discovery(table: &mut Table, faults: &mut Faults) {
    let Some(word) = table.text("discovery", faults) else {
        return;
    };
    match word.as_str() {
        "static" => {}
        "dns" | "etcd" => faults.add(
            table.at("discovery"),
            format!("{word:?} is not supported by this version"),
        ),
        _ => faults.add(
            table.at("discovery"),
            format!("unknown discovery {word:?}; known is static"),
        ),
    }
}
