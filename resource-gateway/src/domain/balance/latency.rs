//! How long an address takes to answer, as far as one can tell from the last calls.

use std::time::Duration;

/// After this time without a call what was known counts for little more than a third.
pub const LATENCY_TAU: Duration = Duration::from_secs(10);

/// A failed call counts as at least this long: failing fast must not look like being fast.
const LEAST_PENALTY_MICROS: f64 = 1_000_000.0;
const LARGEST_PENALTY_MICROS: f64 = 60_000_000.0;

/// A moving average that jumps up and comes down slowly (peak EWMA): a slow answer is believed at once, a quick one when others
/// confirm it. It fades while nothing is sent, so that an address that was slow is tried again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    pub micros: f32,
    /// When that was; milliseconds of a clock that may wrap.
    pub at_ms: u32,
}

impl Latency {
    /// The estimate at a later time.
    pub fn faded(self, now_ms: u32) -> f64 {
        f64::from(self.micros) * keep(self.at_ms, now_ms)
    }

    /// Takes another sample in.
    #[must_use]
    pub fn observed(known: Option<Self>, sample_micros: f64, now_ms: u32) -> Self {
        let micros = match known {
            Some(known) if f64::from(known.micros) > sample_micros => {
                let keep = keep(known.at_ms, now_ms);
                f64::from(known.micros) * keep + sample_micros * (1.0 - keep)
            }
            _ => sample_micros,
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "an estimate; seven digits are more than it has"
        )]
        let micros = micros as f32;
        Self { micros, at_ms: now_ms }
    }

    /// One word, so that it can be swapped without a lock. Never 0.
    pub fn to_bits(self) -> u64 {
        (u64::from(self.micros.to_bits()) << 32) | u64::from(self.at_ms | 1)
    }

    /// `None` for 0, which stands for nothing known.
    pub fn from_bits(bits: u64) -> Option<Self> {
        let upper = u32::try_from(bits >> 32).ok()?;
        let at_ms = u32::try_from(bits & u64::from(u32::MAX)).ok()?;
        (bits != 0).then(|| Self {
            micros: f32::from_bits(upper),
            at_ms,
        })
    }
}

/// What a failed call counts as: more than it took, and twice what was expected.
pub fn penalised(known: Option<f64>, took_micros: f64) -> f64 {
    let expected = known.unwrap_or(0.0) * 2.0;
    expected
        .max(took_micros)
        .clamp(LEAST_PENALTY_MICROS, LARGEST_PENALTY_MICROS)
}

fn keep(then_ms: u32, now_ms: u32) -> f64 {
    let idle = now_ms.wrapping_sub(then_ms);
    // Two threads may have read the clock in the other order.
    let idle = if idle > u32::MAX / 2 { 0 } else { idle };
    (-f64::from(idle) / (LATENCY_TAU.as_secs_f64() * 1000.0)).exp()
}
