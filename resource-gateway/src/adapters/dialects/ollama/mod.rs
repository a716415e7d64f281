//! Ollama, whose models run where it runs: `/api/chat`, or `/api/generate` by the vendor's option `api`.
//!
//! Members that no caller of OpenAI's format has are the vendor's: those of [`convert`]'s list stand in the request, and all others in
//! `options`, which can be sent as a whole, too. Errors are `{"error": "text"}`, which [`error_object`] reads.

mod convert;
mod embeddings;
mod models;
mod stream;
mod wire;

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderValue, Method};

pub use self::embeddings::OllamaEmbeddings;
use super::{error_object, writing};
use crate::{
    domain::{
        chat::{ChatReply, ChatRequest},
        fault::Fault,
    },
    ports::{
        chat::{ChatDialect, ChunkDecoder, Images, Support},
        codec::{EncodeError, Encoded, ModelList, Received, Target, has_media_type},
    },
};

/// Chat.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ollama;

/// The vendor's option that decides how it is asked.
pub const API: &str = "api";
const GENERATE: &str = "generate";
/// What that option can be; the first is what it is when nobody says.
pub const APIS: [&str; 2] = ["chat", GENERATE];

const JSON: HeaderValue = HeaderValue::from_static("application/json");

const SUPPORT: Support = Support {
    tools: true,
    images: Images::Bytes,
    json_object: true,
    json_schema: true,
    top_k: true,
    presence_penalty: true,
    frequency_penalty: true,
    seed: true,
    stop: usize::MAX,
    reasoning: true,
    second_names: &[
        ("num_predict", "max_tokens"),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("top_k", "top_k"),
        ("seed", "seed"),
        ("presence_penalty", "presence_penalty"),
        ("frequency_penalty", "frequency_penalty"),
        ("stop", "stop"),
        ("format", "response_format"),
        ("prompt", "messages"),
        ("system", "messages"),
        ("raw", "messages"),
        ("template", "messages"),
    ],
    containers: &[convert::OPTIONS],
    ..Support::NONE
};

impl ChatDialect for Ollama {
    fn path(&self) -> &'static str {
        ""
    }

    fn support(&self) -> Support {
        SUPPORT
    }

    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let (path, written) = match target.option(API) {
            Some(GENERATE) => ("/api/generate", convert::generate(request, target.model)?),
            _ => ("/api/chat", convert::chat(request, target.model)),
        };
        let encoded = Encoded::of(JSON, writing::written(&written, writing::room_for(request))).at(Method::POST, path);
        // How long it may think cannot be said, and is no reason not to let it think.
        let bounded = request.reasoning.as_ref().and_then(|reasoning| reasoning.budget);
        Ok(Encoded {
            dropped: bounded
                .map(|_| "thinking.budget_tokens".to_owned())
                .into_iter()
                .collect(),
            ..encoded
        })
    }

    fn decode(&self, reply: &Received<'_>) -> Result<ChatReply, Fault> {
        let fault = || error_object::in_place_of_an_answer(&reply.body);
        let read: wire::Reply = serde_json::from_slice(&reply.body).map_err(|_| fault())?;
        match read.error {
            Some(_) => Err(fault()),
            None => convert::reply(read),
        }
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        error_object::decode(status, headers, body)
    }

    fn is_stream(&self, headers: &HeaderMap) -> bool {
        has_media_type(headers, "application/x-ndjson")
    }

    fn models(&self) -> Option<&dyn ModelList> {
        Some(&models::OllamaModels)
    }

    fn stream(&self, _: &HeaderMap) -> Box<dyn ChunkDecoder> {
        Box::new(stream::OllamaStream::default())
    }
}
