//! Cohere's objects: what is written, and of what is read the parts that mean something here.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::domain::chat::Counts;

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
    #[serde(default, deserialize_with = "if_readable")]
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
pub(super) struct Event {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) delta: Option<Delta>,
    /// Of an error in place of an event.
    #[serde(default)]
    pub(super) message: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Delta {
    #[serde(default)]
    pub(super) message: Option<DeltaMessage>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
    #[serde(default, deserialize_with = "if_readable")]
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
    #[serde(default)]
    tokens: Option<Units>,
    #[serde(default)]
    billed_units: Option<Units>,
    #[serde(default)]
    cached_tokens: Option<Value>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Units {
    #[serde(default, rename = "input_tokens")]
    pub(super) input: Option<Value>,
    #[serde(default, rename = "output_tokens")]
    output: Option<Value>,
    #[serde(default, rename = "search_units")]
    pub(super) searches: Option<Value>,
}

impl From<Usage> for Counts {
    fn from(usage: Usage) -> Self {
        let units = usage.tokens.or(usage.billed_units);
        Self {
            input: units.as_ref().and_then(|units| count(units.input.as_ref()?)),
            output: units.as_ref().and_then(|units| count(units.output.as_ref()?)),
            cached_input: usage.cached_tokens.as_ref().and_then(count),
            ..Self::default()
        }
    }
}

/// A count; some are written as `60.0`.
pub(super) fn count(number: &Value) -> Option<u64> {
    number.as_u64().or_else(|| {
        let float = number.as_f64().filter(|float| *float >= 0.0)?;
        format!("{float:.0}").parse().ok()
    })
}

/// An answer is not thrown away for its bill, nor a stream for an event that says nothing here.
fn if_readable<'de, D: Deserializer<'de>, T: DeserializeOwned>(from: D) -> Result<Option<T>, D::Error> {
    let value = Option::<Value>::deserialize(from)?;
    Ok(value.and_then(|value| serde_json::from_value(value).ok()))
}
