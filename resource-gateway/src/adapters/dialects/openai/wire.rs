//! The parts of OpenAI's answers that are read. All else passes unseen.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{delta, usage::Usage};
use crate::{
    adapters::dialects::events::ChoiceSet,
    domain::{estimate::Weight, said::Said},
    ports::codec::TokenUsage,
};

/// What is done with the texts of an answer.
#[derive(Debug)]
pub(super) enum Ear<'s> {
    /// Nothing: whoever wants them reads the answer again.
    Deaf,
    /// They are weighed: whether something came.
    Weighing,
    /// They are kept as well, to be counted.
    Listening(&'s mut Said),
}

/// A whole answer, or one chunk of a stream.
#[derive(Default)]
pub(super) struct Reply<'a> {
    pub(super) choices: Option<Choices>,
    pub(super) data: Option<Count>,
    pub(super) results: Option<Count>,
    usage: Option<&'a RawValue>,
    pub(super) error: Option<&'a RawValue>,
}

/// Reads an answer.
pub(super) fn read<'a>(json: &'a [u8], ear: Ear<'_>) -> serde_json::Result<Reply<'a>> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let reply = ReplySeed(ear).deserialize(&mut reader)?;
    reader.end()?;
    Ok(reply)
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ReplyField {
    Choices,
    Data,
    Results,
    Usage,
    Error,
    #[serde(other)]
    Other,
}

struct ReplySeed<'s>(Ear<'s>);

impl<'de> DeserializeSeed<'de> for ReplySeed<'_> {
    type Value = Reply<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Reply<'de>, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ReplySeed<'_> {
    type Value = Reply<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Reply<'de>, A::Error> {
        let mut reply = Reply::default();
        while let Some(field) = map.next_key()? {
            match field {
                ReplyField::Choices => once(&mut reply.choices, map.next_value_seed(ChoicesSeed(&mut self.0))?)?,
                ReplyField::Data => once(&mut reply.data, map.next_value()?)?,
                ReplyField::Results => once(&mut reply.results, map.next_value()?)?,
                ReplyField::Usage => once(&mut reply.usage, map.next_value()?)?,
                ReplyField::Error => once(&mut reply.error, map.next_value()?)?,
                ReplyField::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(reply)
    }
}

/// A member that stands there twice is no answer: its caller might read the other one.
fn once<T, E: de::Error>(slot: &mut Option<T>, value: Option<T>) -> Result<(), E> {
    if slot.is_some() && value.is_some() {
        return Err(E::custom("a member stands there twice"));
    }
    *slot = value.or(slot.take());
    Ok(())
}

impl Reply<'_> {
    /// The counts, if there are any that can be read: an answer is not thrown away for its bill.
    pub(super) fn token_usage(&self) -> Option<TokenUsage> {
        let usage: Usage = serde_json::from_str(self.usage?.get()).ok()?;
        match self.choices {
            Some(_) => usage.told_of_chat(),
            None => usage.told(),
        }
    }

    /// Whether it says what was used, readable or not.
    pub(super) fn tells_usage(&self) -> bool {
        self.usage.is_some() || self.choices.as_ref().is_some_and(|choices| choices.counts)
    }
}

/// What a choice of an answer says of it.
fn counts(usage: &RawValue) -> Option<TokenUsage> {
    let usage: Usage = serde_json::from_str(usage.get()).ok()?;
    usage.told_of_chat()
}

/// How long a list is whose elements are not looked at.
pub(super) struct Count(pub(super) u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct CountVisitor;
        impl<'de> Visitor<'de> for CountVisitor {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Count, A::Error> {
                let mut count = 0;
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Count(count))
            }
        }
        from.deserialize_seq(CountVisitor)
    }
}

/// What all `choices` come to.
#[derive(Debug, Default)]
pub(super) struct Choices {
    pub(super) count: usize,
    pub(super) weight: Weight,
    /// Which ones they are; those with a finish reason have ended.
    pub(super) known: ChoiceSet,
    /// Moonshot puts usage here.
    pub(super) usage: Option<TokenUsage>,
    /// It is told there, whether it can be read or not.
    pub(super) counts: bool,
    /// One of them says nothing, not even that it says nothing.
    pub(super) bare: bool,
}

/// `None` for null.
struct ChoicesSeed<'e, 's>(&'e mut Ear<'s>);

impl<'de> DeserializeSeed<'de> for ChoicesSeed<'_, '_> {
    type Value = Option<Choices>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<Choices>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ChoicesSeed<'_, '_> {
    type Value = Option<Choices>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of choices")
    }

    fn visit_unit<E>(self) -> Result<Option<Choices>, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Option<Choices>, A::Error> {
        let mut all = Choices::default();
        while let Some(choice) = seq.next_element_seed(ChoiceSeed(&mut *self.0))? {
            all.count += 1;
            all.weight += choice.weight;
            // OpenAI's `n` is 128 at most.
            let index = u32::try_from(choice.index).unwrap_or(u32::MAX);
            all.known.begin(index);
            if choice.finished {
                all.known.end(index);
            }
            all.usage = choice.usage.or(all.usage);
            all.counts |= choice.counts;
            all.bare |= !choice.says;
        }
        Ok(Some(all))
    }
}

#[derive(Default)]
struct Choice {
    index: u64,
    weight: Weight,
    finished: bool,
    usage: Option<TokenUsage>,
    counts: bool,
    says: bool,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ChoiceField {
    Index,
    #[serde(alias = "message")]
    Delta,
    FinishReason,
    Usage,
    #[serde(other)]
    Other,
}

struct ChoiceSeed<'e, 's>(&'e mut Ear<'s>);

impl<'de> DeserializeSeed<'de> for ChoiceSeed<'_, '_> {
    type Value = Choice;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Choice, D::Error> {
        from.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ChoiceSeed<'_, '_> {
    type Value = Choice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a choice")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Choice, A::Error> {
        let mut choice = Choice::default();
        while let Some(field) = map.next_key()? {
            match field {
                // Servers that have only one choice leave it out, or send null.
                ChoiceField::Index => {
                    choice.index = map.next_value::<serde_json::Value>()?.as_u64().unwrap_or(0);
                }
                ChoiceField::Delta => {
                    // Servers that send both names send the same.
                    let again = std::mem::replace(&mut choice.says, true);
                    match &mut *self.0 {
                        ear if again || matches!(ear, Ear::Deaf) => {
                            map.next_value::<IgnoredAny>()?;
                        }
                        ear => map.next_value_seed(delta::Delta {
                            ear,
                            index: choice.index,
                            weight: &mut choice.weight,
                        })?,
                    }
                }
                ChoiceField::FinishReason => {
                    choice.finished = map.next_value::<Ended>()?.0;
                }
                ChoiceField::Usage => {
                    let usage = map.next_value::<Option<&RawValue>>()?;
                    choice.counts = usage.is_some();
                    choice.usage = usage.and_then(counts);
                }
                ChoiceField::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(choice)
    }
}

/// Whether a reason for the end is one. Until then some servers write an empty text.
struct Ended(bool);

impl<'de> Deserialize<'de> for Ended {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(EndedVisitor)
    }
}

struct EndedVisitor;

impl<'de> Visitor<'de> for EndedVisitor {
    type Value = Ended;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a reason for the end")
    }

    fn visit_unit<E>(self) -> Result<Ended, E> {
        Ok(Ended(false))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Ended, E> {
        Ok(Ended(true))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Ended, E> {
        Ok(Ended(true))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Ended, E> {
        Ok(Ended(true))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Ended, E> {
        Ok(Ended(true))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Ended, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Ended(true))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ended, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Ended(true))
    }

    fn visit_str<E>(self, word: &str) -> Result<Ended, E> {
        Ok(Ended(is_end(word)))
    }
}

/// Whether a reason for the end says that it has come.
pub(super) fn is_end(word: &str) -> bool {
    !matches!(word, "" | "null")
}
