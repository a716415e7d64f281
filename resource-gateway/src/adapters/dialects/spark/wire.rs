//! The vendor's frames.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    adapters::dialects::reading::{count, if_object},
    domain::chat::{Counts, Schema, Text},
};

/// What we say: all of it in one frame.
#[derive(Serialize)]
pub(super) struct Request<'a> {
    pub(super) header: Caller<'a>,
    pub(super) parameter: Parameter<'a>,
    pub(super) payload: Payload<'a>,
}

#[derive(Serialize)]
pub(super) struct Caller<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) app_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) uid: Option<Text<'a>>,
}

#[derive(Serialize)]
pub(super) struct Parameter<'a> {
    pub(super) chat: Settings<'a>,
}

#[derive(Serialize)]
pub(super) struct Settings<'a> {
    pub(super) domain: &'a str,
    #[serde(flatten)]
    pub(super) more: Map<String, Value>,
}

#[derive(Serialize)]
pub(super) struct Payload<'a> {
    pub(super) message: Texts<Said<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) functions: Option<Texts<Function<'a>>>,
}

#[derive(Serialize)]
pub(super) struct Texts<T> {
    pub(super) text: Vec<T>,
}

#[derive(Serialize)]
pub(super) struct Said<'a> {
    pub(super) role: &'static str,
    pub(super) content: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function_call: Option<Called<'a>>,
}

#[derive(Serialize)]
pub(super) struct Called<'a> {
    pub(super) name: &'a str,
    pub(super) arguments: &'a str,
}

#[derive(Serialize)]
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parameters: Option<Schema<'a>>,
}

/// What the vendor says: each frame a piece of the answer.
#[derive(Deserialize)]
pub(super) struct Frame {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) payload: Option<Told>,
}

#[derive(Deserialize)]
pub(super) struct Header {
    /// 0 unless something failed.
    #[serde(default)]
    pub(super) code: i64,
    #[serde(default)]
    pub(super) message: Option<String>,
    #[serde(default)]
    pub(super) sid: Option<String>,
    #[serde(default)]
    pub(super) status: Option<u8>,
}

/// `status` of the last frame.
pub(super) const LAST: u8 = 2;

impl Frame {
    /// Nothing comes behind it.
    pub(super) fn is_last(&self) -> bool {
        let choices = self.payload.as_ref().and_then(|payload| payload.choices.as_ref());
        let answered = choices.and_then(|choices| choices.status);
        self.header.code != 0 || self.header.status == Some(LAST) || answered == Some(LAST)
    }
}

#[derive(Deserialize)]
pub(super) struct Told {
    #[serde(default)]
    pub(super) choices: Option<Choices>,
    #[serde(default, deserialize_with = "if_object")]
    pub(super) usage: Option<Usage>,
}

#[derive(Deserialize)]
pub(super) struct Choices {
    #[serde(default)]
    pub(super) status: Option<u8>,
    #[serde(default)]
    pub(super) text: Vec<Piece>,
}

#[derive(Deserialize)]
pub(super) struct Piece {
    #[serde(default)]
    pub(super) content: Option<String>,
    #[serde(default)]
    pub(super) reasoning_content: Option<String>,
    #[serde(default)]
    pub(super) function_call: Option<Wanted>,
}

#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(default)]
    pub(super) name: Option<String>,
    #[serde(default)]
    pub(super) arguments: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Usage {
    #[serde(default, deserialize_with = "if_object")]
    text: Option<Tokens>,
}

#[derive(Deserialize)]
#[expect(clippy::struct_field_names, reason = "the vendor's names")]
struct Tokens {
    #[serde(default, deserialize_with = "count")]
    prompt_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    completion_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    total_tokens: Option<u64>,
}

impl Usage {
    pub(super) fn counts(&self) -> Option<Counts> {
        let tokens = self.text.as_ref()?;
        Some(Counts {
            input: tokens.prompt_tokens,
            output: tokens.completion_tokens,
            total: tokens.total_tokens,
            ..Counts::default()
        })
    }
}
