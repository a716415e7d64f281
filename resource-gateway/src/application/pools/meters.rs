//! What balancing counts: fixed names, fixed labels.

use metrics::{Counter, counter, describe_counter};

use crate::domain::breaker::Transition;

const TRANSITIONS: &str = "gateway_breaker_transitions_total";
const RETRIES: &str = "gateway_retries_total";
const LAST_RESORTS: &str = "gateway_last_resort_picks_total";
const CHECKS: &str = "gateway_health_checks_total";

/// Where a call is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// At another address of the same vendor.
    Address,
    /// By the next route.
    Route,
    /// At the only address there is, after the time that it asked for.
    Wait,
    /// At a second address while the first has not answered.
    Hedge,
}

/// The counters of breakers and retries.
#[derive(Debug)]
pub struct BalanceMeters {
    opened: Counter,
    half_opened: Counter,
    closed: Counter,
    address: Counter,
    route: Counter,
    wait: Counter,
    hedge: Counter,
    last_resorts: Counter,
    passed: Counter,
    failed: Counter,
}

impl BalanceMeters {
    pub(super) fn new() -> Self {
        describe_counter!(TRANSITIONS, "Changes of breakers, by the state that they came to");
        describe_counter!(RETRIES, "Calls that were tried again, by where");
        describe_counter!(
            LAST_RESORTS,
            "Calls to addresses that were to be left alone, because there was no other"
        );
        describe_counter!(CHECKS, "Health checks of addresses");
        Self {
            opened: counter!(TRANSITIONS, "to" => "open"),
            half_opened: counter!(TRANSITIONS, "to" => "half_open"),
            closed: counter!(TRANSITIONS, "to" => "closed"),
            address: counter!(RETRIES, "at" => "address"),
            route: counter!(RETRIES, "at" => "route"),
            wait: counter!(RETRIES, "at" => "same_after_wait"),
            hedge: counter!(RETRIES, "at" => "hedge"),
            last_resorts: counter!(LAST_RESORTS),
            passed: counter!(CHECKS, "result" => "passed"),
            failed: counter!(CHECKS, "result" => "failed"),
        }
    }

    pub(super) fn changed(&self, transition: Transition) {
        let counter = match transition {
            Transition::Opened => &self.opened,
            Transition::HalfOpened => &self.half_opened,
            Transition::Closed => &self.closed,
        };
        counter.increment(1);
    }

    pub(super) fn last_resort(&self) {
        self.last_resorts.increment(1);
    }

    pub(super) fn checked(&self, passed: bool) {
        let counter = if passed { &self.passed } else { &self.failed };
        counter.increment(1);
    }

    pub fn retried(&self, at: Retry) {
        let counter = match at {
            Retry::Address => &self.address,
            Retry::Route => &self.route,
            Retry::Wait => &self.wait,
            Retry::Hedge => &self.hedge,
        };
        counter.increment(1);
    }
}
