//! What Spark's numbers mean, over whichever transport they come.

use crate::domain::fault::FaultClass;

/// `None`: nothing that is known.
pub(super) fn class_of(code: u32) -> Option<FaultClass> {
    Some(match code {
        10003..=10006 | 10163 | 10404 | 10907 => FaultClass::InvalidRequest,
        10007 | 11202 | 11203 => FaultClass::RateLimit,
        10008 | 10010 | 10110 => FaultClass::Overloaded,
        10013 | 10014 | 10019 => FaultClass::ContentFilter,
        11200 => FaultClass::Permission,
        11201 => FaultClass::QuotaExceeded,
        _ => return None,
    })
}
