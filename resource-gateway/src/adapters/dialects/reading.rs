//! What is read alike in every dialect: numbers that are worth no answer, and the end of a stream that may have been cut.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};
use serde_json::Value;

use crate::domain::numbers::{whole_count, written_count};

/// A count: a number, however it is written, or a text that is one. What is none counts as not told, because an answer is not thrown
/// away for its bill.
pub(super) fn count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    from.deserialize_any(CountVisitor)
}

struct CountVisitor;

impl<'de> Visitor<'de> for CountVisitor {
    type Value = Option<u64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a count")
    }

    fn visit_u64<E>(self, count: u64) -> Result<Self::Value, E> {
        Ok(Some(count))
    }

    fn visit_i64<E>(self, count: i64) -> Result<Self::Value, E> {
        Ok(u64::try_from(count).ok())
    }

    fn visit_f64<E>(self, count: f64) -> Result<Self::Value, E> {
        Ok(whole_count(count))
    }

    fn visit_str<E>(self, count: &str) -> Result<Self::Value, E> {
        Ok(written_count(count))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// A word, even where it is written as a number; what is neither counts as not told.
pub(super) fn word<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(match Option::<Value>::deserialize(from)? {
        Some(Value::String(word)) => Some(word),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    })
}

/// An object; what is none counts as not told. Its own members have to be as patient.
pub(super) fn if_object<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    from.deserialize_any(ObjectVisitor(PhantomData))
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Some)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// What can be left out of an answer if it cannot be read.
pub(super) fn if_readable<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    let value = Option::<Value>::deserialize(from)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}

/// Answers of several in the order of their numbers; whoever gives none is numbered by its place.
pub(super) fn in_order<T>(choices: Vec<T>, number: impl Fn(&T) -> Option<u32>) -> impl Iterator<Item = T> {
    let mut numbered: Vec<_> = (0..)
        .zip(choices)
        .map(|(place, choice)| (number(&choice).unwrap_or(place), choice))
        .collect();
    numbered.sort_by_key(|(number, _)| *number);
    numbered.into_iter().map(|(_, choice)| choice)
}

/// Vendors' events are objects, but for the word that ends some streams.
pub(super) fn is_whole(data: &[u8]) -> bool {
    let data = data.trim_ascii();
    let is_object = || data.starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(data).is_ok();
    data == b"[DONE]" || is_object()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    struct Counted {
        #[serde(default, deserialize_with = "count")]
        n: Option<u64>,
    }

    #[test]
    fn counts_are_read_however_they_are_written() {
        for (written, n) in [
            ("7", Some(7)),
            ("7.0", Some(7)),
            ("\" 7 \"", Some(7)),
            ("\"7.0\"", Some(7)),
            ("18446744073709551615", Some(u64::MAX)),
            ("-7", None),
            ("-0.6", None),
            ("1e300", None),
            ("true", None),
            ("null", None),
            ("\"seven\"", None),
            ("[7]", None),
            ("{\"n\":7}", None),
        ] {
            let read: Counted = serde_json::from_str(&format!("{{\"n\":{written}}}")).unwrap();
            assert_eq!(read, Counted { n }, "{written}");
        }
        assert_eq!(serde_json::from_str::<Counted>("{}").unwrap(), Counted::default());
    }
}
