//! One type per name, so that one cannot stand where another belongs. All share their text: a clone copies a pointer.

use std::{borrow::Borrow, fmt, sync::Arc};

use serde::{Deserialize, Serialize, Serializer};

macro_rules! text_id {
    ($($(#[$meta:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
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
    /// A vendor account.
    VendorName,
    /// What a caller names in `model`.
    InterfaceName,
    /// What a vendor calls the model behind a route.
    ModelName,
    /// The strategy that speaks a vendor's language (`openai`, `sandbox`).
    StrategyName,
    /// `client_id` (RFC 6749 §2.2) of the caller.
    ClientId,
    /// `sub` of the caller's token.
    Subject,
    /// The caller's tenant.
    TenantId,
    /// A row of the price table.
    PriceName,
    /// A budget.
    BudgetName,
    /// A route of an interface's raw calls.
    RawRouteName,
    /// A stored conversation (`conv_…`).
    ConversationId,
    /// One life of a gateway process.
    NodeId,
    /// A call that is run later (`job_…`).
    JobId,
    /// The public half of an access key (`hgk_…`), by which a caller signs its requests.
    AccessKeyId,
    /// The id of one request, as in the reply's `x-request-id`. Usage rows are unique by it, so it MUST be minted by the
    /// gateway: two calls under an id that a caller chose would be billed once.
    RequestId,
}

/// The text cannot name a vendor or an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 64 of the characters A-Z a-z 0-9 . _ - and begins with a letter or digit")]
pub struct InvalidName;

/// Checks a name that stands in scopes (`ai:chat:<name>`), paths and metrics labels.
///
/// # Errors
/// [`InvalidName`].
pub fn check_name(text: &str) -> Result<(), InvalidName> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let begins_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if begins_well && text.len() <= 64 && text.chars().all(allowed) {
        Ok(())
    } else {
        Err(InvalidName)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_scopes_paths_and_labels() {
        for (name, good) in [
            ("chat", true),
            ("gpt-4o.mini_1", true),
            ("", false),
            (".hidden", false),
            ("a b", false),
            ("a/b", false),
            ("a:b", false),
            ("é", false),
            (&"a".repeat(64), true),
            (&"a".repeat(65), false),
        ] {
            assert_eq!(check_name(name).is_ok(), good, "{name:?}");
        }
    }
}
