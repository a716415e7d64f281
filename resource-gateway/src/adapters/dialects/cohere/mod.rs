//! Cohere's second version: `/chat`, `/embed`, `/rerank`.
//!
//! Members that no caller of OpenAI's format has are the vendor's and stand in the request: `safety_mode`, `documents`,
//! `citation_options`. What a model plans before it calls tools is what others call reasoning, and is told as that.

mod convert;
mod embeddings;
mod faults;
mod rerank;
mod stream;
mod wire;

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderValue};

pub use self::{embeddings::CohereEmbeddings, rerank::CohereRerank};
use super::{events::InEvents, writing};
use crate::{
    domain::{
        chat::{ChatReply, ChatRequest},
        fault::Fault,
    },
    ports::{
        chat::{ChatDialect, ChunkDecoder, Images, Support},
        codec::{EncodeError, Encoded, Received, Target},
    },
};

/// Chat.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cohere;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

const SUPPORT: Support = Support {
    tools: true,
    tool_choice: true,
    images: Images::Any,
    json_object: true,
    json_schema: true,
    top_k: true,
    presence_penalty: true,
    frequency_penalty: true,
    seed: true,
    stop: 5,
    reasoning: true,
    strict: true,
    detail: true,
    second_names: &[
        ("p", "top_p"),
        ("k", "top_k"),
        ("stop_sequences", "stop"),
        ("strict_tools", "tools"),
    ],
    ..Support::NONE
};

impl ChatDialect for Cohere {
    fn path(&self) -> &'static str {
        "/chat"
    }

    fn support(&self) -> Support {
        SUPPORT
    }

    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let written = convert::request(request, target.model)?;
        let encoded = Encoded::of(JSON, writing::written(&written, writing::room_for(request)));
        Ok(if request.stream { encoded.streaming() } else { encoded })
    }

    fn decode(&self, reply: &Received<'_>) -> Result<ChatReply, Fault> {
        let fault = || faults::in_place_of_an_answer(&reply.body);
        let read: wire::Reply = serde_json::from_slice(&reply.body).map_err(|_| fault())?;
        Ok(convert::reply(read))
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _: &HeaderMap) -> Box<dyn ChunkDecoder> {
        Box::new(InEvents::<stream::Reader>::default())
    }
}
