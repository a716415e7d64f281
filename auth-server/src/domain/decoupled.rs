//! Requests that a person decides on somewhere else than where the client runs: the device grant (RFC 8628) and CIBA.
//!
//! Of both the client holds a secret, with which it polls the token endpoint until the person has decided.

use std::{fmt, time::Duration};

use oauth_wire::Scope;
use serde::{Deserialize, Serialize};
use service_kit::Timestamp;

use super::{
    ciba::BindingMessage,
    grant::{Grant, GrantDetails},
    ids::{ClientId, CodeDigest, TenantId, UserId},
};

/// What a client waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecoupledRequest {
    /// Of the `device_code` or the `auth_req_id`.
    pub digest: CodeDigest,
    pub kind: DecoupledKind,
    /// What the person types, in the device grant.
    pub user_code: Option<UserCode>,
    pub client: ClientId,
    pub tenant: TenantId,
    /// Who is asked; in the device grant whoever brings the code, so nobody until then.
    pub user: Option<UserId>,
    pub scope: Scope,
    pub details: GrantDetails,
    /// What the person compares, in CIBA.
    pub message: Option<BindingMessage>,
    /// By which the client is told that the person has decided, if it wants that.
    pub ping: Option<SealedPing>,
    pub requested_at: Timestamp,
    pub expires_at: Timestamp,
    /// How long the client waits between two polls.
    pub interval: Duration,
    /// Until then a poll is too early.
    pub next_poll_at: Timestamp,
    pub state: DecoupledState,
}

/// By which protocol it came. A code of one is nothing in the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DecoupledKind {
    Device,
    Ciba,
}

/// What a client is told with, sealed under the master key: the request's own name and the client's token. Only its sender opens it.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedPing(pub Vec<u8>);

impl fmt::Debug for SealedPing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedPing(…)")
    }
}

/// How far it has got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DecoupledState {
    Pending,
    Denied,
    Allowed(Box<Grant>),
    /// The tokens have been fetched, once.
    Redeemed,
}

/// What a poll finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Poll<'a> {
    Expired,
    Denied,
    Redeemed,
    Allowed(&'a Grant),
    /// Nothing yet; the next poll may come from then on.
    Pending(Pace),
    /// Nothing yet, and sooner than the client was told.
    TooEarly(Pace),
}

/// How often a client may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    pub interval: Duration,
    pub next_poll_at: Timestamp,
}

/// RFC 8628 §3.5: what a poll that comes too early adds to the interval.
const SLOWER: Duration = Duration::from_secs(5);
/// Requests take their time: who waits for the interval may arrive a little early.
const TOLERANCE: Duration = Duration::from_millis(500);

impl DecoupledRequest {
    /// Judges a poll at `now`. Only who waits can be too early: slow_down is a kind of authorization_pending (RFC 8628 §3.5, CIBA §11).
    pub fn judge(&self, now: Timestamp) -> Poll<'_> {
        if now >= self.expires_at {
            return Poll::Expired;
        }
        let paced = |interval: Duration| Pace {
            interval,
            next_poll_at: now + interval,
        };
        match &self.state {
            DecoupledState::Denied => Poll::Denied,
            DecoupledState::Redeemed => Poll::Redeemed,
            DecoupledState::Allowed(grant) => Poll::Allowed(grant),
            DecoupledState::Pending if now + TOLERANCE < self.next_poll_at => {
                Poll::TooEarly(paced(self.interval.saturating_add(SLOWER)))
            }
            DecoupledState::Pending => Poll::Pending(paced(self.interval)),
        }
    }
}

/// What a person carries from a device to a browser (RFC 8628 §6.1).
///
/// Eight of twenty consonants are 34.5 bits: short enough to type, and without vowels no word comes out. That is little for a secret,
/// so what keeps it from being guessed is how often one may try (§5.1): with the ten attempts in ten minutes that one person or one
/// address has, and a thousand devices waiting, a guess finds one of them with a chance of 4 in 10 million in that time, and then
/// gives the guesser's own account to somebody else's device.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserCode(String);

impl UserCode {
    /// No vowels, and no Y: nothing that could be read as another of them.
    pub const ALPHABET: &'static [u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
    pub const LENGTH: usize = 8;
    /// More is not looked at.
    const LONGEST_TYPED: usize = 64;

    /// Makes a code of random bytes, each letter as likely as any other; `None` when there were too few bytes.
    pub fn from_random(bytes: impl IntoIterator<Item = u8>) -> Option<Self> {
        let letters = bytes.into_iter().filter_map(|byte| {
            // 240 is the largest multiple of 20 in a byte: what lies above would favour some letters.
            let letter = Self::ALPHABET.get(usize::from(byte) % Self::ALPHABET.len());
            letter.filter(|_| byte < 240).copied().map(char::from)
        });
        let code: String = letters.take(Self::LENGTH).collect();
        (code.len() == Self::LENGTH).then_some(Self(code))
    }

    /// Reads what somebody typed: in any case, with or without separators, on whatever keyboard.
    pub fn parse(typed: &str) -> Option<Self> {
        if typed.len() > Self::LONGEST_TYPED {
            return None;
        }
        let letters = typed.chars().map(narrow).filter(char::is_ascii_alphanumeric);
        let code: String = letters.map(|c| c.to_ascii_uppercase()).collect();
        let known = code.bytes().all(|byte| Self::ALPHABET.contains(&byte));
        (known && code.len() == Self::LENGTH).then_some(Self(code))
    }

    /// The letters alone.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Input methods for Chinese and Japanese write letters as wide as their own signs.
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        other => other,
    }
}

/// In two groups, as it is shown.
impl fmt::Display for UserCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, second) = self.0.split_at_checked(Self::LENGTH / 2).unwrap_or((&self.0, ""));
        write!(f, "{first}-{second}")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn request() -> DecoupledRequest {
        DecoupledRequest {
            digest: CodeDigest([1; 32]),
            kind: DecoupledKind::Device,
            user_code: None,
            client: ClientId::new("tv"),
            tenant: TenantId::new("default"),
            user: None,
            scope: Scope::default(),
            details: GrantDetails::default(),
            message: None,
            ping: None,
            requested_at: at(1000),
            expires_at: at(1600),
            interval: Duration::from_secs(5),
            next_poll_at: at(1005),
            state: DecoupledState::Pending,
        }
    }

    #[test]
    fn a_poll_in_time_waits_on_and_one_before_it_slows_down() {
        let pace = |seconds, next| Pace {
            interval: Duration::from_secs(seconds),
            next_poll_at: next,
        };
        let request = request();
        assert_eq!(request.judge(at(1005)), Poll::Pending(pace(5, at(1010))));
        let jitter = at(1005) - TOLERANCE;
        assert_eq!(
            request.judge(jitter),
            Poll::Pending(pace(5, jitter + Duration::from_secs(5)))
        );
        assert_eq!(request.judge(at(1004)), Poll::TooEarly(pace(10, at(1014))));
    }

    #[test]
    fn who_has_an_answer_is_not_told_to_wait() {
        for (state, poll) in [
            (DecoupledState::Denied, Poll::Denied),
            (DecoupledState::Redeemed, Poll::Redeemed),
        ] {
            let decided = DecoupledRequest { state, ..request() };
            assert_eq!(decided.judge(at(1001)), poll);
            assert_eq!(decided.judge(at(1600)), Poll::Expired);
        }
        assert_eq!(request().judge(at(1600)), Poll::Expired);
    }

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        let code = UserCode::parse("WDJB-MJHT").unwrap();
        assert_eq!((code.as_str(), code.to_string().as_str()), ("WDJBMJHT", "WDJB-MJHT"));
        for typed in [
            "wdjbmjht",
            " WDJB MJHT ",
            "w.d.j.b.m.j.h.t",
            "WDJB–MJHT",
            "ＷＤＪＢ－ｍｊｈｔ",
        ] {
            assert_eq!(UserCode::parse(typed), Some(code.clone()), "{typed}");
        }
        for typed in ["", "WDJBMJH", "WDJBMJHTT", "WDJB-MJHA", "WDJB-MJH1", &"-".repeat(65)] {
            assert_eq!(UserCode::parse(typed), None, "{typed}");
        }
    }

    #[test]
    fn every_letter_is_as_likely_as_any_other() {
        let mut counts: BTreeMap<char, usize> = BTreeMap::new();
        for byte in 0..=u8::MAX {
            if let Some(code) = UserCode::from_random([byte; UserCode::LENGTH]) {
                *counts.entry(code.as_str().chars().next().unwrap()).or_default() += 1;
            }
        }
        assert_eq!(counts.len(), 20);
        assert!(counts.values().all(|count| *count == 12), "{counts:?}");
        assert_eq!(UserCode::from_random([1; 7]), None);
        assert_eq!(UserCode::from_random([255; 100]), None);
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_typed_back(bytes in proptest::collection::vec(0_u8..240, 8)) {
            let code = UserCode::from_random(bytes).unwrap();
            prop_assert_eq!(UserCode::parse(&code.to_string()), Some(code));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,80}") {
            let _ = UserCode::parse(&text);
        }
    }
}
