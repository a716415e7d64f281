//! Words of OpenID Connect Client-Initiated Backchannel Authentication (CIBA) Core 1.0.

use std::{fmt, time::Duration};

use service_kit::Timestamp;

use super::{
    client::Client,
    decoupled::SealedPing,
    ids::{ClientId, CodeDigest},
    logout::wait,
    session::Session,
};

/// How a client learns that a person has decided (CIBA §5). Push mode is not offered: it would send tokens to an address that only the
/// registration vouches for, without the client having proved anything in the request that brings them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryMode {
    /// It asks the token endpoint from time to time.
    Poll,
    /// It is told when to ask, and may ask before that as well.
    Ping,
}

impl DeliveryMode {
    pub const ALL: &'static [Self] = &[Self::Poll, Self::Ping];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Poll => "poll",
            Self::Ping => "ping",
        }
    }

    pub fn from_wire(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mode| mode.as_str() == text)
    }
}

impl Client {
    /// By its registration, if it is one that this version knows.
    pub fn delivery_mode(&self) -> Option<DeliveryMode> {
        let mode = self.protocol.backchannel_token_delivery_mode.as_deref();
        mode.and_then(DeliveryMode::from_wire)
    }

    /// Whether the session's sign-in is recent enough for this client to be answered in it: CIBA has no `max_age`, so the registration's
    /// `default_max_age` (OpenID Connect Registration §2) speaks. A sign-in after the request came always is.
    pub fn is_content_with(&self, session: &Session, requested_at: Timestamp, now: Timestamp) -> bool {
        let age = now.as_seconds().saturating_sub(session.auth_time.as_seconds());
        let is_old = |limit| u64::try_from(age).unwrap_or(0) > limit;
        session.auth_time >= requested_at || !self.protocol.default_max_age.is_some_and(is_old)
    }
}

/// What a person compares with what the other device shows (CIBA §7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindingMessage(String);

impl BindingMessage {
    /// Longest one, in characters: it has to be compared at a glance.
    pub const LONGEST: usize = 100;

    /// Reads a message that can be shown as it is: what is invisible, or turns the direction of what follows, would let two different
    /// messages look the same.
    pub fn parse(text: &str) -> Option<Self> {
        let is_shown = text
            .chars()
            .all(|c| c == ' ' || !(c.is_whitespace() || c.is_control() || is_unseen(c)));
        let is_short = text.len() <= 4 * Self::LONGEST && text.chars().count() <= Self::LONGEST;
        (is_shown && is_short && !text.trim().is_empty()).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Zero-width, filling, soft-hyphen, variation, bidirectional formatting (UAX #9), annotation, tag and private-use characters.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
            | '\u{e0000}'..='\u{10ffff}'
    )
}

/// The bearer token that a client wants to be told the news with (CIBA §7.1).
pub struct NotificationToken(String);

impl NotificationToken {
    const LONGEST: usize = 1024;

    /// Reads a token of the syntax of RFC 6750 §2.1.
    pub fn parse(text: String) -> Option<Self> {
        let body = text.trim_end_matches('=');
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        let is_token = !body.is_empty() && text.len() <= Self::LONGEST && body.bytes().all(is_plain);
        is_token.then_some(Self(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for NotificationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NotificationToken(…)")
    }
}

/// The news that a person has decided, on its way to a client (CIBA §10.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ping {
    /// Of the request.
    pub digest: CodeDigest,
    pub client: ClientId,
    pub sealed: SealedPing,
    /// How often somebody has taken it upon themselves, this time included.
    pub attempts: u32,
    /// When the request expires: then there is nothing to tell of.
    pub ends_at: Timestamp,
}

impl Ping {
    /// When to try again after a failure at `now`; `None`: not at all.
    pub fn next_attempt(&self, now: Timestamp, chance: u16) -> Option<Timestamp> {
        let at = now + wait(self.attempts, chance);
        (at < self.ends_at).then_some(at)
    }
}

/// How many requests may wait for one person at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenLimits {
    /// Of one client.
    pub per_client: usize,
    /// Of all clients together.
    pub in_all: usize,
}

/// Reads `requested_expiry`: a positive number of seconds (CIBA §7.1), of which more than is allowed counts as what is allowed.
pub fn requested_expiry(text: &str, longest: Duration) -> Option<Duration> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // More digits than a number can hold are more than is allowed.
    let seconds = is_number.then(|| text.parse().unwrap_or(u64::MAX))?;
    (seconds > 0).then(|| Duration::from_secs(seconds).min(longest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_one_that_can_be_compared() {
        for message in [
            "W4SCT",
            "Pay 12.50 € to Café Zoë?",
            "确认码 1234",
            "a",
            &"é".repeat(100),
        ] {
            assert_eq!(
                BindingMessage::parse(message).map(|read| read.0).as_deref(),
                Some(message)
            );
        }
        for message in [
            "",
            " ",
            "a\nb",
            "a\tb",
            "a\u{a0}b",
            "a\u{200b}b",
            "\u{202e}b",
            "a\u{3164}",
            "a\u{fe0f}",
            "a\u{e0041}",
            "\u{7f}",
            &"a".repeat(101),
            &"\u{1f600}".repeat(101),
        ] {
            assert_eq!(BindingMessage::parse(message), None, "{message:?}");
        }
    }

    #[test]
    fn a_notification_token_has_the_syntax_of_bearer_tokens() {
        let reads = |text: &str| NotificationToken::parse(text.to_owned()).is_some();
        for token in [
            "8d67dc78-7faa-4d41-aabd-67707b374255",
            "a",
            "a+/~._-==",
            &"a".repeat(1024),
        ] {
            assert!(reads(token), "{token}");
        }
        for token in ["", "=", "a b", "a=b", "a\r\nx: y", "é", "a\"", &"a".repeat(1025)] {
            assert!(!reads(token), "{token}");
        }
    }

    #[test]
    fn an_expiry_is_a_positive_number_and_bounded() {
        let read = |text: &str| requested_expiry(text, Duration::from_secs(600)).map(|expiry| expiry.as_secs());
        assert_eq!(read("1"), Some(1));
        assert_eq!(read("0120"), Some(120));
        assert_eq!(read("601"), Some(600));
        assert_eq!(read("99999999999999999999999"), Some(600));
        for wrong in ["", "0", "-1", "+1", "1.5", "1e3", " 1", "ten"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_message_that_is_taken_is_shown_as_it_is(text in "\\PC{0,120}|[\\x00-\\x7f]{0,10}") {
            if let Some(message) = BindingMessage::parse(&text) {
                prop_assert_eq!(message.as_str(), text.as_str());
                prop_assert!(text.chars().count() <= BindingMessage::LONGEST);
                let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}');
                prop_assert!(!text.chars().any(|c| c.is_control() || turns(c)));
            }
        }
    }
}
