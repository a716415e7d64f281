//! Anthropic's Messages: a dialect for callers who speak another one, and a codec that passes on what callers who speak it say.
//!
//! Members that nobody here knows stand at the top level of a request; those of `output_config` may stand in an object of that name.

mod convert;
mod counting;
mod faults;
mod models;
mod native;
pub mod render;
mod stream;
mod wire;

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderValue};

pub use self::{models::AnthropicModels, native::AnthropicMessages};
use super::{events::InEvents, writing};
use crate::{
    domain::{
        call::{Call, Voice},
        chat::{ChatReply, ChatRequest, Choice, PartKind, Role, Thought, ToolUse, proofs},
        fault::{Fault, FaultClass, PublicError},
        interface::WhenUnsupported,
    },
    ports::{
        chat::{ChatDialect, ChunkDecoder, Images, Support, TokenCount},
        codec::{Codec, EncodeError, Encoded, ModelList, Received, Target},
    },
};

/// `POST /v1/messages`.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnthropicDialect;

const PATH: &str = "/v1/messages";

/// The options of vendors of this dialect.
pub const VERSION: &str = "version";
pub const BETAS: &str = "betas";

pub const VERSION_HEADER: &str = "anthropic-version";
pub const BETA_HEADER: &str = "anthropic-beta";
/// Takes no sampling parameters.
const NEWER: &str = "2026-10-21";
const OLDER: &str = "2023-06-01";
pub const VERSIONS: [&str; 2] = [NEWER, OLDER];

/// What an answer may have where neither the caller nor the vendor's options say: the vendor insists on a number, and every model
/// that it serves takes this one.
const DEFAULT_MAX_TOKENS: u64 = 4096;

const SUPPORT: Support = Support {
    tools: true,
    tool_choice: true,
    parallel_tool_calls: true,
    images: Images::Any,
    documents: true,
    json_schema: true,
    top_k: true,
    stop: usize::MAX,
    user: true,
    reasoning: true,
    display: true,
    is_error: true,
    strict: true,
    openai: &["service_tier"],
    second_names: &[("effort", "reasoning_effort"), ("format", "response_format")],
    containers: &["output_config"],
    ..Support::NONE
};

impl ChatDialect for AnthropicDialect {
    fn path(&self) -> &'static str {
        PATH
    }

    fn support(&self) -> Support {
        SUPPORT
    }

    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError> {
        // Vendors whose option is no number are not called.
        let max_tokens = target.option("max_tokens").and_then(|most| most.parse().ok());
        let max_tokens = max_tokens.unwrap_or(DEFAULT_MAX_TOKENS);
        let mut body = convert::request(request, target.model, max_tokens)?;
        let (version, mut dropped) = (version_for(request, target.option(VERSION)), Vec::new());
        if version == NEWER {
            for (name, value) in [
                ("temperature", &mut body.temperature),
                ("top_p", &mut body.top_p),
                ("top_k", &mut body.top_k),
            ] {
                match (value.take(), target.when_unsupported) {
                    (None, _) => {}
                    (Some(_), WhenUnsupported::Drop) => dropped.push(name.to_owned()),
                    (Some(_), WhenUnsupported::Refuse) => return Err(unsupported(name).into()),
                }
            }
        }
        let text = writing::written(&body, writing::room_for(request));
        let encoded = Encoded::of(HeaderValue::from_static("application/json"), text);
        let encoded = encoded.with(VERSION_HEADER, HeaderValue::from_static(version));
        let encoded = Encoded { dropped, ..encoded };
        Ok(if request.stream { encoded.streaming() } else { encoded })
    }

    fn said_beside(&self, call: &Call, target: Target<'_>, request: Encoded) -> Encoded {
        native::with_betas(request, call, target)
    }

    fn decode(&self, reply: &Received<'_>) -> Result<ChatReply, Fault> {
        read_reply(&reply.body)
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _: &HeaderMap) -> Box<dyn ChunkDecoder> {
        Box::new(InEvents::<stream::Reader>::default())
    }

    fn models(&self) -> Option<&dyn ModelList> {
        Some(&AnthropicModels)
    }

    fn counting(&self) -> Option<&dyn TokenCount> {
        Some(&counting::AnthropicCount)
    }

    fn native(&self, call: &Call) -> Option<&dyn Codec> {
        // What rules have changed is no longer what the caller said, and what other vendors have thought is refused: it is written anew.
        let is_its_own = || call.is_verbatim() && !proofs::others_in(&call.body());
        (call.voice() == Voice::Anthropic && is_its_own()).then_some(&AnthropicMessages)
    }
}

/// The version that takes what the request holds, unless the vendor's options say which one it is.
fn version_for(request: &ChatRequest<'_>, pinned: Option<&str>) -> &'static str {
    if let Some(pinned) = pinned {
        return known(pinned).unwrap_or(NEWER);
    }
    if needs_older(request) { OLDER } else { NEWER }
}

/// Whether there is something in it that only the older version takes.
fn needs_older(request: &ChatRequest<'_>) -> bool {
    let sampled = request.temperature.is_some() || request.top_p.is_some() || request.top_k.is_some();
    let assistants = request
        .messages
        .iter()
        .filter(|message| message.role == Role::Assistant);
    let mut parts = assistants.flat_map(|message| message.content.parts());
    sampled || parts.any(|part| matches!(part.kind, PartKind::Document { .. }))
}

/// One of the versions that there are.
fn known(version: &str) -> Option<&'static str> {
    VERSIONS.into_iter().find(|known| *known == version)
}

/// Reads a whole answer.
fn read_reply(body: &[u8]) -> Result<ChatReply, Fault> {
    let mut message: wire::Message<'_> =
        serde_json::from_slice(body).map_err(|_| Fault::of(FaultClass::InvalidReply))?;
    if let Some(error) = message.error {
        return Err(faults::in_band(error.get()));
    }
    let counts = message.counts();
    let finish = message.finish();
    let content = message
        .content
        .take()
        .ok_or_else(|| Fault::of(FaultClass::InvalidReply))?;
    let mut choice = Choice {
        finish,
        ..Choice::default()
    };
    for block in content {
        let block = wire::read_block(block).map_err(|_| Fault::of(FaultClass::InvalidReply))?;
        let Some(block) = block else { continue };
        match block.kind.as_str() {
            "text" => {
                let text = block.text.unwrap_or_default();
                choice.text.get_or_insert_default().push_str(&text);
            }
            "thinking" => choice.thoughts.push(Thought::Text {
                text: block.thinking.unwrap_or_default().into(),
                signature: block.signature.map(Into::into),
            }),
            "redacted_thinking" => choice
                .thoughts
                .push(Thought::Redacted(block.data.unwrap_or_default().into())),
            "tool_use" => choice.tool_calls.push(ToolUse {
                id: block.id.map(Into::into),
                name: block.name.unwrap_or_default().into(),
                arguments: block.input.map_or("{}", |input| input.get()).to_owned().into(),
                signature: None,
            }),
            _ => {}
        }
    }
    Ok(ChatReply {
        id: message.id,
        model: message.model,
        created: None,
        choices: vec![choice],
        counts,
    })
}

fn unsupported(field: &str) -> PublicError {
    let message = format!("The provider behind this model cannot obey the field '{field}'.");
    PublicError::invalid(Some(field), "unsupported_by_provider", message)
}
