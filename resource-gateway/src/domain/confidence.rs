//! How sure an answer has to be of its parts.

use serde_json::Number;

/// A score, or the least score that is good enough: 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Confidence(f64);

/// The value is no confidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a number from 0 to 1")]
pub struct InvalidConfidence;

impl Confidence {
    /// # Errors
    /// The number is outside 0 to 1, or none at all.
    pub fn new(number: f64) -> Result<Self, InvalidConfidence> {
        if (0.0..=1.0).contains(&number) {
            Ok(Self(number))
        } else {
            Err(InvalidConfidence)
        }
    }

    /// Reads a number as JSON writes it: no sign in front, no `nan`, nothing beside it.
    ///
    /// # Errors
    /// [`InvalidConfidence`].
    pub fn read(text: &str) -> Result<Self, InvalidConfidence> {
        let number: Number = serde_json::from_str(text).map_err(|_| InvalidConfidence)?;
        Self::new(number.as_f64().ok_or(InvalidConfidence)?)
    }

    pub fn get(self) -> f64 {
        self.0
    }

    /// Of two thresholds the one that lets less through. A caller may ask for more than the operator wants, never for less.
    pub fn stricter(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (Some(one), Some(other)) => Some(if one < other { other } else { one }),
            (one, other) => one.or(other),
        }
    }
}

/// A part of an answer that may say how sure it is.
pub trait Scored {
    /// 0 to 1; `None` when the vendor did not say.
    fn score(&self) -> Option<f64>;
}

/// Drops the parts whose score is below the threshold and says how many those were. A score equal to it is good enough. A part
/// without a score stays: nothing is known against it.
pub fn hold<T: Scored>(parts: &mut Vec<T>, least: Confidence) -> u64 {
    let before = parts.len();
    parts.retain(|part| is_sure(part, least));
    (before - parts.len()) as u64
}

/// Whether a part stays.
pub fn is_sure(part: &impl Scored, least: Confidence) -> bool {
    part.score().is_none_or(|score| score >= least.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl Scored for Option<f64> {
        fn score(&self) -> Option<f64> {
            *self
        }
    }

    fn least(number: f64) -> Confidence {
        Confidence::new(number).unwrap()
    }

    #[test]
    fn a_threshold_is_a_json_number_from_0_to_1() {
        for (text, good) in [
            ("0", true),
            ("1", true),
            ("1.0", true),
            ("0.75", true),
            ("5e-1", true),
            ("-0.0", true),
            ("1.0000001", false),
            ("-0.1", false),
            ("1e999", false),
            ("nan", false),
            ("NaN", false),
            ("inf", false),
            ("+0.5", false),
            (".5", false),
            ("0.5 0.6", false),
            ("\"0.5\"", false),
            ("null", false),
            ("", false),
        ] {
            assert_eq!(Confidence::read(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn what_is_exactly_sure_enough_stays() {
        let mut parts = vec![Some(0.799_999), Some(0.8), Some(0.800_001), None];
        assert_eq!(hold(&mut parts, least(0.8)), 1);
        assert_eq!(parts, [Some(0.8), Some(0.800_001), None]);
        assert_eq!(hold(&mut vec![Some(1.0), Some(0.0)], least(0.0)), 0);
        assert_eq!(hold(&mut vec![Some(1.0), Some(0.999)], least(1.0)), 1);
    }

    #[test]
    fn a_caller_can_only_be_stricter() {
        let (lax, strict) = (Some(least(0.2)), Some(least(0.7)));
        assert_eq!(Confidence::stricter(lax, strict), strict);
        assert_eq!(Confidence::stricter(strict, lax), strict);
        assert_eq!(Confidence::stricter(strict, None), strict);
        assert_eq!(Confidence::stricter(None, lax), lax);
        assert_eq!(Confidence::stricter(None, None), None);
    }

    proptest! {
        #[test]
        fn what_stays_is_sure_and_in_order_and_what_goes_is_counted(
            scores in proptest::collection::vec(proptest::option::of(0.0..=1.0f64), 0..20),
            threshold in 0.0..=1.0f64,
            stricter in 0.0..=1.0f64,
        ) {
            let mut held = scores.clone();
            let dropped = hold(&mut held, least(threshold));
            prop_assert_eq!(held.len() as u64 + dropped, scores.len() as u64);
            let wanted: Vec<_> = scores.iter().copied().filter(|score| score.is_none_or(|score| score >= threshold)).collect();
            prop_assert_eq!(&held, &wanted);
            // Once is enough, and one after the other is as strict as the stricter of both.
            prop_assert_eq!(hold(&mut held, least(threshold)), 0);
            let both = Confidence::stricter(Some(least(threshold)), Some(least(stricter))).unwrap();
            let mut at_once = scores.clone();
            hold(&mut at_once, both);
            hold(&mut held, least(stricter));
            prop_assert_eq!(held, at_once);
        }
    }
}
