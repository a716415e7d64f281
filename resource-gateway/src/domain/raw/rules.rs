//! What an interface with raw calls must be, and what it cannot have: a policy that could not hold is never published.

use super::super::{
    interface::{Capability, Interface},
    limits::Measure,
    snapshot::FaultReason,
};

/// Notes what does not fit, by its path.
pub(in crate::domain) fn check_interface(interface: &Interface, fault: &mut impl FnMut(String, FaultReason)) {
    let policy = &interface.policy;
    let raw = interface.capability == Capability::Raw;
    if !raw {
        if policy.raw.is_some() {
            fault("raw".to_owned(), FaultReason::OtherCapability(Capability::Raw.as_str()));
        }
        return;
    }
    if policy.raw.as_ref().is_none_or(|policy| policy.allow.is_empty()) {
        fault("raw.allow".to_owned(), FaultReason::NothingAllowed);
    }
    for (path, there, why) in [
        (
            "cache_ttl_s",
            policy.cache_ttl.is_some(),
            "what a vendor's answer depends on is not known",
        ),
        ("jobs", policy.jobs.enabled.is_on(), "raw calls are answered at once"),
        (
            "limits.tokens_per_minute",
            policy.limits.of(Measure::TokensPerMinute).is_some(),
            "nobody counts the tokens of raw calls",
        ),
    ] {
        if there {
            fault(path.to_owned(), FaultReason::NotForRaw(why));
        }
    }
}
