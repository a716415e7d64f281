//! Alibaba's DashScope in its own format. What a request is about stands in `input`, everything else in `parameters`, and that is also
//! where members that nobody here knows go, by their own names (`enable_search`, `repetition_penalty`, `prompt_extend`, …).
//!
//! Where a call goes depends on the call: pictures take a conversation to another place than text. So no codec has a path of its own.

mod convert;
mod faults;
mod lists;
mod recordings;
mod stream;
mod tasks;
mod wire;

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderValue, Method};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

pub use self::{
    lists::{DashScopeEmbeddings, DashScopeRerank},
    recordings::DashScopeTranscription,
    tasks::{DashScopeImages, DashScopeSpeech},
};
use super::{events::InEvents, recordings as recording, support, writing};
use crate::{
    domain::{
        call::Call,
        chat::{ChatReply, ChatRequest},
        fault::{Fault, FaultClass, PublicError},
        interface::WhenUnsupported,
    },
    ports::{
        chat::{ChatDialect, ChunkDecoder, Images, Support},
        codec::{EncodeError, Encoded, Received, Target},
    },
};

const TEXT: &str = "/api/v1/services/aigc/text-generation/generation";
const MULTIMODAL: &str = "/api/v1/services/aigc/multimodal-generation/generation";
/// Answers in events are asked for by a header; there is no member for it.
const SSE: &str = "x-dashscope-sse";
/// Work that takes long is begun by a header, and asked for afterwards.
const ASYNC: &str = "x-dashscope-async";
const ENABLE: HeaderValue = HeaderValue::from_static("enable");

/// Chat, with pictures or without.
#[derive(Debug, Clone, Copy, Default)]
pub struct DashScopeChat;

const SUPPORT: Support = Support {
    tools: true,
    tool_choice: true,
    parallel_tool_calls: true,
    one_call_unless_asked: true,
    images: Images::Any,
    audio: true,
    json_object: true,
    json_schema: true,
    top_k: true,
    presence_penalty: true,
    seed: true,
    stop: usize::MAX,
    n: true,
    logprobs: true,
    reasoning: true,
    names: true,
    ..Support::NONE
};

impl ChatDialect for DashScopeChat {
    fn path(&self) -> &'static str {
        ""
    }

    fn support(&self) -> Support {
        SUPPORT
    }

    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let body = convert::Request::of(request, target.model);
        let path = if body.is_multimodal() { MULTIMODAL } else { TEXT };
        let encoded = Encoded::of(
            HeaderValue::from_static("application/json"),
            writing::written(&body, writing::room_for(request)),
        );
        let mut encoded = encoded.at(Method::POST, path);
        // How long it may think can be said, and how hard cannot.
        let degrees = request.reasoning.as_ref().map(support::degrees).unwrap_or_default();
        encoded.dropped = degrees.into_iter().filter(|name| name == "reasoning_effort").collect();
        Ok(match request.stream {
            true => encoded.streaming().with(SSE, ENABLE),
            false => encoded,
        })
    }

    fn decode(&self, reply: &Received<'_>) -> Result<ChatReply, Fault> {
        let read: wire::Reply = read(&reply.body)?;
        convert::reply(read)
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _: &HeaderMap) -> Box<dyn ChunkDecoder> {
        Box::new(InEvents::<stream::Reader>::default())
    }
}

/// Reads an answer that claims success. A failure in its place is one all the same.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    if let Some(fault) = faults::in_place_of_an_answer(body) {
        return Err(fault);
    }
    serde_json::from_slice(body).map_err(|_| Fault::of(FaultClass::InvalidReply))
}

/// A request that is no chat, taken apart.
struct Wanted {
    members: Map<String, Value>,
    dropped: Vec<String>,
    rule: WhenUnsupported,
}

impl Wanted {
    fn read(call: &Call, target: Target<'_>) -> Result<Self, PublicError> {
        let mut wanted = Self {
            members: members(call)?,
            dropped: Vec::new(),
            rule: target.when_unsupported,
        };
        for ours in ["model", "min_confidence", "stream"] {
            wanted.take(ours);
        }
        Ok(wanted)
    }

    /// Takes a member out; `null` is as good as none.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.members.remove(name).filter(|value| !value.is_null())
    }

    /// Leaves out what the vendor cannot do, by the interface's rule.
    fn leave_out(&mut self, names: &[&str]) -> Result<(), PublicError> {
        for name in names {
            if self.take(name).is_some() {
                match self.rule {
                    WhenUnsupported::Drop => self.dropped.push((*name).to_owned()),
                    WhenUnsupported::Refuse => return Err(support::unsupported(name)),
                }
            }
        }
        Ok(())
    }

    /// The request; what was not taken out becomes parameters.
    fn into_request(self, model: &str, path: &str, input: &Value) -> Encoded {
        let body = json!({"model": model, "input": input, "parameters": self.members});
        Encoded {
            dropped: self.dropped,
            ..Encoded::json(&body).at(Method::POST, path)
        }
    }
}

fn members(call: &Call) -> Result<Map<String, Value>, PublicError> {
    serde_json::from_slice(&call.body()).map_err(|_| {
        PublicError::invalid(
            None,
            "invalid_json",
            "The body of the request could not be read.".to_owned(),
        )
    })
}

fn wrong(field: &str, why: &str) -> PublicError {
    PublicError::invalid(Some(field), "invalid_value", format!("The field '{field}' {why}."))
}
