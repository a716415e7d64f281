//! AWS Bedrock's runtime: Converse and ConverseStream for chat, InvokeModel for vectors, and for what only
//! Anthropic's own format can say.

mod convert;
mod embeddings;
mod errors;
mod messages;
mod stream;
mod wire;

#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use http::{HeaderMap, HeaderValue, Method};

pub use self::{embeddings::BedrockEmbeddings, messages::BedrockMessages};
use crate::{
    domain::{
        chat::{ChatReply, ChatRequest},
        fault::Fault,
    },
    ports::{
        chat::{ChatDialect, ChunkDecoder, Images, Support},
        codec::{EncodeError, Encoded, Received, Target, has_media_type},
    },
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const HOME: &str = "https://bedrock-runtime.{region}.amazonaws.com";
const EVENT_STREAM: &str = "application/vnd.amazon.eventstream";
/// The vendor's name of an answer.
const REQUEST_ID: &str = "x-amzn-requestid";

/// `POST /model/{model}/converse` and `/converse-stream`.
#[derive(Debug, Clone, Copy, Default)]
pub struct BedrockChat;

const SUPPORT: Support = Support {
    tools: true,
    tool_choice: true,
    images: Images::Bytes,
    documents: true,
    top_k: true,
    stop: 2500,
    user: true,
    reasoning: true,
    display: true,
    is_error: true,
    second_names: &[
        ("max_tokens", "max_tokens"),
        ("maxTokens", "max_tokens"),
        ("max_tokens_to_sample", "max_tokens"),
        ("max_gen_len", "max_tokens"),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("topP", "top_p"),
        ("top_k", "top_k"),
        ("topK", "top_k"),
        ("stop", "stop"),
        ("stop_sequences", "stop"),
        ("stopSequences", "stop"),
        ("inferenceConfig", "max_tokens"),
        ("messages", "messages"),
        ("system", "messages"),
        ("tools", "tools"),
        ("tool_choice", "tool_choice"),
        ("thinking", "thinking"),
        ("reasoning_config", "thinking"),
        ("reasoning_effort", "reasoning_effort"),
        ("output_config", "reasoning_effort"),
    ],
    containers: &[convert::MODEL_FIELDS],
    ..Support::NONE
};

impl ChatDialect for BedrockChat {
    fn path(&self) -> &'static str {
        ""
    }

    fn home(&self) -> Option<&'static str> {
        Some(HOME)
    }

    fn support(&self) -> Support {
        SUPPORT
    }

    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let (body, dropped) = convert::encode(request, target)?;
        let (operation, accept) = match request.stream {
            true => ("converse-stream", HeaderValue::from_static(EVENT_STREAM)),
            false => ("converse", JSON),
        };
        Ok(Encoded {
            accept,
            dropped,
            ..Encoded::of(JSON, body).at(Method::POST, place(target.model, operation))
        })
    }

    fn decode(&self, reply: &Received<'_>) -> Result<ChatReply, Fault> {
        let id = request_id(reply.headers);
        convert::decode(&reply.body).map(|answer| ChatReply { id, ..answer })
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        errors::decode(status, headers, body)
    }

    fn is_stream(&self, headers: &HeaderMap) -> bool {
        has_media_type(headers, EVENT_STREAM)
    }

    fn stream(&self, headers: &HeaderMap) -> Box<dyn ChunkDecoder> {
        Box::new(stream::EventReader::new(request_id(headers)))
    }
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    (!id.is_empty()).then(|| id.to_owned())
}

/// Where an operation of a model is. The model is one segment, whatever stands in its name: ARNs have colons and slashes.
fn place(model: &str, operation: &str) -> String {
    let mut path = String::with_capacity(model.len() + 32);
    path.push_str("/model/");
    for byte in model.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => path.push(char::from(byte)),
            _ => {
                // Writing to a string cannot fail.
                let _ = write!(path, "%{byte:02X}");
            }
        }
    }
    path.push('/');
    path.push_str(operation);
    path
}
