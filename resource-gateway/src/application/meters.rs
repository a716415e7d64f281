//! Counters and histograms, registered once: fixed names, fixed labels, no look-up per request.

use std::time::Duration;

use metrics::{Counter, Histogram, Unit, counter, describe_counter, describe_histogram, histogram};

use super::refused_rows::RefusedRows;
use crate::domain::{caller::Denied, fault::FaultClass, interface::Capability, usage::UsageRecord, usage::UsageState};

const CALLS: &str = "gateway_calls_total";
const FAULTS: &str = "gateway_upstream_faults_total";
const TOKENS: &str = "gateway_tokens_total";
const REFUSALS: &str = "gateway_refused_callers_total";
const DURATION: &str = "gateway_call_duration_seconds";
const FIRST_BYTE: &str = "gateway_first_byte_seconds";

/// Why a caller was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    NoToken,
    BadToken,
    RevokedToken,
    Possession,
    BadSignature,
    Scope,
    Interface,
    Details,
    RateLimit,
    Permission,
}

impl Refusal {
    const ALL: [Self; 10] = [
        Self::NoToken,
        Self::BadToken,
        Self::RevokedToken,
        Self::Possession,
        Self::BadSignature,
        Self::Scope,
        Self::Interface,
        Self::Details,
        Self::RateLimit,
        Self::Permission,
    ];

    fn of(denied: &Denied) -> Self {
        match denied {
            Denied::Scope(_) => Self::Scope,
            Denied::Interface => Self::Interface,
            Denied::Details | Denied::DetailsEnded => Self::Details,
            Denied::Permission(_) | Denied::Installation(_) => Self::Permission,
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::NoToken => "no_token",
            Self::BadToken => "bad_token",
            Self::RevokedToken => "revoked_token",
            Self::Possession => "possession",
            Self::BadSignature => "bad_signature",
            Self::Scope => "scope",
            Self::Interface => "interface",
            Self::Details => "authorization_details",
            Self::RateLimit => "rate_limit",
            Self::Permission => "permission",
        }
    }
}

/// What the gateway counts.
#[derive(Debug)]
pub struct Meters {
    calls: Vec<CallMeters>,
    faults: Vec<(FaultClass, Counter)>,
    refusals: Vec<(Refusal, Counter)>,
    /// Which refused calls leave a row.
    pub refused_rows: RefusedRows,
}

#[derive(Debug)]
struct CallMeters {
    capability: Capability,
    states: Vec<(UsageState, Counter)>,
    input: Counter,
    output: Counter,
    duration: Histogram,
    first_byte: Histogram,
}

impl Meters {
    /// Registers the meters of the capabilities that this version has.
    pub fn new(capabilities: &[Capability]) -> Self {
        describe_counter!(CALLS, "AI calls by how they ended");
        describe_counter!(FAULTS, "Failures of vendors, by class, failed attempts included");
        describe_counter!(TOKENS, "Tokens, as in the usage records");
        describe_counter!(REFUSALS, "Callers that were turned away");
        describe_histogram!(DURATION, Unit::Seconds, "Time from the request to the end of the reply");
        describe_histogram!(
            FIRST_BYTE,
            Unit::Seconds,
            "Time from the request to the first byte of the reply"
        );
        Self {
            calls: capabilities
                .iter()
                .map(|capability| CallMeters::new(*capability))
                .collect(),
            faults: FaultClass::ALL
                .map(|class| (class, counter!(FAULTS, "class" => class.label())))
                .into(),
            refusals: Refusal::ALL
                .map(|why| (why, counter!(REFUSALS, "reason" => why.label())))
                .into(),
            refused_rows: RefusedRows::new(),
        }
    }

    pub fn call_ended(&self, record: &UsageRecord, duration: Duration, first_byte: Option<Duration>) {
        let Some(meters) = self.calls.iter().find(|meters| meters.capability == record.capability) else {
            return;
        };
        if let Some((_, counter)) = meters.states.iter().find(|(state, _)| *state == record.state) {
            counter.increment(1);
        }
        meters.input.increment(record.input_tokens);
        meters.output.increment(record.output_tokens);
        meters.duration.record(duration);
        if let Some(first_byte) = first_byte {
            meters.first_byte.record(first_byte);
        }
    }

    pub fn vendor_failed(&self, class: FaultClass) {
        if let Some((_, counter)) = self.faults.iter().find(|(known, _)| *known == class) {
            counter.increment(1);
        }
    }

    /// To be called where a denial is answered, and nowhere else: there it is one, however many places asked before.
    pub fn denied(&self, denied: &Denied) {
        self.refused(Refusal::of(denied));
    }

    pub fn refused(&self, why: Refusal) {
        if let Some((_, counter)) = self.refusals.iter().find(|(known, _)| *known == why) {
            counter.increment(1);
        }
    }
}

impl CallMeters {
    fn new(capability: Capability) -> Self {
        let label = capability.as_str();
        let state = |state: UsageState| (state, counter!(CALLS, "capability" => label, "state" => state.as_str()));
        Self {
            capability,
            states: UsageState::ALL.map(state).into(),
            input: counter!(TOKENS, "capability" => label, "direction" => "input"),
            output: counter!(TOKENS, "capability" => label, "direction" => "output"),
            duration: histogram!(DURATION, "capability" => label),
            first_byte: histogram!(FIRST_BYTE, "capability" => label),
        }
    }
}
