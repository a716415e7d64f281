//! Members in several languages: `client_name#de` (RFC 7591 §2.2, OpenID Connect Registration §2.1).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::fault::Faults;

/// Members that are shown to people.
const LOCALIZABLE: [&str; 5] = ["client_name", "client_uri", "logo_uri", "policy_uri", "tos_uri"];
/// Most of them that one client may have.
const MAX_LOCALIZED: usize = 50;
/// Longest name of a client, in characters.
const MAX_NAME: usize = 200;

/// Tells whether the name is one of a member in some language.
pub(super) fn is_localized(name: &str) -> bool {
    name.split_once('#')
        .is_some_and(|(base, tag)| LOCALIZABLE.contains(&base) && is_language_tag(tag))
}

/// Tells whether the member, which is localized, is an address.
pub(super) fn is_address(name: &str) -> bool {
    !name.starts_with("client_name#")
}

/// As far as RFC 5646 §2.1 can be told without a registry: parts of one to eight letters and digits.
fn is_language_tag(tag: &str) -> bool {
    let is_part = |part: &str| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
    tag.len() <= 35 && tag.starts_with(|c: char| c.is_ascii_alphabetic()) && tag.split('-').all(is_part)
}

/// The localized members, under their whole names. Bounds of texts are the caller's to check.
pub(super) fn read(metadata: &Map<String, Value>, faults: &mut Faults) -> BTreeMap<String, String> {
    let mut localized = BTreeMap::new();
    for (name, value) in metadata.iter().filter(|(name, _)| is_localized(name)) {
        match value {
            Value::Null => {}
            Value::String(text) if text.is_empty() => {}
            Value::String(text) if text.chars().count() > MAX_NAME && !is_address(name) => {
                faults.add(name.as_str(), format!("has more than {MAX_NAME} characters"));
            }
            Value::String(text) => drop(localized.insert(name.clone(), text.clone())),
            _ => faults.add(name.as_str(), "must be a text"),
        }
    }
    if localized.len() > MAX_LOCALIZED {
        faults.add(
            "client_name",
            format!("there are more than {MAX_LOCALIZED} members in other languages"),
        );
    }
    localized
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_in_a_language_is_told_from_others() {
        for (name, is) in [
            ("client_name#de", true),
            ("tos_uri#zh-Hans-CN", true),
            ("client_name", false),
            ("client_name#", false),
            ("client_name#-de", false),
            ("client_name#1de", false),
            ("client_name#d e", false),
            ("client_name#abcdefghi", false),
            ("redirect_uris#de", false),
            ("client_name#de#fr", false),
        ] {
            assert_eq!(is_localized(name), is, "{name}");
        }
    }
}
