//! Template's objects: what is written, and of what is read the parts that mean something here. Members that are not known are skipped.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    adapters::dialects::reading::{count, if_object},
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
    pub(super) text: Cow<'a, str>,
}

/// A whole answer.
#[derive(Debug, Deserialize)]
pub(super) struct Reply {
    #[serde(default)]
    pub(super) id: Option<String>,
    pub(super) text: String,
    #[serde(default)]
    pub(super) end: Option<String>,
    #[serde(default, deserialize_with = "if_object")]
    pub(super) used: Option<Used>,
}

/// An event of a streamed answer.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    #[serde(default)]
    pub(super) text: Option<String>,
    #[serde(default)]
    pub(super) end: Option<String>,
    #[serde(default, deserialize_with = "if_object")]
    pub(super) used: Option<Used>,
    #[serde(default)]
    pub(super) error: Option<Value>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Used {
    #[serde(default, deserialize_with = "count")]
    input: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    output: Option<u64>,
}

impl From<Used> for Counts {
    fn from(used: Used) -> Self {
        Self {
            input: used.input,
            output: used.output,
            ..Self::default()
        }
    }
}
