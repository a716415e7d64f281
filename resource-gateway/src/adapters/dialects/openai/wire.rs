//! The parts of OpenAI's answers that are read. All else passes unseen.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::{
    domain::estimate::{TextWeight, Weight},
    ports::codec::TokenUsage,
};

/// A whole answer, or one chunk of a stream.
#[derive(Deserialize)]
pub(super) struct Reply<'a> {
    #[serde(default)]
    pub(super) choices: Option<Choices>,
    #[serde(default)]
    pub(super) data: Option<Count>,
    #[serde(default)]
    pub(super) results: Option<Count>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
}

impl Reply<'_> {
    /// The counts, if there are any that can be read: an answer is not thrown away for its bill.
    pub(super) fn token_usage(&self) -> Option<TokenUsage> {
        let usage: Usage = serde_json::from_str(self.usage?.get()).ok()?;
        Some(usage.into())
    }
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

/// `usage`. Compatible servers leave parts out, or add some. What is not about text is counted as input and output.
#[derive(Deserialize)]
pub(super) struct Usage {
    #[serde(default, alias = "input_tokens")]
    prompt_tokens: Option<u64>,
    #[serde(default, alias = "output_tokens")]
    completion_tokens: Option<u64>,
    #[serde(default)]
    total_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<PromptDetails>,
    #[serde(default)]
    completion_tokens_details: Option<CompletionDetails>,
    /// DeepSeek's name for cached input.
    #[serde(default)]
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct PromptDetails {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    #[serde(default)]
    reasoning_tokens: Option<u64>,
}

impl From<Usage> for TokenUsage {
    fn from(usage: Usage) -> Self {
        let total = usage.total_tokens.unwrap_or(0);
        let cached = usage.prompt_tokens_details.and_then(|details| details.cached_tokens);
        let output = usage
            .completion_tokens
            .unwrap_or_else(|| total.saturating_sub(usage.prompt_tokens.unwrap_or(total)));
        Self {
            input: usage.prompt_tokens.unwrap_or_else(|| total.saturating_sub(output)),
            output,
            cached_input: cached.or(usage.prompt_cache_hit_tokens),
            reasoning: usage
                .completion_tokens_details
                .and_then(|details| details.reasoning_tokens),
            ..Self::default()
        }
    }
}

/// What all `choices` come to.
#[derive(Debug, Default)]
pub(super) struct Choices {
    pub(super) count: usize,
    pub(super) weight: Weight,
    /// Which ones they are, and which of them have a finish reason: a bit for each index.
    pub(super) seen: u128,
    pub(super) finished: u128,
    /// Moonshot puts usage here.
    pub(super) usage: Option<TokenUsage>,
}

impl<'de> Deserialize<'de> for Choices {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_seq(ChoicesVisitor)
    }
}

struct ChoicesVisitor;

impl<'de> Visitor<'de> for ChoicesVisitor {
    type Value = Choices;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of choices")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Choices, A::Error> {
        let mut all = Choices::default();
        while let Some(choice) = seq.next_element::<Choice>()? {
            all.count += 1;
            all.weight += choice.weight;
            // OpenAI's `n` is 128 at most; what is beyond that shares the last bit.
            let bit = 1 << choice.index.min(127);
            all.seen |= bit;
            all.finished |= if choice.finished { bit } else { 0 };
            all.usage = choice.usage.or(all.usage);
        }
        Ok(all)
    }
}

#[derive(Default)]
struct Choice {
    index: u64,
    weight: Weight,
    finished: bool,
    usage: Option<TokenUsage>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ChoiceField {
    Index,
    Delta,
    Message,
    FinishReason,
    Usage,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ChoiceVisitor;
        impl<'de> Visitor<'de> for ChoiceVisitor {
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
                        ChoiceField::Delta | ChoiceField::Message => {
                            choice.weight += map.next_value::<TextWeight>()?.0;
                        }
                        ChoiceField::FinishReason => {
                            choice.finished = map.next_value::<Option<IgnoredAny>>()?.is_some();
                        }
                        ChoiceField::Usage => choice.usage = map.next_value::<Option<Usage>>()?.map(Into::into),
                        ChoiceField::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(choice)
            }
        }
        from.deserialize_map(ChoiceVisitor)
    }
}
