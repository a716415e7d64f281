//! Cohere's objects: what is written, and of what is read the parts that mean something here.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    adapters::dialects::reading::{count, if_object, if_readable},
    domain::chat::Counts,
};

#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    pub(super) model: &'a str,
    pub(super) stream: bool,
    pub(super) messages: Vec<Message<'a>>,
    #[serde(flatten)]
    pub(super) beside: Map<String, Value>,
}

#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    pub(super) role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_plan: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_call_id: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Text(&'a str),
    Parts(Vec<Part<'a>>),
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: Image<'a> },
    Document { document: Document },
}

#[derive(Debug, Serialize)]
pub(super) struct Image<'a> {
    pub(super) url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) detail: Option<&'a str>,
}

#[derive(Debug, Serialize)]
pub(super) struct Document {
    pub(super) data: Value,
}

/// A whole answer. `message` is a text where it is an error.
#[derive(Debug, Deserialize)]
pub(super) struct Reply {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
    pub(super) message: Said,
    #[serde(default, deserialize_with = "if_object")]
    pub(super) usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Said {
    #[serde(default)]
    pub(super) content: Option<Vec<SaidPart>>,
    #[serde(default)]
    pub(super) tool_plan: Option<String>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<SaidCall>>,
}

/// Text, or a thought.
#[derive(Debug, Default, Deserialize)]
pub(super) struct SaidPart {
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) thinking: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct SaidCall {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) function: Option<SaidFunction>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct SaidFunction {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) arguments: Option<String>,
}

/// An event of a streamed answer. Its name stands in it once more.
#[derive(Debug, Deserialize)]
pub(super) struct Event<'a> {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default, deserialize_with = "if_readable")]
    pub(super) id: Option<String>,
    /// Read by whoever knows the event.
    #[serde(default, borrow)]
    pub(super) delta: Option<&'a RawValue>,
    /// Of an error in place of an event.
    #[serde(default, deserialize_with = "if_readable")]
    pub(super) message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta {
    #[serde(default)]
    pub(super) message: Option<DeltaMessage>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
    #[serde(default, deserialize_with = "if_object")]
    pub(super) usage: Option<Usage>,
    #[serde(default)]
    pub(super) error: Option<String>,
}

/// What is a list at the start is one object afterwards.
#[derive(Debug, Default, Deserialize)]
pub(super) struct DeltaMessage {
    #[serde(default, deserialize_with = "if_readable")]
    pub(super) content: Option<SaidPart>,
    #[serde(default)]
    pub(super) tool_plan: Option<String>,
    #[serde(default, deserialize_with = "if_readable")]
    pub(super) tool_calls: Option<SaidCall>,
}

/// `tokens` are all of them, `billed_units` those that are paid for.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Usage {
    #[serde(default, deserialize_with = "if_object")]
    tokens: Option<Units>,
    #[serde(default, deserialize_with = "if_object")]
    billed_units: Option<Units>,
    #[serde(default, deserialize_with = "count")]
    cached_tokens: Option<u64>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Units {
    #[serde(default, rename = "input_tokens", deserialize_with = "count")]
    pub(super) input: Option<u64>,
    #[serde(default, rename = "output_tokens", deserialize_with = "count")]
    output: Option<u64>,
    #[serde(default, rename = "search_units", deserialize_with = "count")]
    pub(super) searches: Option<u64>,
}

impl From<Usage> for Counts {
    fn from(usage: Usage) -> Self {
        // What is not told of all may be told of what is paid for.
        let of = |units: fn(&Units) -> Option<u64>| {
            let told = [&usage.tokens, &usage.billed_units];
            told.into_iter().flatten().find_map(units)
        };
        Self {
            input: of(|units| units.input),
            output: of(|units| units.output),
            cached_input: usage.cached_tokens,
            ..Self::default()
        }
    }
}
