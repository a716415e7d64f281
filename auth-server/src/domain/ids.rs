//! One type per id and per kind of digest, so that one cannot stand where another belongs.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! text_id {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )+};
}

text_id! {
    /// A tenant: everything else belongs to one.
    TenantId,
    /// `client_id` (RFC 6749 §2.2).
    ClientId,
    /// `sub` of a person: opaque, never reused.
    UserId,
    /// `sid` of a browser session (OpenID Connect Front-Channel Logout §3).
    SessionId,
    /// A grant: one consent turned into tokens. All tokens that came from one code share it.
    GrantId,
    /// `kid`: the RFC 7638 thumbprint of a signing key.
    KeyId,
    /// A role, unique in its tenant.
    RoleName,
    /// An organisational unit, unique in its tenant.
    OrgId,
}

/// A user name as people type it to sign in, folded so that `Alice` and ` alice` are one account.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Username(String);

/// The text cannot be a user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a user name has 1 to 128 characters and no control characters")]
pub struct InvalidUsername;

impl Username {
    /// Folds and checks a name.
    ///
    /// # Errors
    /// [`InvalidUsername`] when it is empty, longer than 128 characters, or holds control characters.
    pub fn parse(text: &str) -> Result<Self, InvalidUsername> {
        let folded = text.trim().to_lowercase();
        if folded.is_empty() || folded.chars().count() > 128 || folded.chars().any(char::is_control) {
            return Err(InvalidUsername);
        }
        Ok(Self(folded))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Username {
    type Error = InvalidUsername;

    fn try_from(text: String) -> Result<Self, InvalidUsername> {
        Self::parse(&text)
    }
}

impl From<Username> for String {
    fn from(name: Username) -> Self {
        name.0
    }
}

/// SHA-256 of an authorization code: what the database holds instead of the code.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeDigest(pub [u8; 32]);

impl fmt::Debug for CodeDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeDigest(…)")
    }
}

/// SHA-256 of the reference to a pushed authorization request: what the database and the browser's session hold instead of it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PushedDigest(pub [u8; 32]);

impl fmt::Debug for PushedDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PushedDigest(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_people_take_for_one_are_one() {
        assert_eq!(Username::parse(" Alice ").unwrap(), Username::parse("alice").unwrap());
    }

    #[test]
    fn a_name_has_1_to_128_characters() {
        for (name, good) in [
            ("", false),
            ("a", true),
            (&"é".repeat(128), true),
            (&"é".repeat(129), false),
            ("a\nb", false),
        ] {
            assert_eq!(Username::parse(name).is_ok(), good, "{name:?}");
        }
    }
}
