//! Google's Gemini with an API key: `/models/{model}:generateContent`.
//!
//! Members that no caller of OpenAI's format has are the vendor's: `cachedContent` and `safetySettings` stand in the
//! request, and all others in `generationConfig`, which can be sent as a whole, too. What the vendor's own schemas cannot say goes
//! to it as a JSON schema. Thoughts are shown and not sent back; the signature of a call goes back with the call.

mod convert;
mod counting;
mod embeddings;
mod faults;
mod models;
mod schema;
mod stream;
mod wire;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use http::{HeaderMap, HeaderValue, Method};

pub use self::embeddings::GeminiEmbeddings;
use super::{events::InEvents, support, writing};
use crate::{
    domain::{
        chat::{ChatReply, ChatRequest},
        fault::Fault,
        interface::WhenUnsupported,
    },
    ports::{
        chat::{ChatDialect, ChunkDecoder, Images, Support, TokenCount},
        codec::{EncodeError, Encoded, ModelList, Received, Target},
    },
};

/// Chat.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gemini;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

const SUPPORT: Support = Support {
    tools: true,
    tool_choice: true,
    // Those that the vendor has itself need not be fetched, so this dialect looks for the others.
    images: Images::Any,
    audio: true,
    documents: true,
    stored: true,
    json_object: true,
    json_schema: true,
    top_k: true,
    presence_penalty: true,
    frequency_penalty: true,
    seed: true,
    stop: 5,
    n: true,
    logprobs: true,
    reasoning: true,
    display: true,
    is_error: true,
    second_names: &[
        ("maxOutputTokens", "max_tokens"),
        ("temperature", "temperature"),
        ("topP", "top_p"),
        ("topK", "top_k"),
        ("seed", "seed"),
        ("presencePenalty", "presence_penalty"),
        ("frequencyPenalty", "frequency_penalty"),
        ("stopSequences", "stop"),
        ("candidateCount", "n"),
        ("responseLogprobs", "logprobs"),
        ("logprobs", "top_logprobs"),
        ("responseMimeType", "response_format"),
        ("responseSchema", "response_format"),
        ("responseJsonSchema", "response_format"),
        // Not all that it can hold has another word: that the model decides how long to think.
        ("thinkingConfig", "thinkingConfig"),
        ("toolConfig", "tool_choice"),
        ("contents", "messages"),
        ("systemInstruction", "messages"),
    ],
    containers: &[convert::CONFIG],
    ..Support::NONE
};

impl ChatDialect for Gemini {
    fn path(&self) -> &'static str {
        ""
    }

    fn support(&self) -> Support {
        SUPPORT
    }

    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut written = convert::request(request, target.fetched)?;
        let mut dropped = Vec::new();
        // Streamed answers have no place for them.
        if request.stream && (request.logprobs == Some(true) || request.top_logprobs.is_some()) {
            if target.when_unsupported == WhenUnsupported::Refuse {
                return Err(support::unsupported("logprobs").into());
            }
            dropped.push("logprobs".to_owned());
            for name in ["responseLogprobs", "logprobs"] {
                written.generation_config.remove(name);
            }
        }
        let encoded = Encoded::of(JSON, writing::written(&written, writing::room_for(request)));
        let encoded = match request.stream {
            true => encoded
                .at(Method::POST, place(target.model, "streamGenerateContent?alt=sse"))
                .streaming(),
            false => encoded.at(Method::POST, place(target.model, "generateContent")),
        };
        Ok(Encoded { dropped, ..encoded })
    }

    fn decode(&self, reply: &Received<'_>) -> Result<ChatReply, Fault> {
        let read: wire::Reply =
            serde_json::from_slice(&reply.body).map_err(|_| faults::in_place_of_an_answer(&reply.body))?;
        match read.error {
            Some(error) => Err(faults::of_error(&error, None)),
            None => convert::reply(read),
        }
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn counting(&self) -> Option<&dyn TokenCount> {
        Some(&counting::GeminiCount)
    }

    fn models(&self) -> Option<&dyn ModelList> {
        Some(&models::GeminiModels)
    }

    fn stream(&self, _: &HeaderMap) -> Box<dyn ChunkDecoder> {
        Box::new(InEvents::<stream::Reader>::default())
    }
}

/// The name of a model as a resource: most are written without the collection that they are in.
fn resource(model: &str) -> String {
    match model.starts_with("models/") || model.starts_with("tunedModels/") {
        true => model.to_owned(),
        false => format!("models/{model}"),
    }
}

/// Where a method of a model lies.
fn place(model: &str, method: &str) -> String {
    let mut path = String::with_capacity(model.len() + 48);
    path.push('/');
    for byte in resource(model).bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => path.push(char::from(byte)),
            // Writing to a text does not fail.
            _ => drop(write!(path, "%{byte:02X}")),
        }
    }
    path.push(':');
    path.push_str(method);
    path
}
