//! Converse as it stands on the wire. What is large is borrowed from the caller's request.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value, value::RawValue};

use crate::{
    adapters::dialects::{
        reading::{count, if_object},
        writing::Arguments,
    },
    domain::chat,
};

/// A request. `null` is no value here, so what is not there is left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request<'a> {
    pub(super) messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) system: Vec<Block<'a>>,
    #[serde(skip_serializing_if = "InferenceConfig::is_empty")]
    pub(super) inference_config: InferenceConfig<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_config: Option<ToolConfig<'a>>,
    /// The caller's members by the vendor's own names.
    #[serde(flatten)]
    pub(super) more: Map<String, Value>,
}

#[derive(Debug, Serialize)]
pub(super) struct Turn<'a> {
    pub(super) role: &'static str,
    pub(super) content: Vec<Block<'a>>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InferenceConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) temperature: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) top_p: Option<&'a Number>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) stop_sequences: Vec<&'a str>,
}

impl InferenceConfig<'_> {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Block<'a> {
    Text(&'a str),
    Image(Media<'a>),
    Document(Document<'a>),
    #[serde(rename_all = "camelCase")]
    ToolUse {
        tool_use_id: String,
        name: &'a str,
        input: Arguments<'a>,
    },
    #[serde(rename_all = "camelCase")]
    ToolResult {
        tool_use_id: String,
        content: Vec<Block<'a>>,
        status: &'static str,
    },
    /// Within a tool's result only.
    Json(&'a RawValue),
    ReasoningContent(Reasoning<'a>),
    CachePoint(CachePoint),
}

#[derive(Debug, Serialize)]
pub(super) struct Media<'a> {
    pub(super) format: &'static str,
    pub(super) source: Bytes<'a>,
}

#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    pub(super) format: &'static str,
    pub(super) name: String,
    pub(super) source: Bytes<'a>,
}

/// Base64.
#[derive(Debug, Serialize)]
pub(super) struct Bytes<'a> {
    pub(super) bytes: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Reasoning<'a> {
    ReasoningText { text: &'a str, signature: &'a str },
    RedactedContent(&'a str),
}

#[derive(Debug, Serialize)]
pub(super) struct CachePoint {
    r#type: &'static str,
}

impl CachePoint {
    pub(super) const DEFAULT: Self = Self { r#type: "default" };
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolConfig<'a> {
    pub(super) tools: Vec<ToolEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_choice: Option<Choice<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ToolEntry<'a> {
    #[serde(rename_all = "camelCase")]
    ToolSpec {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        input_schema: Schema<'a>,
    },
    CachePoint(CachePoint),
}

#[derive(Debug, Serialize)]
pub(super) struct Schema<'a> {
    pub(super) json: chat::Schema<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Choice<'a> {
    Auto {},
    Any {},
    Tool { name: &'a str },
}

/// A whole answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reply<'a> {
    #[serde(borrow, default)]
    pub(super) output: Option<Output<'a>>,
    #[serde(default)]
    pub(super) stop_reason: Option<String>,
    #[serde(default, deserialize_with = "if_object")]
    pub(super) usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Output<'a> {
    #[serde(borrow, default)]
    pub(super) message: Option<ReplyMessage<'a>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ReplyMessage<'a> {
    #[serde(borrow, default)]
    pub(super) content: Vec<ReplyBlock<'a>>,
}

/// One of these; kinds that are not known here say nothing to the caller.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReplyBlock<'a> {
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(borrow, default)]
    pub(super) tool_use: Option<ReplyToolUse<'a>>,
    #[serde(default)]
    pub(super) reasoning_content: Option<ReplyReasoning>,
    /// Text again, with where it comes from.
    #[serde(default)]
    pub(super) citations_content: Option<Cited>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReplyToolUse<'a> {
    pub(super) tool_use_id: String,
    pub(super) name: String,
    #[serde(borrow, default)]
    pub(super) input: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReplyReasoning {
    #[serde(default)]
    pub(super) reasoning_text: Option<ReasoningText>,
    #[serde(default)]
    pub(super) redacted_content: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ReasoningText {
    #[serde(default)]
    pub(super) text: String,
    #[serde(default)]
    pub(super) signature: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Cited {
    #[serde(default)]
    pub(super) content: Vec<CitedText>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CitedText {
    #[serde(default)]
    pub(super) text: String,
}

/// Tokens.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Usage {
    #[serde(default, rename = "inputTokens", deserialize_with = "count")]
    pub(super) input: Option<u64>,
    #[serde(default, rename = "outputTokens", deserialize_with = "count")]
    pub(super) output: Option<u64>,
    #[serde(default, rename = "totalTokens", deserialize_with = "count")]
    pub(super) total: Option<u64>,
    #[serde(default, rename = "cacheReadInputTokens", deserialize_with = "count")]
    pub(super) cache_read: Option<u64>,
    #[serde(default, rename = "cacheWriteInputTokens", deserialize_with = "count")]
    pub(super) cache_write: Option<u64>,
}

/// What a frame of a stream holds; which members there are is said by the frame's type.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Event {
    pub(super) content_block_index: u64,
    pub(super) start: Option<Start>,
    pub(super) delta: Option<Delta>,
    pub(super) stop_reason: Option<String>,
    #[serde(deserialize_with = "if_object")]
    pub(super) usage: Option<Usage>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Start {
    pub(super) tool_use: Option<StartToolUse>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StartToolUse {
    pub(super) tool_use_id: String,
    pub(super) name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Delta {
    pub(super) text: Option<String>,
    pub(super) tool_use: Option<ToolUseDelta>,
    pub(super) reasoning_content: Option<ReasoningDelta>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ToolUseDelta {
    pub(super) input: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ReasoningDelta {
    pub(super) text: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) redacted_content: Option<String>,
}
