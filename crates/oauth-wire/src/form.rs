//! Parameters of `application/x-www-form-urlencoded` bodies and query strings.

use std::collections::BTreeMap;

/// Parameters by name. An empty value counts as absent (RFC 6749 §3.1 and §3.2).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Form {
    single: BTreeMap<String, String>,
    /// Values of [`REPEATABLE`] parameters, in the order in which they came.
    repeated: BTreeMap<String, Vec<String>>,
}

/// The parameters whose specification lets them be sent more than once: `resource` (RFC 8707 §2) and `audience` (RFC 8693 §2.1).
const REPEATABLE: [&str; 2] = ["resource", "audience"];

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
        let mut form = Self::default();
        // Not known, and not looked at before something looks broken.
        let mut is_utf8 = false;
        for (count, (name, value)) in form_urlencoded::parse(encoded).enumerate() {
            if count >= MAX_PARAMETERS {
                return Err(FormError::TooMany);
            }
            // The decoder replaces broken sequences. That a replacement character was sent as well makes them no better.
            if !is_utf8 && (name.contains('\u{fffd}') || value.contains('\u{fffd}')) {
                is_utf8 = decodes_to_utf8(encoded);
                if !is_utf8 {
                    return Err(FormError::NotUtf8);
                }
            }
            if name.contains('\0') || value.contains('\0') {
                return Err(FormError::Nul);
            }
            if !form.add(name.clone().into_owned(), value.into_owned()) {
                return Err(FormError::Repeated(printable(&name)));
            }
        }
        form.single.retain(|_, value| !value.is_empty());
        form.repeated.retain(|_, values| {
            values.retain(|value| !value.is_empty());
            !values.is_empty()
        });
        Ok(form)
    }

    /// Tells whether the pair was added; a second value of a parameter that has only one is not.
    fn add(&mut self, name: String, value: String) -> bool {
        if REPEATABLE.contains(&name.as_str()) {
            self.repeated.entry(name).or_default().push(value);
            return true;
        }
        self.single.insert(name, value).is_none()
    }

    /// The value of a parameter that has one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.single.get(name).map(String::as_str)
    }

    /// The value of a parameter that has one; it is gone from here on.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.single.remove(name)
    }

    /// Every value of a parameter that may be repeated (`resource`, `audience`), in the order sent.
    pub fn take_all(&mut self, name: &str) -> Vec<String> {
        self.repeated.remove(name).unwrap_or_default()
    }

    /// Every pair, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let single = self.single.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let repeated = self
            .repeated
            .iter()
            .flat_map(|(name, values)| values.iter().map(|value| (name.as_str(), value.as_str())));
        single.chain(repeated)
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
        let mut form = Self::default();
        for (name, value) in pairs {
            form.add(name.into(), value.into());
        }
        form
    }
}

impl std::fmt::Debug for Form {
    /// Names only: values may be passwords, codes and tokens.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set()
            .entries(self.single.keys().chain(self.repeated.keys()))
            .finish()
    }
}

/// Whether all pairs are UTF-8. What separates them is ASCII, so they are exactly if the whole is.
fn decodes_to_utf8(encoded: &[u8]) -> bool {
    let digit = |at: usize| {
        let byte = encoded.get(at).copied()?;
        char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
    };
    let mut decoded = Vec::with_capacity(encoded.len());
    let mut at = 0;
    while let Some(&byte) = encoded.get(at) {
        if let (b'%', Some(high), Some(low)) = (byte, digit(at + 1), digit(at + 2)) {
            decoded.push(high * 16 + low);
            at += 3;
        } else {
            decoded.push(byte);
            at += 1;
        }
    }
    std::str::from_utf8(&decoded).is_ok()
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
    fn a_resource_may_be_repeated_and_keeps_its_order() {
        let mut form = Form::parse(b"resource=b&x=1&resource=&resource=a").unwrap();
        assert_eq!(form.encode(), "x=1&resource=b&resource=a");
        assert_eq!(form.get("resource"), None);
        assert_eq!(form.take_all("resource"), ["b", "a"]);
        assert_eq!(form.take_all("resource"), [""; 0]);
    }

    #[test]
    fn an_empty_value_counts_as_absent() {
        assert_eq!(Form::parse(b"a=&b=2").unwrap().get("a"), None);
    }

    #[test]
    fn broken_utf8_is_refused_and_a_real_replacement_character_is_not() {
        for broken in ["a=%ff%fe", "a=%c0%af", "a=%ed%a0%80", "a=%c3&b=%a9", "%ff=a"] {
            assert_eq!(Form::parse(broken.as_bytes()), Err(FormError::NotUtf8), "{broken}");
            // The one does not excuse the other.
            let beside = format!("z=%EF%BF%BD&{broken}");
            assert_eq!(Form::parse(beside.as_bytes()), Err(FormError::NotUtf8), "{beside}");
        }
        assert_eq!(Form::parse("a=\u{fffd}".as_bytes()).unwrap().get("a"), Some("\u{fffd}"));
        assert_eq!(Form::parse(b"a=%EF%BF%BD%zz%").unwrap().get("a"), Some("\u{fffd}%zz%"));
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
