//! Token counts for the case that a vendor sends none. Rough on purpose: the record says that it is an estimate.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Four of these make a token: an ASCII character weighs one, any other four. That is near what tokenizers give for English
/// and for Chinese alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Weight(pub u64);

impl Weight {
    pub fn of(text: &str) -> Self {
        let weigh = |byte: u8| match byte {
            0..=0x7f => 1,
            // The bytes that continue a character weigh nothing.
            0x80..=0xbf => 0,
            0xc0.. => 4u64,
        };
        Self(text.bytes().map(weigh).sum())
    }

    pub fn tokens(self) -> u64 {
        self.0.div_ceil(4)
    }
}

impl std::ops::AddAssign for Weight {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

/// Tokens of a text, roughly.
pub fn tokens_of(text: &str) -> u64 {
    Weight::of(text).tokens()
}

/// The weight of the texts in a JSON value: of a string, of the `text` and other short strings in arrays and objects. Binary
/// data (`image_url`, `input_audio`, `file`) is left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextWeight(pub Weight);

/// Members that hold data, not text.
const DATA: &[&str] = &["image_url", "input_audio", "file", "role", "type", "id", "index"];

impl<'de> Deserialize<'de> for TextWeight {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = TextWeight;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<TextWeight, E> {
        Ok(TextWeight(Weight::of(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<TextWeight, A::Error> {
        let mut sum = Weight::default();
        while let Some(TextWeight(weight)) = seq.next_element()? {
            sum += weight;
        }
        Ok(TextWeight(sum))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TextWeight, A::Error> {
        let mut sum = Weight::default();
        while let Some(IsData(is_data)) = map.next_key()? {
            if is_data {
                map.next_value::<IgnoredAny>()?;
            } else {
                sum += map.next_value::<TextWeight>()?.0;
            }
        }
        Ok(TextWeight(sum))
    }

    fn visit_bool<E>(self, _: bool) -> Result<TextWeight, E> {
        Ok(TextWeight::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<TextWeight, E> {
        Ok(TextWeight::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<TextWeight, E> {
        Ok(TextWeight::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<TextWeight, E> {
        Ok(TextWeight::default())
    }

    fn visit_unit<E>(self) -> Result<TextWeight, E> {
        Ok(TextWeight::default())
    }
}

/// A member's name, read without keeping it.
struct IsData(bool);

impl<'de> Deserialize<'de> for IsData {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl Visitor<'_> for NameVisitor {
            type Value = IsData;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E>(self, name: &str) -> Result<IsData, E> {
                Ok(IsData(DATA.contains(&name)))
            }
        }
        from.deserialize_str(NameVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn english_and_chinese_weigh_about_what_tokenizers_say() {
        assert_eq!(tokens_of(""), 0);
        assert_eq!(tokens_of("The quick brown fox"), 5);
        assert_eq!(tokens_of("\u{4f60}\u{597d}"), 2);
    }

    #[test]
    fn texts_count_wherever_they_stand_and_data_does_not() {
        let weight = |json: &str| serde_json::from_str::<TextWeight>(json).unwrap().0.0;
        assert_eq!(weight(r#""four""#), 4);
        assert_eq!(
            weight(r#"[{"type":"text","text":"four"},{"type":"image_url","image_url":{"url":"data:x"}}]"#),
            4
        );
        assert_eq!(
            weight(r#"{"tool_calls":[{"id":"i","function":{"name":"f","arguments":"{}"}}],"n":1.5,"b":null}"#),
            3
        );
    }
}
