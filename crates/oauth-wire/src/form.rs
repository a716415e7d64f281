//! Parameters of `application/x-www-form-urlencoded` bodies and query strings.

use std::collections::BTreeMap;

/// Parameters by name. An empty value counts as absent (RFC 6749 §3.1 and §3.2).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Form(BTreeMap<String, String>);

/// Why parameters could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// RFC 6749 §3.1, §3.2: parameters must not be included more than once.
    #[error("parameter {0} is included more than once")]
    Repeated(String),
    #[error("parameters are not valid UTF-8")]
    NotUtf8,
    /// No database and no header carries it, and no parameter needs it.
    #[error("a parameter holds a NUL character")]
    Nul,
    #[error("too many parameters")]
    TooMany,
}

/// More parameters than any protocol message has; the cap bounds what a hostile body can make us keep.
const MAX_PARAMETERS: usize = 128;

impl Form {
    /// Parses percent-encoded pairs.
    ///
    /// # Errors
    /// [`FormError`] for repeated parameters, invalid UTF-8 or more than 128 pairs.
    pub fn parse(encoded: &[u8]) -> Result<Self, FormError> {
        let mut pairs = BTreeMap::new();
        for (count, (name, value)) in form_urlencoded::parse(encoded).enumerate() {
            if count >= MAX_PARAMETERS {
                return Err(FormError::TooMany);
            }
            // The decoder replaces broken sequences; a replacement that was not sent means broken input.
            if (name.contains('\u{fffd}') || value.contains('\u{fffd}')) && !mentions_replacement(encoded) {
                return Err(FormError::NotUtf8);
            }
            if name.contains('\0') || value.contains('\0') {
                return Err(FormError::Nul);
            }
            if pairs.insert(name.clone().into_owned(), value.into_owned()).is_some() {
                return Err(FormError::Repeated(printable(&name)));
            }
        }
        pairs.retain(|_, value: &mut String| !value.is_empty());
        Ok(Self(pairs))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Encodes the pairs again, in the order of their names.
    pub fn encode(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(self.iter())
            .finish()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Form {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(
            pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        )
    }
}

impl std::fmt::Debug for Form {
    /// Names only: values may be passwords, codes and tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

fn mentions_replacement(encoded: &[u8]) -> bool {
    let text = String::from_utf8_lossy(encoded).to_ascii_uppercase();
    text.contains("%EF%BF%BD") || std::str::from_utf8(encoded).is_ok_and(|raw| raw.contains('\u{fffd}'))
}

/// Cuts an untrusted name to what may stand in an error description.
fn printable(name: &str) -> String {
    crate::error::legal_description(&name.chars().take(40).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_repeated_parameter_is_named() {
        assert_eq!(Form::parse(b"a=1&b=2&a="), Err(FormError::Repeated("a".into())));
    }

    #[test]
    fn an_empty_value_counts_as_absent() {
        assert_eq!(Form::parse(b"a=&b=2").unwrap().get("a"), None);
    }

    #[test]
    fn broken_utf8_is_refused_and_a_real_replacement_character_is_not() {
        assert_eq!(Form::parse(b"a=%ff%fe"), Err(FormError::NotUtf8));
        assert!(Form::parse(b"a=%EF%BF%BD").is_ok());
    }

    #[test]
    fn a_nul_is_refused() {
        assert_eq!(Form::parse(b"a=x%00y"), Err(FormError::Nul));
    }

    #[test]
    fn the_129th_parameter_is_one_too_many() {
        let body = |n: usize| (0..n).map(|i| format!("p{i}=1")).collect::<Vec<_>>().join("&");
        assert!(Form::parse(body(128).as_bytes()).is_ok());
        assert_eq!(Form::parse(body(129).as_bytes()), Err(FormError::TooMany));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Form::parse(&bytes);
        }

        #[test]
        fn encoding_and_parsing_are_inverse(pairs in proptest::collection::btree_map("[a-z_]{1,10}", "\\PC{1,20}", 0..10)) {
            let form: Form = pairs.into_iter().collect();
            prop_assert_eq!(Form::parse(form.encode().as_bytes()).unwrap(), form);
        }
    }
}
