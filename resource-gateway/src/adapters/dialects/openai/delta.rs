//! What a choice says, whole (`message`) or piece by piece (`delta`).

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::wire::Ear;
use crate::domain::{
    estimate::{Listener, Texts, Weight},
    said::{Manner, Said},
};

/// Weighs the texts of a choice, and keeps those that vendors count as output.
pub(super) struct Delta<'c, 's> {
    pub(super) ear: &'c mut Ear<'s>,
    pub(super) index: u64,
    pub(super) weight: &'c mut Weight,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum DeltaField {
    #[serde(alias = "refusal")]
    Content,
    /// Each server has its own word for it.
    #[serde(rename = "reasoning_content", alias = "reasoning", alias = "thinking")]
    Reasoning,
    #[serde(alias = "function_call")]
    ToolCalls,
    #[serde(rename = "role", alias = "type", alias = "id", alias = "index")]
    Data,
    /// Not known as output; it still shows that something came.
    #[serde(other)]
    Other,
}

impl Delta<'_, '_> {
    fn hears(&mut self, manner: Option<Manner>) -> Hearing<'_> {
        let said = match (&mut *self.ear, manner) {
            (Ear::Listening(said), Some(manner)) => Some((&mut **said, manner)),
            _ => None,
        };
        Hearing {
            weight: &mut *self.weight,
            index: self.index,
            said,
            heard: false,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Delta<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Delta<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message or a part of one")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut reasoned = false;
        while let Some(field) = map.next_key()? {
            let manner = match field {
                DeltaField::Content => Some(Manner::Speech),
                // Some servers send the same thoughts under two names.
                DeltaField::Reasoning if reasoned => None,
                DeltaField::Reasoning => Some(Manner::Reasoning),
                DeltaField::ToolCalls => Some(Manner::ToolCalls),
                DeltaField::Other => None,
                DeltaField::Data => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let mut hearing = self.hears(manner);
            map.next_value_seed(Texts(&mut hearing))?;
            reasoned |= hearing.heard && manner == Some(Manner::Reasoning);
        }
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.hears(Some(Manner::Speech)).text(text);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Texts(&mut self.hears(None)))?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
}

struct Hearing<'h> {
    weight: &'h mut Weight,
    index: u64,
    said: Option<(&'h mut Said, Manner)>,
    heard: bool,
}

impl Listener for Hearing<'_> {
    fn text(&mut self, text: &str) {
        *self.weight += Weight::of(text);
        self.heard |= !text.is_empty();
        if let Some((said, manner)) = &mut self.said {
            said.add(self.index, *manner, text);
        }
    }

    fn picture(&mut self) {}

    fn number(&mut self) {}
}
