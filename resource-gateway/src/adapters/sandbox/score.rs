//! Scores that the simulator makes up: the same for the same content, and some of them low whatever the content.

use sha2::{Digest as _, Sha256};

/// Numbers drawn from content.
pub(super) struct Draw {
    digest: [u8; 32],
    at: usize,
}

impl Draw {
    pub(super) fn of(content: &[u8]) -> Self {
        Self {
            digest: Sha256::digest(content).into(),
            at: 0,
        }
    }

    pub(super) fn byte(&mut self) -> u8 {
        let byte = self
            .digest
            .get(self.at % self.digest.len())
            .copied()
            .unwrap_or_default();
        self.at += 1;
        byte
    }

    /// One of several.
    pub(super) fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        of.get(usize::from(self.byte()) % of.len().max(1)).copied()
    }

    /// From 0 up to but without 1.
    pub(super) fn share(&mut self) -> f64 {
        f64::from(self.byte()) / 256.0
    }

    /// Scores spread over the whole range: one in each part of it, beginning in any. A threshold always has something to drop and
    /// something to keep.
    pub(super) fn scores(&mut self, count: u8) -> Vec<f64> {
        let first = self.byte();
        let score = |at: u8| {
            let part = (u32::from(first) + u32::from(at)) % u32::from(count.max(1));
            let exact = (f64::from(part) + self.share()) / f64::from(count.max(1));
            (exact * 1000.0).floor() / 1000.0
        };
        (0..count).map(score).collect()
    }

    /// An id that says where it comes from.
    pub(super) fn id(&self, kind: &str) -> String {
        let hex: String = self
            .digest
            .iter()
            .take(8)
            .flat_map(|byte| [byte >> 4, byte & 15])
            .filter_map(|digit| char::from_digit(digit.into(), 16))
            .collect();
        format!("{kind}-sandbox-{hex}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_spread_over_the_whole_range() {
        for content in ["", "a", "b", "c"] {
            let mut scores = Draw::of(content.as_bytes()).scores(5);
            assert_eq!(scores, Draw::of(content.as_bytes()).scores(5));
            scores.sort_by(f64::total_cmp);
            for (part, score) in (0..5u8).zip(scores) {
                assert!(
                    (f64::from(part) / 5.0..f64::from(part + 1) / 5.0).contains(&score),
                    "{score}"
                );
            }
        }
        assert_ne!(Draw::of(b"a").scores(5), Draw::of(b"b").scores(5));
        assert!(Draw::of(b"a").id("ocr").starts_with("ocr-sandbox-"));
    }
}
