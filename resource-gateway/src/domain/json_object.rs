//! A JSON object as text with the place of every member, so that a request can be changed without being written anew:
//! what nobody touched stays byte for byte, known to us or not.

use std::{borrow::Cow, fmt, ops::Range};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Members of one object. Nobody has use for so many names, and each look-up goes through all of them.
pub const MOST_MEMBERS: usize = 4096;

/// The text is not what was wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    #[error("{0}")]
    Malformed(String),
    /// More than [`MOST_MEMBERS`].
    #[error("an object has more than {MOST_MEMBERS} members")]
    TooManyMembers,
    /// The same name twice: two readers may take different values, so nobody gets to choose (RFC 8259 §4).
    #[error("the member `{0}` stands there twice")]
    Duplicate(String),
    /// The name in another case, or as one word (`maxTokens`). Servers written in Go know no case, those that read JSON by protobuf
    /// know both forms, and the last one wins there: a caller would choose what the gateway believes to have set, or sends what is
    /// forbidden.
    #[error("the member `{name}` stands there as `{written}`")]
    Respelt { name: String, written: String },
}

/// One member of an object.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    pub name: Cow<'a, str>,
    /// The value as it is written.
    pub value: &'a str,
    /// Where the value stands in the text.
    pub range: Range<usize>,
    /// A name of more than ASCII as [`folded`] has it: that takes long, so it is done once.
    folded: Option<Box<str>>,
}

impl Member<'_> {
    /// [`is_respelt`] for its name and one that is another.
    fn is_respelt(&self, name: &Wanted<'_>) -> bool {
        match (&self.folded, &name.folded) {
            (None, None) => letters(&self.name).eq(letters(name.text)),
            (None, Some(folded)) => letters(&self.name).eq(folded.bytes()),
            (Some(folded), None) => folded.bytes().eq(letters(name.text)),
            (Some(one), Some(other)) => one == other,
        }
    }
}

/// A name that is looked for.
struct Wanted<'a> {
    text: &'a str,
    folded: Option<Box<str>>,
}

/// An object's members in the order of the text.
#[derive(Debug, Clone)]
pub struct JsonObject<'a> {
    text: &'a str,
    members: Vec<Member<'a>>,
}

impl<'a> JsonObject<'a> {
    /// Reads an object. The whole text is checked, to any depth, without recursion.
    ///
    /// # Errors
    /// [`JsonError::Malformed`] and [`JsonError::TooManyMembers`].
    pub fn parse(text: &'a [u8]) -> Result<Self, JsonError> {
        let malformed = |error: serde_json::Error| JsonError::Malformed(error.to_string());
        // serde_json checks strings' UTF-8 only where it makes strings of them; the splices below need all of it.
        let text = std::str::from_utf8(text).map_err(|error| JsonError::Malformed(error.to_string()))?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let mut too_many = false;
        let members = reader.deserialize_map(Members {
            text,
            too_many: &mut too_many,
        });
        if too_many {
            return Err(JsonError::TooManyMembers);
        }
        let members = members.map_err(malformed)?;
        reader.end().map_err(malformed)?;
        Ok(Self { text, members })
    }

    /// The member of that name, if all readers agree on which one it is.
    ///
    /// # Errors
    /// [`JsonError::Duplicate`] and [`JsonError::Respelt`].
    pub fn get(&self, name: &str) -> Result<Option<&Member<'a>>, JsonError> {
        Ok(self.position(name)?.and_then(|at| self.members.get(at)))
    }

    /// The place of the member among the others.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn position(&self, name: &str) -> Result<Option<usize>, JsonError> {
        let wanted = Wanted {
            text: name,
            folded: folded_unless_ascii(name),
        };
        let mut found = None;
        for (at, member) in self.members.iter().enumerate() {
            if member.name == name {
                if found.replace(at).is_some() {
                    return Err(JsonError::Duplicate(name.to_owned()));
                }
            } else if member.is_respelt(&wanted) {
                return Err(JsonError::Respelt {
                    name: name.to_owned(),
                    written: member.name.clone().into_owned(),
                });
            }
        }
        Ok(found)
    }

    pub fn members(&self) -> &[Member<'a>] {
        &self.members
    }

    pub fn text(&self) -> &'a str {
        self.text
    }

    /// Where a new first member would go: behind the opening brace.
    pub fn opening(&self) -> usize {
        self.text.find('{').map_or(0, |at| at + 1)
    }

    /// The edit that sets a member, whether it is there or not.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub fn set(&self, name: &str, value: &str) -> Result<Edit, JsonError> {
        if let Some(member) = self.get(name)? {
            return Ok(Edit {
                range: member.range.clone(),
                with: value.to_owned(),
            });
        }
        let at = self.opening();
        let comma = if self.members.is_empty() { "" } else { "," };
        Ok(Edit {
            range: at..at,
            with: format!("{}:{value}{comma}", quoted(name)),
        })
    }
}

/// Whether two unequal names are one to some readers: to those that know no case, and to those that take `maxTokens` for
/// `max_tokens`. Unicode's folding counts, too: to Go's `encoding/json` the Kelvin sign is a `k` and the long s an `s`.
pub fn is_respelt(one: &str, other: &str) -> bool {
    if one.is_ascii() && other.is_ascii() {
        return letters(one).eq(letters(other));
    }
    folded(one) == folded(other)
}

fn folded(name: &str) -> String {
    name.to_uppercase().to_lowercase().replace(['_', '-'], "")
}

fn folded_unless_ascii(name: &str) -> Option<Box<str>> {
    (!name.is_ascii()).then(|| folded(name).into())
}

fn letters(name: &str) -> impl Iterator<Item = u8> {
    let bytes = name.bytes().filter(|byte| !matches!(byte, b'_' | b'-'));
    bytes.map(|byte| byte.to_ascii_lowercase())
}

/// A string as JSON text.
pub fn quoted(text: &str) -> String {
    // Any text can be written.
    serde_json::to_string(text).unwrap_or_default()
}

/// A change of a text: `range` gives way to `with`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    pub range: Range<usize>,
    pub with: String,
}

impl Edit {
    /// The same edit of a text that begins `by` bytes earlier.
    #[must_use]
    pub fn shifted(self, by: usize) -> Self {
        Self {
            range: self.range.start + by..self.range.end + by,
            with: self.with,
        }
    }
}

/// The elements of an array as they are written.
///
/// # Errors
/// [`JsonError::Malformed`] when the text is not an array.
pub fn elements(text: &str) -> Result<Vec<&str>, JsonError> {
    let mut reader = serde_json::Deserializer::from_str(text);
    reader
        .deserialize_seq(Elements)
        .map_err(|error| JsonError::Malformed(error.to_string()))
}

struct Members<'a, 't> {
    text: &'a str,
    too_many: &'t mut bool,
}

impl<'a> Visitor<'a> for Members<'a, '_> {
    type Value = Vec<Member<'a>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(8);
        while let Some(name) = map.next_key_seed(Name)? {
            if members.len() == MOST_MEMBERS {
                *self.too_many = true;
                return Err(A::Error::custom(JsonError::TooManyMembers));
            }
            let value: &'a RawValue = map.next_value()?;
            let value = value.get();
            // The value is borrowed from the text, so the difference of their addresses is its place.
            let start = value.as_ptr().addr().checked_sub(self.text.as_ptr().addr());
            let start = start.ok_or_else(|| A::Error::custom("a value is not part of its text"))?;
            members.push(Member {
                folded: folded_unless_ascii(&name),
                name,
                value,
                range: start..start + value.len(),
            });
        }
        Ok(members)
    }
}

struct Elements;

impl<'a> Visitor<'a> for Elements {
    type Value = Vec<&'a str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(value) = seq.next_element::<&'a RawValue>()? {
            elements.push(value.get());
        }
        Ok(elements)
    }
}

/// A member's name: borrowed when it holds no escape. `"mod\u0065l"` is `model` for every reader, so for us, too.
struct Name;

impl<'a> DeserializeSeed<'a> for Name {
    type Value = Cow<'a, str>;

    fn deserialize<D: Deserializer<'a>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'a> Visitor<'a> for Name {
    type Value = Cow<'a, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'a str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// Applies edits that do not overlap; the text between them is copied as it is.
pub fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| edit.range.start);
    let added: usize = edits.iter().map(|edit| edit.with.len()).sum();
    let mut out = String::with_capacity(text.len() + added);
    let mut at = 0;
    for edit in &edits {
        out.push_str(text.get(at..edit.range.start).unwrap_or_default());
        out.push_str(&edit.with);
        at = edit.range.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    #[test]
    fn only_what_is_touched_changes() {
        let text = "{ \"a\" : 1.50e1,\n\t\"model\":\"x\" , \"big\":12345678901234567890123, \"u\":\"\\u00e9\" }";
        let object = JsonObject::parse(text.as_bytes()).unwrap();
        let edits = vec![
            object.set("model", "\"longer name\"").unwrap(),
            object.set("new", "true").unwrap(),
        ];
        assert_eq!(
            apply(text, edits),
            "{\"new\":true, \"a\" : 1.50e1,\n\t\"model\":\"longer name\" , \"big\":12345678901234567890123, \"u\":\"\\u00e9\" }"
        );
    }

    #[test]
    fn an_escaped_name_is_the_name_and_a_second_one_is_refused() {
        let text = br#"{"model":"a","mod\u0065l":"b"}"#;
        let object = JsonObject::parse(text).unwrap();
        assert_eq!(object.get("model").unwrap_err(), JsonError::Duplicate("model".into()));
        assert!(object.get("other").unwrap().is_none());
    }

    #[test]
    fn a_name_in_another_case_is_refused_since_some_readers_take_it_for_the_name() {
        for written in [
            "Top_k",
            "TOP_K",
            "top_\u{212a}",
            "t\\u004fp_k",
            "topK",
            "top-k",
            "topk",
            "_top_k",
        ] {
            let text = format!("{{\"top_k\":1,\"{written}\":2}}");
            let object = JsonObject::parse(text.as_bytes()).unwrap();
            let refused = object.get("top_k").unwrap_err();
            assert!(
                matches!(refused, JsonError::Respelt { name, .. } if name == "top_k"),
                "{written}"
            );
            assert!(object.get("top_p").unwrap().is_none());
        }
        let alone = JsonObject::parse(br#"{"Model":1}"#).unwrap();
        assert!(alone.get("model").is_err() && alone.get("mode").unwrap().is_none());
    }

    #[test]
    fn an_object_has_so_many_members_and_not_one_more() {
        let of = |members: usize| {
            let members: Vec<_> = (0..members).map(|at| format!("\"\u{e9}{at}\":0")).collect();
            format!("{{{}}}", members.join(","))
        };
        let most = of(MOST_MEMBERS);
        let object = JsonObject::parse(most.as_bytes()).unwrap();
        assert_eq!(object.members().len(), MOST_MEMBERS);
        assert_eq!(
            JsonObject::parse(of(MOST_MEMBERS + 1).as_bytes()).unwrap_err(),
            JsonError::TooManyMembers
        );
        // What cannot be read is refused as that.
        let cut = most.strip_suffix('}').unwrap();
        assert!(matches!(
            JsonObject::parse(cut.as_bytes()),
            Err(JsonError::Malformed(_))
        ));
    }

    #[test]
    fn what_is_not_an_object_is_refused_and_depth_is_no_danger() {
        for bad in [
            "",
            "{",
            "[]",
            "null",
            "\"x\"",
            "{\"a\":1}x",
            "{\"a\":}",
            "{a:1}",
            "{\"a\":1,}",
        ] {
            assert!(JsonObject::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(JsonObject::parse(b"{\"a\":\"\xff\"}").is_err());
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(JsonObject::parse(deep.as_bytes()).unwrap().members().len(), 1);
    }

    #[test]
    fn an_empty_object_takes_a_member() {
        let object = JsonObject::parse(b" { } ").unwrap();
        assert_eq!(
            apply(object.text(), vec![object.set("a", "1").unwrap()]),
            " {\"a\":1 } "
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("\\PC{0,6}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn setting_a_member_is_what_it_would_be_on_the_parsed_value(
            map in proptest::collection::btree_map("[a-c]{1,2}|\\PC{0,4}", any_json(), 0..5),
            name in "[a-c]{1,2}|\\PC{0,4}",
            value in any_json(),
            pretty in any::<bool>(),
        ) {
            let before = Value::Object(map.into_iter().collect());
            let text = if pretty { serde_json::to_string_pretty(&before).unwrap() } else { before.to_string() };
            let object = JsonObject::parse(text.as_bytes()).unwrap();
            prop_assume!(object.get(&name).is_ok());
            let after = apply(&text, vec![object.set(&name, &value.to_string()).unwrap()]);
            let mut wanted = before;
            wanted[name.as_str()] = value;
            prop_assert_eq!(serde_json::from_str::<Value>(&after).unwrap(), wanted);
        }

        #[test]
        fn a_name_that_was_folded_before_is_respelt_as_any_two_are(
            name in "[aA\u{212a}k_\u{e9}\u{c9}-]{0,3}",
            other in "[aA\u{212a}k_\u{e9}\u{c9}-]{0,3}",
        ) {
            let text = format!("{{{}:1}}", quoted(&name));
            let object = JsonObject::parse(text.as_bytes()).unwrap();
            let refused = matches!(object.get(&other), Err(JsonError::Respelt { .. }));
            prop_assert_eq!(refused, name != other && is_respelt(&name, &other));
        }

        #[test]
        fn no_input_panics(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = JsonObject::parse(&text);
        }
    }

    #[test]
    fn elements_are_given_as_written() {
        assert_eq!(
            elements("[1, {\"a\": 2} ,\"x\"]").unwrap(),
            ["1", "{\"a\": 2}", "\"x\""]
        );
        assert!(elements("{}").is_err());
        let _ = json!(null);
    }
}
