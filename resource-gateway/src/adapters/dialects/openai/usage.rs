//! `usage`, with the names that other servers have for its parts. Some send both names of a count.

use serde::Deserialize;

use crate::{
    adapters::dialects::reading::{count, if_object},
    domain::chat::Counts,
    ports::codec::TokenUsage,
};

/// Tokens.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Usage {
    #[serde(default, deserialize_with = "count")]
    prompt_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    completion_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    output_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    total_tokens: Option<u64>,
    #[serde(default, deserialize_with = "if_object")]
    prompt_tokens_details: Option<Details>,
    #[serde(default, deserialize_with = "if_object")]
    input_tokens_details: Option<Details>,
    #[serde(default, deserialize_with = "if_object")]
    completion_tokens_details: Option<Details>,
    #[serde(default, deserialize_with = "if_object")]
    output_tokens_details: Option<Details>,
    /// DeepSeek's name for cached input.
    #[serde(default, deserialize_with = "count")]
    prompt_cache_hit_tokens: Option<u64>,
}

/// Parts of input or of output.
#[derive(Debug, Deserialize)]
struct Details {
    #[serde(default, deserialize_with = "count")]
    cached_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    reasoning_tokens: Option<u64>,
}

impl Usage {
    /// What was used, if there is any count that can be read.
    pub(super) fn told(self) -> Option<TokenUsage> {
        let counts = Counts::from(self);
        (counts.says_anything() || counts.total.is_some()).then(|| token_usage(counts))
    }

    /// The same of an answer in words, whose total alone says too little.
    pub(super) fn told_of_chat(self) -> Option<TokenUsage> {
        let counts = Counts::from(self);
        counts.says_anything().then(|| token_usage(counts))
    }
}

impl From<Usage> for Counts {
    fn from(usage: Usage) -> Self {
        let cached = |details: Option<Details>| details.and_then(|details| details.cached_tokens);
        let reasoning = |details: Option<Details>| details.and_then(|details| details.reasoning_tokens);
        Self {
            input: usage.prompt_tokens.or(usage.input_tokens),
            output: usage.completion_tokens.or(usage.output_tokens),
            total: usage.total_tokens,
            cached_input: cached(usage.prompt_tokens_details)
                .or(cached(usage.input_tokens_details))
                .or(usage.prompt_cache_hit_tokens),
            reasoning: reasoning(usage.completion_tokens_details).or(reasoning(usage.output_tokens_details)),
            ..Self::default()
        }
    }
}

/// A total alone is input: answers without text have no output.
fn token_usage(counts: Counts) -> TokenUsage {
    let total = counts.total.unwrap_or(0);
    let output = counts
        .output
        .unwrap_or_else(|| total.saturating_sub(counts.input.unwrap_or(total)));
    TokenUsage {
        input: counts.input.unwrap_or_else(|| total.saturating_sub(output)),
        output,
        cached_input: counts.cached_input,
        reasoning: counts.reasoning,
        ..TokenUsage::default()
    }
}
