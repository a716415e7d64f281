//! Scope sets ([RFC 6749 §3.3](https://www.rfc-editor.org/rfc/rfc6749#section-3.3)).

use std::{collections::BTreeSet, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// One scope token.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScopeToken(String);

impl ScopeToken {
    /// Parses one token: `1*( %x21 / %x23-5B / %x5D-7E )`.
    ///
    /// # Errors
    /// [`ScopeError`] when the token is empty or holds a character outside the grammar.
    pub fn parse(text: &str) -> Result<Self, ScopeError> {
        let legal = |b: u8| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if text.is_empty() || !text.bytes().all(legal) {
            return Err(ScopeError);
        }
        Ok(Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ScopeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A set of scope tokens, printed in lexical order so that equal sets print alike.
///
/// ```
/// use oauth_wire::Scope;
/// let asked: Scope = "openid  profile".parse()?;
/// assert!(asked.is_subset(&"profile email openid".parse()?));
/// assert_eq!(asked.to_string(), "openid profile");
/// # Ok::<(), oauth_wire::ScopeError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope(BTreeSet<ScopeToken>);

/// A scope string holds a character that RFC 6749 §3.3 does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("scope holds a character that is not allowed")]
pub struct ScopeError;

impl Scope {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn contains(&self, token: &str) -> bool {
        self.iter().any(|t| t == token)
    }

    pub fn is_subset(&self, of: &Scope) -> bool {
        self.0.is_subset(&of.0)
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(ScopeToken::as_str)
    }

    /// Tokens that both sets hold.
    #[must_use]
    pub fn intersection(&self, other: &Scope) -> Scope {
        Scope(self.0.intersection(&other.0).cloned().collect())
    }

    /// Tokens of `self` that `other` does not hold.
    #[must_use]
    pub fn difference(&self, other: &Scope) -> Scope {
        Scope(self.0.difference(&other.0).cloned().collect())
    }

    /// Tokens that either set holds.
    #[must_use]
    pub fn union(&self, other: &Scope) -> Scope {
        Scope(self.0.union(&other.0).cloned().collect())
    }

    #[must_use]
    pub fn without(mut self, token: &str) -> Scope {
        self.0.retain(|t| t.as_str() != token);
        self
    }
}

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        text.split(' ')
            .filter(|t| !t.is_empty())
            .map(ScopeToken::parse)
            .collect::<Result<_, _>>()
            .map(Scope)
    }
}

impl FromIterator<ScopeToken> for Scope {
    fn from_iter<I: IntoIterator<Item = ScopeToken>>(tokens: I) -> Self {
        Scope(tokens.into_iter().collect())
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, token) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(" ")?;
            }
            f.write_str(&token.0)?;
        }
        Ok(())
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn characters_outside_the_grammar_are_refused() {
        for bad in ["open\"id", "back\\slash", "é", "tab\there", "new\nline", "\u{7f}"] {
            assert_eq!(bad.parse::<Scope>(), Err(ScopeError), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(text in "[!#-\\[\\]-~]{1,8}( [!#-\\[\\]-~]{1,8}){0,5}") {
            let scope: Scope = text.parse().unwrap();
            prop_assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope.clone());
            prop_assert!(scope.is_subset(&scope.union(&"x".parse().unwrap())));
        }

        #[test]
        fn no_input_panics(text in "\\PC{0,64}") {
            let _ = text.parse::<Scope>();
        }
    }
}
