//! How the written form says which address and which route a call takes.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Faults, Place, Table, table::to_ms};
use crate::domain::{
    balance::HashKey,
    breaker::BreakerPolicy,
    interface::Policy,
    vendor::{Discovery, HealthCheck, Pool},
};

pub(super) fn read_interface(policy: &mut Policy, table: &mut Table, faults: &mut Faults) {
    policy.sticky = table.table("sticky", faults).and_then(|mut table| {
        let text = table.required_text("by", faults);
        let key = text.and_then(|text| hash_key(table.at("by"), &text, faults));
        table.finish(faults);
        key
    });
    policy.hedge_after = table.millis("hedge_after_ms", 1, faults);
}

pub(super) fn render_interface(policy: &Policy, members: &mut Map<String, Value>) {
    if let Some(key) = &policy.sticky {
        members.insert("sticky".to_owned(), json!({"by": key.to_text()}));
    }
    if let Some(time) = policy.hedge_after {
        members.insert("hedge_after_ms".to_owned(), to_ms(time));
    }
}

pub(super) fn read_pool(pool: &mut Pool, table: &mut Table, faults: &mut Faults) {
    let text = table.text("hash_key", faults);
    pool.hash_key = text.and_then(|text| hash_key(table.at("hash_key"), &text, faults));
    pool.discovery = discovery(table, faults);
    pool.slow_start = table.millis("slow_start_ms", 0, faults).unwrap_or(pool.slow_start);
    if let Some(table) = table.table("breaker", faults) {
        pool.breaker = breaker(table, faults);
    }
    pool.health = table
        .table("health", faults)
        .and_then(|table| health(table, faults))
        .map(Box::new);
}

/// What is as it is by default is left out.
pub(super) fn render_pool(pool: &Pool, members: &mut Map<String, Value>) {
    let mut set = |name: &str, value: Value| members.insert(name.to_owned(), value);
    let default = Pool::default();
    if let Some(key) = &pool.hash_key {
        set("hash_key", json!(key.to_text()));
    }
    if pool.discovery != default.discovery {
        set("discovery", json!(pool.discovery.as_str()));
    }
    if pool.slow_start != default.slow_start {
        set("slow_start_ms", to_ms(pool.slow_start));
    }
    if pool.breaker != default.breaker {
        let breaker = &pool.breaker;
        let value = json!({"consecutive_failures": breaker.consecutive_failures,
            "failure_ratio": f64::from(breaker.failure_permille) / 1000.0, "window_ms": to_ms(breaker.window),
            "minimum_calls": breaker.minimum_calls, "open_ms": to_ms(breaker.open), "max_open_ms": to_ms(breaker.max_open)});
        set("breaker", value);
    }
    if let Some(health) = &pool.health {
        let value = json!({"path": health.path, "interval_ms": to_ms(health.interval),
            "timeout_ms": to_ms(health.timeout), "expect_status": health.expect_status});
        set("health", value);
    }
}

fn hash_key(place: Place, text: &str, faults: &mut Faults) -> Option<HashKey> {
    HashKey::parse(text)
        .map_err(|error| faults.add(place, error.to_string()))
        .ok()
}

fn discovery(table: &mut Table, faults: &mut Faults) -> Discovery {
    let Some(word) = table.text("discovery", faults) else {
        return Discovery::default();
    };
    let known = Discovery::parse(&word);
    if known.is_none() {
        let reason = match word.as_str() {
            "etcd" => "\"etcd\" is not supported by this version".to_owned(),
            _ => format!("unknown discovery {word:?}; known are static, dns"),
        };
        faults.add(table.at("discovery"), reason);
    }
    known.unwrap_or_default()
}

fn breaker(mut table: Table, faults: &mut Faults) -> BreakerPolicy {
    let default = BreakerPolicy::default();
    let ratio = table.take("failure_ratio").map(|value| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be from 0 to 1"
        )]
        let permille = value
            .as_f64()
            .filter(|ratio| (0.0..=1.0).contains(ratio))
            .map(|ratio| (ratio * 1000.0).round() as u32);
        permille.unwrap_or_else(|| {
            faults.add(table.at("failure_ratio"), "must be a number from 0 to 1");
            default.failure_permille
        })
    });
    let mut time = |name: &str, least: u32, default: Duration| table.millis(name, least, faults).unwrap_or(default);
    let window = time("window_ms", 100, default.window);
    let open = time("open_ms", 1, default.open);
    let max_open = time("max_open_ms", 1, default.max_open.max(open));
    if max_open < open {
        faults.add(table.at("max_open_ms"), "must not be less than open_ms");
    }
    let mut count = |name: &str, low: u32, default: u32| table.number(name, low..=1_000_000, faults).unwrap_or(default);
    let policy = BreakerPolicy {
        consecutive_failures: count("consecutive_failures", 0, default.consecutive_failures),
        failure_permille: ratio.unwrap_or(default.failure_permille),
        window,
        minimum_calls: count("minimum_calls", 1, default.minimum_calls),
        open,
        max_open,
    };
    table.finish(faults);
    policy
}

fn health(mut table: Table, faults: &mut Faults) -> Option<HealthCheck> {
    let path = table.required_text("path", faults);
    let path = path.filter(|path| {
        let legal = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if !legal {
            faults.add(table.at("path"), "must be the path of a URL, with a leading slash");
        }
        legal
    });
    let interval = table.millis("interval_ms", 100, faults);
    let timeout = table.number("timeout_ms", 1..=60_000, faults).unwrap_or(2000);
    let status = table.number("expect_status", 100..=599, faults).unwrap_or(200);
    table.finish(faults);
    Some(HealthCheck {
        path: path?.into(),
        interval: interval.unwrap_or(Duration::from_secs(10)),
        timeout: Duration::from_millis(u64::from(timeout)),
        expect_status: u16::try_from(status).unwrap_or(200),
    })
}
