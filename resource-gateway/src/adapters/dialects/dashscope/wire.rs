//! What the vendor sends, as far as it is read.

use serde::Deserialize;
use serde_json::Value;

use crate::adapters::dialects::reading::{count, if_object};

/// An answer, whole or one event of a stream.
#[derive(Default, Deserialize)]
pub(super) struct Reply {
    #[serde(default)]
    pub(super) request_id: Option<String>,
    #[serde(default)]
    pub(super) output: Option<Output>,
    #[serde(default, deserialize_with = "if_object")]
    pub(super) usage: Option<Usage>,
}

#[derive(Default, Deserialize)]
pub(super) struct Output {
    #[serde(default)]
    pub(super) choices: Option<Vec<Choice>>,
    /// The older form: one text, and no choices.
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(default)]
    pub(super) message: Option<Message>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
    #[serde(default)]
    pub(super) logprobs: Option<Value>,
}

#[derive(Default, Deserialize)]
pub(super) struct Message {
    /// A text, or a list of `{"text": …}` where pictures are understood.
    #[serde(default)]
    pub(super) content: Option<Value>,
    #[serde(default)]
    pub(super) reasoning_content: Option<String>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<ToolCall>>,
}

#[derive(Default, Deserialize)]
pub(super) struct ToolCall {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) function: Option<Function>,
}

#[derive(Default, Deserialize)]
pub(super) struct Function {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) arguments: Option<String>,
}

#[derive(Default, Clone, Copy, Deserialize)]
pub(super) struct Usage {
    #[serde(default, deserialize_with = "count")]
    pub(super) input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    pub(super) output_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    pub(super) total_tokens: Option<u64>,
    #[serde(default, deserialize_with = "if_object")]
    pub(super) prompt_tokens_details: Option<InputDetails>,
    #[serde(default, deserialize_with = "if_object")]
    pub(super) output_tokens_details: Option<OutputDetails>,
}

#[derive(Default, Clone, Copy, Deserialize)]
pub(super) struct InputDetails {
    #[serde(default, deserialize_with = "count")]
    pub(super) cached_tokens: Option<u64>,
}

#[derive(Default, Clone, Copy, Deserialize)]
pub(super) struct OutputDetails {
    #[serde(default, deserialize_with = "count")]
    pub(super) reasoning_tokens: Option<u64>,
}

/// The text of a content.
pub(super) fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let text = |part: &Value| part.get("text").and_then(Value::as_str).map(str::to_owned);
            parts.iter().filter_map(text).collect()
        }
        _ => String::new(),
    }
}
