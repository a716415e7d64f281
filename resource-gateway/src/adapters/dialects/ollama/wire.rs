//! Ollama's objects: what is written, and of what is read the parts that mean something here.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{adapters::dialects::reading::count, domain::chat::Counts};

#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    pub(super) model: &'a str,
    /// The vendor streams unless it is told not to.
    pub(super) stream: bool,
    #[serde(flatten)]
    pub(super) asked: Asked<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) format: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) think: Option<Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) options: Map<String, Value>,
    #[serde(flatten)]
    pub(super) beside: Map<String, Value>,
}

/// What is different between the two ways to ask.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Asked<'a> {
    Chat {
        messages: Vec<Message<'a>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tools: Vec<Value>,
    },
    Generate {
        prompt: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        system: Option<String>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        images: Vec<&'a str>,
    },
}

#[derive(Debug, Serialize)]
pub(super) struct Message<'a> {
    pub(super) role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Cow<'a, str>>,
    /// In base64.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) images: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thinking: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) tool_calls: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_name: Option<&'a str>,
}

/// A whole answer, or a line of a streamed one.
#[derive(Debug, Deserialize)]
pub(super) struct Reply {
    #[serde(default)]
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) message: Option<Said>,
    /// In place of `message`, where a prompt was completed.
    #[serde(default)]
    response: Option<String>,
    #[serde(default)]
    thinking: Option<String>,
    #[serde(default)]
    pub(super) done: Option<bool>,
    #[serde(default)]
    pub(super) done_reason: Option<String>,
    #[serde(default, deserialize_with = "count")]
    prompt_eval_count: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    eval_count: Option<u64>,
    #[serde(default)]
    pub(super) error: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Said {
    #[serde(default)]
    pub(super) content: Option<String>,
    #[serde(default)]
    pub(super) thinking: Option<String>,
    #[serde(default)]
    pub(super) tool_calls: Option<Vec<SaidCall>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SaidCall {
    /// Newer servers give one.
    #[serde(default)]
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) function: SaidFunction,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct SaidFunction {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) arguments: Value,
}

impl Reply {
    /// What was said, whichever way was asked.
    pub(super) fn said(&mut self) -> Option<Said> {
        let completed = self.response.take().map(|text| Said {
            content: Some(text),
            thinking: self.thinking.take(),
            tool_calls: None,
        });
        self.message.take().or(completed)
    }

    /// `None` before the end. What was read from a cache is not counted as input.
    pub(super) fn counts(&self) -> Option<Counts> {
        let counts = Counts {
            input: self.prompt_eval_count,
            output: self.eval_count,
            ..Counts::default()
        };
        counts.says_anything().then_some(counts)
    }
}
