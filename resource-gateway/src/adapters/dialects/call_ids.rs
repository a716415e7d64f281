//! Names of calls that are made fit for a format. A conversation brings those of other vendors, which may hold anything; call and
//! answer are made fit alike, and no two names come out as one, as far as the format has room.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// Anthropic's and Bedrock's: `[a-zA-Z0-9_-]{1,64}`. OpenAI takes as many characters.
const MOST: usize = 64;
/// Kept of a name that does not fit, for those who read it; one goes between, and 43 stand for all of it.
const OWN: usize = 20;

/// A name of 1 to 64 letters, digits, `_` and `-`.
pub(super) fn fit(id: &str) -> Cow<'_, str> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if (1..=MOST).contains(&id.len()) && id.chars().all(is_fit) {
        return id.into();
    }
    let own: String = id.chars().take(OWN).map(|c| if is_fit(c) { c } else { '_' }).collect();
    format!("{own}_{}", URL_SAFE_NO_PAD.encode(Sha256::digest(id))).into()
}

/// Mistral's: nine letters and digits, of a name that does not fit those that stand for all of it.
pub(super) fn nine(id: &str) -> Cow<'_, str> {
    const NINE: usize = 9;
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    if id.len() == NINE && id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return id.into();
    }
    let mut rest = Sha256::digest(id)
        .iter()
        .take(8)
        .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    let mut fitted = String::with_capacity(NINE);
    for _ in 0..NINE {
        fitted.extend(DIGITS.get((rest % 62) as usize).copied().map(char::from));
        rest /= 62;
    }
    fitted.into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_fit_stay_and_others_are_told_apart() {
        let longest = "a".repeat(64);
        for fits in ["call_1", "toolu_01-x", "_", longest.as_str()] {
            assert_eq!(fit(fits), fits);
        }
        let others = ["functions.f:0", "functions_f:0", "functions.f.0", "", " ", "ü"];
        let longer = ["a".repeat(65), "a".repeat(66)];
        let all = others.into_iter().chain(longer.iter().map(String::as_str));
        let fitted: HashSet<_> = all.map(|id| fit(id).into_owned()).collect();
        assert_eq!(fitted.len(), 8);
    }

    #[test]
    fn nine_characters_stay_and_others_become_nine_that_are_their_own() {
        assert_eq!(nine("D681PevKs"), "D681PevKs");
        let others = ["call_abc1", "call_abc", "D681PevKs1", "toolu_01", "", "ü"];
        let fitted: HashSet<_> = others.iter().map(|id| nine(id).into_owned()).collect();
        assert_eq!(fitted.len(), others.len());
        let fits = |id: &String| id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        assert!(fitted.iter().all(fits), "{fitted:?}");
    }

    proptest! {
        #[test]
        fn every_name_is_made_fit_and_then_stays(id in "\\PC{0,80}") {
            let fitted = fit(&id).into_owned();
            prop_assert!((1..=64).contains(&fitted.len()));
            prop_assert!(fitted.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'));
            prop_assert_eq!(fit(&fitted), fitted.as_str());
        }
    }
}
