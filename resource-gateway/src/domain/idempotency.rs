//! Keys by which callers make a call safe to repeat (draft-ietf-httpapi-idempotency-key-header).

use std::fmt;

/// A key that cannot be one. The text goes to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("Idempotency-Key must have 1 to 255 visible ASCII characters, and stand in the request once")]
pub struct BadIdempotencyKey;

/// What a caller calls a request of its own.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Reads the header's value: a string of structured fields (RFC 9651 §3.3.3), as the draft has it, or as it is, as many clients do.
    ///
    /// # Errors
    /// [`BadIdempotencyKey`].
    pub fn read(value: &str) -> Result<Self, BadIdempotencyKey> {
        let value = value.trim_matches([' ', '\t']);
        let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let text = match quoted {
            None => value.to_owned(),
            Some(inner) => unescaped(inner).ok_or(BadIdempotencyKey)?,
        };
        let visible = text.bytes().all(|byte| matches!(byte, b'!'..=b'~'));
        (visible && (1..=255).contains(&text.len()))
            .then_some(Self(text))
            .ok_or(BadIdempotencyKey)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Keys are the callers' own: they may name orders or people.
impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey")
    }
}

fn unescaped(inner: &str) -> Option<String> {
    let mut text = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return None,
            '\\' => text.push(letters.next().filter(|next| matches!(next, '"' | '\\'))?),
            _ => text.push(letter),
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_quoted_or_plain() {
        let read = |value: &str| IdempotencyKey::read(value).map(|key| key.0).ok();
        for (value, key) in [
            ("order-7", Some("order-7")),
            (" \"order-7\" ", Some("order-7")),
            ("\"a\\\"b\\\\\"", Some("a\"b\\")),
            ("a\"b", Some("a\"b")),
            ("\"", Some("\"")),
            ("\"a\"b\"", None),
            ("\"a\\n\"", None),
            ("", None),
            ("\"\"", None),
            ("a b", None),
            ("ä", None),
        ] {
            assert_eq!(read(value).as_deref(), key, "{value}");
        }
        assert!(read(&"k".repeat(255)).is_some() && read(&"k".repeat(256)).is_none());
    }
}
