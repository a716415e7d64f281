//! Limits: how many requests and tokens may pass in a time, and how many requests at once.
//!
//! A rate is a leaky bucket in whole numbers, which is GCRA in another notation: every unit that passes adds to a debt, the debt
//! drains steadily, and what would lift it over the limit has to wait. Nothing is rounded, so that a limit of N lets exactly N
//! pass at once and then one more after exactly a period's Nth part.

use std::{fmt, ops::RangeInclusive, time::Duration};

use super::vendor::Switch;

/// Ten microseconds: the unit of time in which debts drain. With it the debts of the largest limit stay below 2^53, the largest
/// range of whole numbers that the shared store's scripts can count in.
const TICK_MICROS: u64 = 10;

/// Whoever waits for a slot of a concurrency limit cannot be told when one comes free. They come back after this.
pub const SLOT_WAIT: Duration = Duration::from_secs(1);

/// What an operator allows: of an interface as a whole, or of those whom a quota selects. What is absent is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub requests_per_second: Option<u32>,
    pub requests_per_minute: Option<u32>,
    /// Input and output together.
    pub tokens_per_minute: Option<u32>,
    /// Requests at once, streams until their end.
    pub concurrency: Option<u32>,
    /// Only tell what would be refused.
    pub shadow: Switch,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            requests_per_second: None,
            requests_per_minute: None,
            tokens_per_minute: None,
            concurrency: None,
            shadow: Switch::Off,
        }
    }
}

impl Limits {
    /// What is set, in one order.
    pub fn measures(&self) -> impl Iterator<Item = (Measure, u32)> {
        Measure::ALL
            .into_iter()
            .filter_map(|measure| Some((measure, self.of(measure)?)))
    }

    pub fn of(&self, measure: Measure) -> Option<u32> {
        match measure {
            Measure::RequestsPerSecond => self.requests_per_second,
            Measure::RequestsPerMinute => self.requests_per_minute,
            Measure::TokensPerMinute => self.tokens_per_minute,
            Measure::Concurrency => self.concurrency,
        }
    }

    pub fn set(&mut self, measure: Measure, limit: Option<u32>) {
        match measure {
            Measure::RequestsPerSecond => self.requests_per_second = limit,
            Measure::RequestsPerMinute => self.requests_per_minute = limit,
            Measure::TokensPerMinute => self.tokens_per_minute = limit,
            Measure::Concurrency => self.concurrency = limit,
        }
    }

    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.measures().next().is_none()
    }
}

/// What a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measure {
    RequestsPerSecond,
    RequestsPerMinute,
    TokensPerMinute,
    Concurrency,
}

impl Measure {
    pub const ALL: [Self; 4] = [
        Self::RequestsPerSecond,
        Self::RequestsPerMinute,
        Self::TokensPerMinute,
        Self::Concurrency,
    ];

    /// As in settings, metrics and headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests_per_second",
            Self::RequestsPerMinute => "requests_per_minute",
            Self::TokensPerMinute => "tokens_per_minute",
            Self::Concurrency => "concurrency",
        }
    }

    /// For people.
    pub fn words(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "requests per second",
            Self::RequestsPerMinute => "requests per minute",
            Self::TokensPerMinute => "tokens per minute",
            Self::Concurrency => "requests at once",
        }
    }

    /// Values that can be set. Zero is none of them: what nobody may use is disabled, so that callers are told so.
    pub fn range(self) -> RangeInclusive<u32> {
        match self {
            Self::RequestsPerSecond | Self::RequestsPerMinute => 1..=1_000_000,
            Self::TokensPerMinute => 1..=500_000_000,
            Self::Concurrency => 1..=100_000,
        }
    }

    /// The rate at `limit`; none for what is counted at once.
    pub fn rate(self, limit: u32) -> Option<Rate> {
        let period = match self {
            Self::RequestsPerSecond => Duration::from_secs(1),
            Self::RequestsPerMinute | Self::TokensPerMinute => Duration::from_secs(60),
            Self::Concurrency => return None,
        };
        Some(Rate {
            limit: u64::from(limit),
            period: Ticks::of(period),
        })
    }
}

/// A moment or a length of time in the unit in which debts drain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(pub u64);

impl Ticks {
    pub fn of(length: Duration) -> Self {
        Self(u64::try_from(length.as_micros()).unwrap_or(u64::MAX) / TICK_MICROS)
    }

    pub fn to_duration(self) -> Duration {
        Duration::from_micros(self.0.saturating_mul(TICK_MICROS))
    }
}

/// So many units in a time, all of them at once if nobody came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub limit: u64,
    pub period: Ticks,
}

/// How full a bucket is: the debt at a moment. A unit weighs as much as the period has ticks, and `limit` drains in each tick.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Level {
    pub debt: u64,
    pub at: Ticks,
}

impl Rate {
    /// The debt of a bucket that is full: nothing more passes.
    fn full(self) -> u64 {
        self.limit.saturating_mul(self.period.0)
    }

    /// What is left of a debt. A clock that went back stands still here: nothing drains, and nothing is owed for it.
    pub fn drained(self, level: Level, now: Ticks) -> u64 {
        let passed = now.0.saturating_sub(level.at.0);
        level.debt.saturating_sub(passed.saturating_mul(self.limit))
    }

    /// What a request is charged that needs `units`: never more than fits into an empty bucket, or it could never pass.
    pub fn cost(self, units: u64) -> u64 {
        units.min(self.limit)
    }

    /// How long until `units` fit beside a debt; none when they fit now.
    pub fn wait(self, debt: u64, units: u64) -> Option<Ticks> {
        let wanted = debt.saturating_add(units.saturating_mul(self.period.0));
        let missing = wanted.checked_sub(self.full()).filter(|missing| *missing > 0)?;
        Some(Ticks(missing.div_ceil(self.limit.max(1))))
    }

    /// The debt after `units` more, or fewer. It never goes below nothing, and never above two full buckets: who used far more
    /// than was estimated waits for one period more and no longer.
    pub fn charged(self, debt: u64, units: i64) -> u64 {
        let change = units.unsigned_abs().saturating_mul(self.period.0);
        let debt = match units < 0 {
            true => debt.saturating_sub(change),
            false => debt.saturating_add(change),
        };
        debt.min(self.full().saturating_mul(2))
    }

    /// Units that would pass now.
    pub fn remaining(self, debt: u64) -> u64 {
        self.full().saturating_sub(debt) / self.period.0.max(1)
    }

    /// Until the bucket is empty again, if nobody comes.
    pub fn reset(self, debt: u64) -> Ticks {
        Ticks(debt.div_ceil(self.limit.max(1)))
    }
}

/// A length of time as OpenAI's headers have it: `20ms`, `1s`, `6m0s`. Rounded up to milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset(pub Duration);

impl fmt::Display for Reset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_micros().div_ceil(1000);
        if millis < 1000 {
            return write!(f, "{millis}ms");
        }
        let (minutes, millis) = (millis / 60_000, millis % 60_000);
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        let (seconds, fraction) = (millis / 1000, millis % 1000);
        if fraction == 0 {
            return write!(f, "{seconds}s");
        }
        let fraction = format!("{fraction:03}");
        write!(f, "{seconds}.{}s", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(measure: Measure, limit: u32) -> Rate {
        measure.rate(limit).unwrap()
    }

    /// How many single units pass at one moment.
    fn burst(rate: Rate, mut debt: u64) -> (u64, u64) {
        let mut passed = 0;
        while rate.wait(debt, 1).is_none() {
            debt = rate.charged(debt, 1);
            passed += 1;
        }
        (passed, debt)
    }

    #[test]
    fn a_limit_lets_exactly_its_number_pass_at_once_and_one_more_after_the_exact_wait() {
        for limit in [1, 2, 3, 7, 10, 64, 999] {
            for measure in [Measure::RequestsPerSecond, Measure::RequestsPerMinute] {
                let rate = rate(measure, limit);
                let (passed, debt) = burst(rate, 0);
                assert_eq!(passed, u64::from(limit), "{measure:?}");
                let wait = rate.wait(debt, 1).unwrap();
                let level = Level { debt, at: Ticks(5) };
                let early = rate.drained(level, Ticks(5 + wait.0 - 1));
                assert!(rate.wait(early, 1).is_some(), "a tick too early");
                let now = rate.drained(level, Ticks(5 + wait.0));
                assert_eq!(burst(rate, now).0, 1, "{limit} {measure:?}");
                let later = rate.drained(level, Ticks(5 + rate.reset(debt).0));
                assert_eq!(burst(rate, later).0, u64::from(limit), "a whole burst after the reset");
            }
        }
    }

    #[test]
    fn the_wait_is_a_periods_nth_part() {
        let rate = rate(Measure::RequestsPerMinute, 10);
        let (_, debt) = burst(rate, 0);
        assert_eq!(rate.wait(debt, 1).unwrap().to_duration(), Duration::from_secs(6));
        assert_eq!(rate.reset(debt).to_duration(), Duration::from_secs(60));
        assert_eq!(rate.remaining(debt), 0);
        assert_eq!(rate.remaining(rate.charged(0, 3)), 7);
    }

    #[test]
    fn the_largest_debt_can_be_counted_by_scripts() {
        for measure in Measure::ALL {
            let Some(rate) = measure.rate(*measure.range().end()) else {
                continue;
            };
            let most = rate.charged(0, i64::MAX);
            assert_eq!(most, rate.full() * 2);
            assert!(most < 1 << 53, "{measure:?}");
        }
    }

    #[test]
    fn a_clock_that_goes_back_neither_drains_nor_charges() {
        let rate = rate(Measure::RequestsPerMinute, 10);
        let level = Level {
            debt: 7,
            at: Ticks(1000),
        };
        assert_eq!(rate.drained(level, Ticks(1)), 7);
    }

    #[test]
    fn resets_are_written_as_openai_writes_them() {
        for (micros, text) in [
            (0, "0ms"),
            (1, "1ms"),
            (20_000, "20ms"),
            (1_000_000, "1s"),
            (1_500_000, "1.5s"),
            (8_640_001, "8.641s"),
            (60_000_000, "1m0s"),
            (360_000_000, "6m0s"),
            (61_250_000, "1m1.25s"),
        ] {
            assert_eq!(Reset(Duration::from_micros(micros)).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn no_order_of_events_lets_more_pass_than_a_burst_and_what_drained(
            limit in 1u32..50,
            events in proptest::collection::vec((0u64..20_000, 1u64..5), 1..200),
        ) {
            let rate = rate(Measure::RequestsPerSecond, limit);
            let (mut level, mut now, mut passed) = (Level::default(), 0, 0);
            for (pause, units) in events {
                now += pause;
                let units = rate.cost(units);
                let debt = rate.drained(level, Ticks(now));
                let debt = match rate.wait(debt, units) {
                    None => {
                        passed += units;
                        rate.charged(debt, i64::try_from(units).unwrap())
                    }
                    Some(wait) => {
                        // The wait is exact: enough then, and not a tick before.
                        let level = Level { debt, at: Ticks(now) };
                        prop_assert!(rate.wait(rate.drained(level, Ticks(now + wait.0)), units).is_none());
                        prop_assert!(rate.wait(rate.drained(level, Ticks(now + wait.0 - 1)), units).is_some());
                        debt
                    }
                };
                level = Level { debt, at: Ticks(now) };
                prop_assert!(passed * rate.period.0 <= rate.full() + now * rate.limit);
            }
        }

        #[test]
        fn what_is_given_back_is_what_was_taken(limit in 1u32..1_000_000, used in 0u64..1000, units in 0i64..1000) {
            let rate = rate(Measure::TokensPerMinute, limit);
            let before = rate.charged(0, i64::try_from(used).unwrap());
            let after = rate.charged(before, units);
            if after < rate.full() * 2 {
                prop_assert_eq!(rate.charged(after, -units), before);
            }
        }
    }
}
