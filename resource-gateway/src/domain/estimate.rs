//! Tokens as they can be told without a vocabulary: rough on purpose, and quick. This is what limits and budgets hold back for a call
//! before it begins; what a vendor did not count is counted afterwards, see [`Said`](super::said::Said).

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

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

    /// The tokens of a text of which a part of this weight was counted, and the rest is only weighed.
    pub fn extended(self, counted: u64, rest: Self) -> u64 {
        let more = match self.0 {
            0 => rest.tokens(),
            weight => {
                let more = (u128::from(counted) * u128::from(rest.0)).div_ceil(u128::from(weight));
                u64::try_from(more).unwrap_or(u64::MAX)
            }
        };
        counted.saturating_add(more)
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

/// Hears what a JSON value says.
pub trait Listener {
    fn text(&mut self, text: &str);
    /// A picture stands there, by address or as data.
    fn picture(&mut self);
    fn number(&mut self);
}

impl Listener for Weight {
    fn text(&mut self, text: &str) {
        *self += Self::of(text);
    }

    fn picture(&mut self) {}

    fn number(&mut self) {}
}

/// Tells a listener of the texts in a JSON value: of a string, of the `text` and other strings in arrays and objects. Binary data
/// (`image_url`, `input_audio`, `file`) is left out.
#[derive(Debug)]
pub struct Texts<'l, L>(pub &'l mut L);

/// The weight of the texts in a JSON value.
#[derive(Debug, Clone, Copy, Default)]
pub struct TextWeight(pub Weight);

impl<'de> Deserialize<'de> for TextWeight {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut weight = Weight::default();
        Texts(&mut weight).deserialize(from)?;
        Ok(Self(weight))
    }
}

impl<'de, L: Listener> DeserializeSeed<'de> for Texts<'_, L> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de, L: Listener> Visitor<'de> for Texts<'_, L> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.text(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Texts(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(kind) = map.next_key()? {
            match kind {
                Kind::Text => map.next_value_seed(Texts(&mut *self.0))?,
                Kind::Picture => {
                    self.0.picture();
                    map.next_value::<IgnoredAny>()?;
                }
                Kind::Data => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        self.0.number();
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        self.0.number();
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        self.0.number();
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// What a member's name says of its value.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Kind {
    #[serde(rename = "image_url")]
    Picture,
    /// Data, and words that no model reads.
    #[serde(
        rename = "input_audio",
        alias = "file",
        alias = "role",
        alias = "type",
        alias = "id",
        alias = "index",
        alias = "tool_call_id"
    )]
    Data,
    #[serde(other)]
    Text,
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
    fn what_is_only_weighed_counts_as_what_was_counted() {
        assert_eq!(Weight(100).extended(20, Weight(0)), 20);
        assert_eq!(Weight(100).extended(20, Weight(50)), 30);
        assert_eq!(Weight(3).extended(1, Weight(1)), 2, "parts of tokens are tokens");
        assert_eq!(Weight(0).extended(0, Weight(9)), 3);
        assert_eq!(Weight(1).extended(u64::MAX, Weight(u64::MAX)), u64::MAX);
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
