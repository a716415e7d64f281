//! `POST /v1/messages/count_tokens`.

use http::{HeaderValue, Method};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    VERSION, VERSION_HEADER, convert, version_for,
    wire::{Content, Thinking, Tool, ToolChoice, Turn},
};
use crate::{
    adapters::dialects::{error_object, writing},
    domain::{chat::ChatRequest, fault::Fault},
    ports::{
        chat::TokenCount,
        codec::{EncodeError, Encoded, Target},
    },
};

/// Counts what a request has for input.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct AnthropicCount;

/// What of a request is counted. How it is answered is not, and has no place there.
#[derive(Serialize)]
struct Counted<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<Content<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking<'a>>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    output_config: Map<String, Value>,
}

#[derive(Deserialize)]
struct Reply {
    input_tokens: u64,
}

impl TokenCount for AnthropicCount {
    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let written = convert::request(request, target.model, 0)?;
        let counted = Counted {
            model: written.model,
            system: written.system,
            messages: written.messages,
            tools: written.tools,
            tool_choice: written.tool_choice,
            thinking: written.thinking,
            output_config: written.output_config,
        };
        let body = writing::written(&counted, writing::room_for(request));
        let version = version_for(request, target.option(VERSION));
        Ok(Encoded::of(HeaderValue::from_static("application/json"), body)
            .at(Method::POST, "/count_tokens")
            .with(VERSION_HEADER, HeaderValue::from_static(version)))
    }

    fn decode(&self, body: &[u8]) -> Result<u64, Fault> {
        let reply: Reply = serde_json::from_slice(body).map_err(|_| error_object::in_place_of_an_answer(body))?;
        Ok(reply.input_tokens)
    }
}
