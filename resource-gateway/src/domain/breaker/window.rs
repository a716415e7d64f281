//! Calls and failures of the last while, in a fixed number of slots.

use std::time::Duration;

use super::Outcome;

pub(super) const SLOTS: u64 = 10;
const SLOT_COUNT: usize = 10;

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// Which stretch of time it counts; numbered from 1, so that 0 is an unused slot.
    number: u64,
    calls: u32,
    failures: u32,
}

/// A sliding window that moves on by a tenth of its length.
#[derive(Debug, Clone, Default)]
pub(super) struct Window([Slot; SLOT_COUNT]);

impl Window {
    pub(super) fn note(&mut self, now: Duration, length: Duration, outcome: Outcome) {
        let number = number_of(now, length);
        let place = usize::try_from(number % SLOTS).unwrap_or(0);
        let Some(slot) = self.0.get_mut(place) else { return };
        if slot.number != number {
            *slot = Slot {
                number,
                ..Slot::default()
            };
        }
        slot.calls = slot.calls.saturating_add(1);
        if matches!(outcome, Outcome::Failure { .. }) {
            slot.failures = slot.failures.saturating_add(1);
        }
    }

    /// Calls and failures.
    pub(super) fn totals(&self, now: Duration, length: Duration) -> (u64, u64) {
        let current = number_of(now, length);
        let live = self.0.iter().filter(|slot| slot.number + SLOTS > current);
        live.fold((0, 0), |(calls, failures), slot| {
            (calls + u64::from(slot.calls), failures + u64::from(slot.failures))
        })
    }
}

fn number_of(now: Duration, length: Duration) -> u64 {
    let slot = (length.as_millis() / u128::from(SLOTS)).max(1);
    u64::try_from(now.as_millis() / slot).unwrap_or(u64::MAX - SLOTS) + 1
}
