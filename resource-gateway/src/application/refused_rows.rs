//! Of refused calls only so many leave a row: a client in a loop of retries must not fill the table of usage.

use std::{
    hash::{BuildHasher as _, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering},
};

use metrics::{Counter, counter, describe_counter};
use service_kit::Timestamp;

use crate::domain::usage::UsageRecord;

const UNRECORDED: &str = "gateway_refused_calls_unrecorded_total";

/// Rows that the refused calls of one client at one interface leave in a minute, on each node.
pub const MOST_A_MINUTE: u64 = 1000;
/// Clients and interfaces are told apart by hash; two that share a place share its rows.
const PLACES: usize = 4096;
const COUNT_BITS: u32 = 16;

/// Counts rows of refused calls. Takes no more room however many clients there are, and no lock.
pub struct RefusedRows {
    /// The minute, and in the lowest bits how many there were in it.
    places: Box<[AtomicU64]>,
    hasher: RandomState,
    unrecorded: Counter,
}

impl RefusedRows {
    pub fn new() -> Self {
        describe_counter!(
            UNRECORDED,
            "Refused calls that left no usage row, because there were too many of them"
        );
        Self {
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
            hasher: RandomState::new(),
            unrecorded: counter!(UNRECORDED),
        }
    }

    /// Whether this one leaves a row.
    pub fn admit(&self, record: &UsageRecord) -> bool {
        let who = (record.tenant.as_ref(), &record.client_id, &record.interface);
        self.admit_at(who, record.time)
    }

    fn admit_at(&self, who: impl Hash, time: Timestamp) -> bool {
        let place = usize::try_from(self.hasher.hash_one(who) % PLACES as u64).unwrap_or(0);
        let Some(place) = self.places.get(place) else {
            return true;
        };
        let minute = u64::try_from(time.as_seconds().max(0)).unwrap_or(0) / 60;
        let counted = place.fetch_update(Ordering::AcqRel, Ordering::Acquire, |seen| {
            let count = match seen >> COUNT_BITS == minute {
                true => seen & ((1 << COUNT_BITS) - 1),
                false => 0,
            };
            (count < MOST_A_MINUTE).then_some((minute << COUNT_BITS) + count + 1)
        });
        if counted.is_err() {
            self.unrecorded.increment(1);
        }
        counted.is_ok()
    }
}

impl Default for RefusedRows {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for RefusedRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RefusedRows").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_are_allowed_leave_a_row_in_each_minute() {
        let rows = RefusedRows::new();
        let at = |second: i64| Timestamp::from_micros(second * 1_000_000);
        let admitted = |who: &str, second| (0..=MOST_A_MINUTE).filter(|_| rows.admit_at(who, at(second))).count();
        let most = usize::try_from(MOST_A_MINUTE).unwrap();
        assert_eq!(admitted("a", 60), most);
        assert!(!rows.admit_at("a", at(119)), "the same minute");
        assert!(rows.admit_at("a", at(120)), "the next one");
        let others = (0..20).filter(|other| rows.admit_at(other, at(60))).count();
        assert!(others >= 19, "those of others do not count");
    }
}
