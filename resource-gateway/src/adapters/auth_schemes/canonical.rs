//! What the signatures of vendors have in common: a request written in one canonical way, SHA-256 and HMAC.

use std::{collections::BTreeMap, fmt, fmt::Write as _};

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret, SecretString, zeroize::Zeroizing};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;

use crate::domain::signature::hex;

/// A request as a signature covers it. It must leave as it stands here.
#[derive(Debug, Clone, Copy)]
pub struct Signable<'a> {
    pub method: &'a str,
    /// As the `Host` header has it: with its port, unless that is the scheme's own.
    pub host: &'a str,
    /// As it stands on the wire, percent-encoded.
    pub path: &'a str,
    /// As it stands on the wire, without the question mark; empty when there is none.
    pub query: &'a str,
    /// What is signed beside what the scheme wants signed at any rate. Names in any case.
    pub headers: &'a [(&'a str, &'a str)],
    /// In pieces, as it is sent.
    pub body: &'a [Bytes],
}

/// An access key: its id, its secret, and the token of a temporary one.
#[derive(Clone)]
pub struct AccessKey {
    pub id: Box<str>,
    pub secret: SecretString,
    pub session_token: Option<SecretString>,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessKey([redacted])")
    }
}

impl AccessKey {
    /// A lasting key.
    pub fn new(id: &str, secret: &str) -> Self {
        Self {
            id: id.into(),
            secret: SecretString::from(secret),
            session_token: None,
        }
    }

    /// A temporary one, which comes with a token.
    #[must_use]
    pub fn with_session_token(self, token: &str) -> Self {
        Self {
            session_token: Some(SecretString::from(token)),
            ..self
        }
    }

    pub(super) fn token(&self) -> Option<&str> {
        self.session_token.as_ref().map(ExposeSecret::expose_secret)
    }
}

/// A signature, and how it came to be: whoever looks for a fault compares the steps with the vendor's.
pub struct Signed {
    /// To be set on the request, in place of what stands there under the same names.
    pub headers: Vec<(&'static str, String)>,
    pub canonical_request: String,
    /// Empty where the canonical request itself is signed.
    pub string_to_sign: String,
    pub signature: String,
}

impl Signed {
    /// The header that carries the signature.
    pub fn authorization(&self) -> &str {
        self.headers
            .iter()
            .find(|(name, _)| *name == AUTHORIZATION)
            .map_or("", |(_, value)| value)
    }
}

/// The headers of a signed request are good for minutes at the vendor.
impl fmt::Debug for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signed([redacted])")
    }
}

pub(super) const AUTHORIZATION: &str = "authorization";
pub(super) const HOST: &str = "host";

/// HMAC-SHA256 (RFC 2104).
pub(super) fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    // RFC 2104 §2: a key shorter than a block is filled up with zeros, a longer one is hashed first.
    let mut block = Zeroizing::new([0; 64]);
    let digest: [u8; 32];
    let key = if key.len() <= block.len() {
        key
    } else {
        digest = Sha256::digest(key).into();
        &digest
    };
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let mut mac = Hmac::<Sha256>::new(&(*block).into());
    mac.update(text);
    mac.finalize().into_bytes().into()
}

/// The same as hexadecimal digits.
pub(super) fn hmac_hex(key: &[u8], text: &[u8]) -> String {
    hex(&hmac(key, text))
}

/// One key from another, step by step: a signature over the last says nothing of the first.
/// What is on the way to it is wiped: each step is as good as the secret for as long as its part of the scope holds.
pub(super) fn derived_key(secret: &[u8], steps: &[&str]) -> Zeroizing<Vec<u8>> {
    let mut key = Zeroizing::new(secret.to_vec());
    for step in steps {
        key = Zeroizing::new(hmac(&key, step.as_bytes()).to_vec());
    }
    key
}

pub(super) fn sha256_hex(pieces: &[impl AsRef<[u8]>]) -> String {
    let mut digest = Sha256::new();
    for piece in pieces {
        digest.update(piece);
    }
    hex(&digest.finalize())
}

/// The moment of a Unix time. A clock outside of the years that dates have stands at the epoch: no vendor takes that for now.
pub(super) fn moment(unix: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix)
        .ok()
        .filter(|moment| (0..=9999).contains(&moment.year()))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// `2025-03-14`.
pub(super) fn day(at: OffsetDateTime) -> String {
    format!("{:04}-{:02}-{:02}", at.year(), u8::from(at.month()), at.day())
}

/// `20250314T150926Z`: the basic form of ISO 8601. Its first eight characters are the day.
pub(super) fn basic_date(at: OffsetDateTime) -> String {
    let (hour, minute, second) = at.to_hms();
    format!("{}T{hour:02}{minute:02}{second:02}Z", day(at).replace('-', ""))
}

/// `2025-03-14T15:09:26Z`.
pub(super) fn extended_date(at: OffsetDateTime) -> String {
    let (hour, minute, second) = at.to_hms();
    format!("{}T{hour:02}:{minute:02}:{second:02}Z", day(at))
}

/// `Fri, 14 Mar 2025 15:09:26 GMT` (RFC 9110 §5.6.7).
pub(super) fn http_date(at: OffsetDateTime) -> String {
    let (hour, minute, second) = at.to_hms();
    let (weekday, month) = (at.weekday().to_string(), at.month().to_string());
    let short = |name: &str| name.chars().take(3).collect::<String>();
    format!(
        "{}, {:02} {} {:04} {hour:02}:{minute:02}:{second:02} GMT",
        short(&weekday),
        at.day(),
        short(&month),
        at.year(),
    )
}

/// Which bytes beside the unreserved ones stand for themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slashes {
    Kept,
    Encoded,
}

/// RFC 3986 §2.3: unreserved characters stand for themselves, all others are encoded with upper-case digits.
pub(super) fn push_encoded(to: &mut String, bytes: &[u8], slashes: Slashes) {
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => to.push(char::from(byte)),
            b'/' if slashes == Slashes::Kept => to.push('/'),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(to, "%{byte:02X}");
            }
        }
    }
}

pub(super) fn encoded(bytes: &[u8], slashes: Slashes) -> String {
    let mut text = String::with_capacity(bytes.len());
    push_encoded(&mut text, bytes, slashes);
    text
}

/// Percent-decoded once (RFC 3986 §2.1); a percent sign that begins no encoding is itself.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (byte, digit(0), digit(1)) {
            bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'%'));
            rest = tail.get(2..).unwrap_or_default();
        } else {
            bytes.push(*byte);
            rest = tail;
        }
    }
    bytes
}

/// A path in one way to write it, whatever way it stands on the wire.
pub(super) fn canonical_path(path: &str) -> String {
    match path {
        "" => "/".to_owned(),
        path => encoded(&decoded(path), Slashes::Kept),
    }
}

/// The parameters of a query, encoded in one way. Vendors read queries as forms, so a plus sign is a space.
pub(super) fn query_pairs(query: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(query.as_bytes())
        .map(|(name, value)| {
            let encoded = |text: &str| encoded(text.as_bytes(), Slashes::Encoded);
            (encoded(&name), encoded(&value))
        })
        .collect()
}

/// Sorted by name, then by value.
pub(super) fn canonical_query(query: &str) -> String {
    let mut pairs = query_pairs(query);
    pairs.sort();
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join("&")
}

/// `name:value` and a line end for each header, and the names: lower case, sorted, runs of spaces squeezed, values of one name
/// joined. Both AWS and Volcengine want it so.
pub(super) fn canonical_headers<'a>(headers: impl Iterator<Item = (&'a str, &'a str)>) -> (String, String) {
    let mut sorted: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        let words: Vec<_> = value.split_ascii_whitespace().collect();
        sorted
            .entry(name.to_ascii_lowercase())
            .or_default()
            .push(words.join(" "));
    }
    let mut lines = String::new();
    for (name, values) in &sorted {
        // Writing to a string cannot fail.
        let _ = writeln!(lines, "{name}:{}", values.join(","));
    }
    let names: Vec<_> = sorted.into_keys().collect();
    (lines, names.join(";"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hmac_is_that_of_the_rfc_for_keys_of_any_length() {
        // RFC 4231 §4.2, §4.3 and §4.7.
        for (key, text, wanted) in [
            (
                &[0x0b; 20][..],
                "Hi There",
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                "what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                &[0xaa; 131],
                "Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
        ] {
            assert_eq!(hmac_hex(key, text.as_bytes()), wanted);
        }
    }

    #[test]
    fn dates_are_written_with_all_their_digits() {
        let at = moment(981_173_106);
        assert_eq!(basic_date(at), "20010203T040506Z");
        assert_eq!(extended_date(at), "2001-02-03T04:05:06Z");
        assert_eq!(http_date(at), "Sat, 03 Feb 2001 04:05:06 GMT");
        for absurd in [i64::MAX, i64::MIN, -99_999_999_999] {
            assert_eq!(basic_date(moment(absurd)), "19700101T000000Z");
        }
    }

    #[test]
    fn a_path_and_a_query_are_written_in_one_way() {
        assert_eq!(canonical_path(""), "/");
        assert_eq!(canonical_path("/a%7eb/%c3%bc:%zz%"), "/a~b/%C3%BC%3A%25zz%25");
        assert_eq!(canonical_query("b=2&a=%2f&a=+&flag"), "a=%20&a=%2F&b=2&flag=");
        assert_eq!(canonical_query(""), "");
    }

    #[test]
    fn neither_a_key_nor_a_signature_shows_itself() {
        let key = AccessKey::new("the-id", "the-secret").with_session_token("the-token");
        assert_eq!(format!("{key:?}"), "AccessKey([redacted])");
        let signed = Signed {
            headers: vec![(AUTHORIZATION, "the-signature".to_owned())],
            canonical_request: String::new(),
            string_to_sign: String::new(),
            signature: "the-signature".to_owned(),
        };
        assert_eq!(format!("{signed:?}"), "Signed([redacted])");
        assert_eq!(signed.authorization(), "the-signature");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_again(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            for slashes in [Slashes::Kept, Slashes::Encoded] {
                let text = encoded(&bytes, slashes);
                prop_assert_eq!(decoded(&text), bytes.clone());
                prop_assert!(text.is_ascii() && !text.contains([' ', '+', '&', '=', '?', ':']));
            }
        }

        #[test]
        fn no_path_is_written_in_two_ways(path in "[ -~]{0,40}") {
            let once = canonical_path(&path);
            prop_assert_eq!(canonical_path(&once), once.clone());
        }
    }
}
