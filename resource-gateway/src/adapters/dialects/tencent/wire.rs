//! Hunyuan's chat as it stands on the wire.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Number, Value};

use crate::adapters::dialects::reading::{count, if_object};

/// What every answer that is no stream stands in.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Envelope<T> {
    pub(super) response: T,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Request<'a> {
    #[serde(flatten)]
    pub(super) options: &'a Map<String, Value>,
    pub(super) model: &'a str,
    pub(super) messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) temperature: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) top_p: Option<&'a Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seed: Option<&'a Number>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) stop: &'a [Cow<'a, str>],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) custom_tool: Option<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) enable_thinking: Option<bool>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Message<'a> {
    pub(super) role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) contents: Vec<Part<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<ToolCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_call_id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(tag = "Type", rename_all = "snake_case")]
pub(super) enum Part<'a> {
    #[serde(rename_all = "PascalCase")]
    Text { text: &'a str },
    #[serde(rename_all = "PascalCase")]
    ImageUrl { image_url: Link<'a> },
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Link<'a> {
    pub(super) url: Url<'a>,
}

/// A URL that may hold a picture: it is put together where it is written, so that a large one is copied once.
pub(super) enum Url<'a> {
    Plain(&'a str),
    Data { media_type: &'a str, base64: &'a str },
}

impl fmt::Display for Url<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(url) => f.write_str(url),
            Self::Data { media_type, base64 } => write!(f, "data:{media_type};base64,{base64}"),
        }
    }
}

impl Serialize for Url<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tool<'a> {
    pub(super) r#type: &'static str,
    pub(super) function: Function<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    /// A JSON text.
    pub(super) parameters: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ToolCall<'a> {
    pub(super) id: Cow<'a, str>,
    pub(super) r#type: &'static str,
    pub(super) function: Called<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Called<'a> {
    pub(super) name: &'a str,
    pub(super) arguments: &'a str,
}

/// A whole answer, or an event of one.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Reply {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) created: Option<i64>,
    #[serde(default)]
    pub(super) choices: Option<Vec<ReplyChoice>>,
    #[serde(default, deserialize_with = "if_object")]
    pub(super) usage: Option<Usage>,
    #[serde(default)]
    pub(super) error_msg: Option<ErrorMsg>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ReplyChoice {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(default)]
    pub(super) message: Option<Said>,
    /// In place of `Message`, where it is a part.
    #[serde(default)]
    pub(super) delta: Option<Said>,
    #[serde(default)]
    pub(super) finish_reason: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Said {
    #[serde(default)]
    pub(super) content: Option<String>,
    #[serde(default)]
    pub(super) reasoning_content: Option<String>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<SaidCall>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SaidCall {
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(default)]
    pub(super) function: Option<SaidFunction>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SaidFunction {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) arguments: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
pub(super) struct Usage {
    #[serde(default, rename = "PromptTokens", deserialize_with = "count")]
    pub(super) prompt: Option<u64>,
    #[serde(default, rename = "CompletionTokens", deserialize_with = "count")]
    pub(super) completion: Option<u64>,
    #[serde(default, rename = "TotalTokens", deserialize_with = "count")]
    pub(super) total: Option<u64>,
}

/// A failure after the answer began.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ErrorMsg {
    #[serde(default)]
    pub(super) msg: Option<String>,
    /// A number.
    #[serde(default)]
    pub(super) code: Option<Value>,
}
