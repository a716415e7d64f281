//! Chance for one request, from one random number.

/// Numbers that look random, all from one seed (SplitMix64). For choices, not for secrets.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        super::mix(self.0)
    }

    /// A number below `limit`; 0 when there is none.
    pub fn below(&mut self, limit: u64) -> u64 {
        // Multiplied instead of divided: the upper half is evenly spread, with an error below limit / 2^64.
        let wide = u128::from(self.roll()) * u128::from(limit);
        u64::try_from(wide >> 64).unwrap_or(0)
    }
}
