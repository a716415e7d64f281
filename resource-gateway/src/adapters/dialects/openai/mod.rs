//! OpenAI's wire format, which is the callers' format, too: bytes pass through and only what has to change is spliced in.

mod audio;
mod calls;
mod chat;
mod delta;
mod models;
mod plain;
pub mod quirks;
pub mod render;
mod stream;
mod usage;
mod wire;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

pub use self::{
    audio::{OpenAiSpeech, OpenAiTranscription},
    chat::OpenAiDialect,
    models::OpenAiModels,
};
use super::error_object;
use crate::{
    domain::{
        answer::Answer,
        call::Call,
        fault::{Fault, FaultClass},
        said::Said,
    },
    ports::codec::{
        Codec, Decoded, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target, TokenUsage,
    },
};

/// `POST /chat/completions`, for callers who speak it as well.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAiChat;

/// `POST /embeddings`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAiEmbeddings;

/// `POST /images/generations`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAiImages;

/// `POST /moderations`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAiModerations;

impl Codec for OpenAiChat {
    fn path(&self) -> &'static str {
        "/chat/completions"
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let accept = if call.stream { "text/event-stream" } else { JSON };
        Ok(json(call, target.model, accept))
    }

    fn decode(&self, _call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let body = reply.body;
        let reply: wire::Reply<'_> = read(&body)?;
        let usage = reply.token_usage();
        let choices = reply.choices.ok_or_else(|| Fault::of(FaultClass::InvalidReply))?;
        let usage = usage.or(choices.usage);
        let said = match usage {
            Some(usage) if usage.output > 0 => Said::default(),
            Some(_) | None => said_in(&body),
        };
        Ok(Decoded {
            usage,
            said,
            ..Decoded::of(Answer::json(body))
        }
        .into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        error_object::decode(status, headers, body)
    }

    fn stream(&self, call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(stream::ChatStream::new(call.include_usage))
    }
}

impl Codec for OpenAiEmbeddings {
    fn path(&self) -> &'static str {
        "/embeddings"
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        Ok(json(call, target.model, JSON))
    }

    fn decode(&self, _call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let (_, decoded) = read_list(reply.body, |reply| reply.data)?;
        Ok(decoded.into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        error_object::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

impl Codec for OpenAiImages {
    fn path(&self) -> &'static str {
        "/images/generations"
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        Ok(json(call, target.model, JSON))
    }

    fn decode(&self, _call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let (images, decoded) = read_list(reply.body, |reply| reply.data)?;
        let usage = TokenUsage {
            images,
            ..decoded.usage.unwrap_or_default()
        };
        Ok(Decoded {
            usage: Some(usage),
            ..decoded
        }
        .into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        error_object::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

impl Codec for OpenAiModerations {
    fn path(&self) -> &'static str {
        "/moderations"
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        Ok(json(call, target.model, JSON))
    }

    fn decode(&self, _call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let (_, decoded) = read_list(reply.body, |reply| reply.results)?;
        Ok(decoded.into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        error_object::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

const JSON: &str = "application/json";

fn json(call: &Call, model: &str, accept: &'static str) -> Encoded {
    Encoded {
        content_type: HeaderValue::from_static(JSON),
        accept: HeaderValue::from_static(accept),
        body: call.for_vendor(model),
        dialogue: None,
        place: None,
        dropped: Vec::new(),
        ends_elsewhere: false,
    }
}

/// Reads an answer that is a list; says how long it is.
fn read_list(body: Bytes, list: impl FnOnce(wire::Reply<'_>) -> Option<wire::Count>) -> Result<(u64, Decoded), Fault> {
    let reply = read(&body)?;
    let usage = reply.token_usage();
    let count = list(reply).ok_or_else(|| Fault::of(FaultClass::InvalidReply))?;
    let decoded = Decoded {
        usage,
        ..Decoded::of(Answer::json(body))
    };
    Ok((count.0, decoded))
}

/// The text of an answer that was read before.
fn said_in(body: &[u8]) -> Said {
    let mut said = Said::default();
    let _ = wire::read(body, wire::Ear::Listening(&mut said));
    said
}

/// Reads an answer that claims success; an error object in it is an error all the same.
fn read(body: &[u8]) -> Result<wire::Reply<'_>, Fault> {
    let reply = wire::read(body, wire::Ear::Deaf).map_err(|_| Fault::of(FaultClass::InvalidReply))?;
    match reply.error {
        Some(error) => Err(error_object::in_band(error.get())),
        None => Ok(reply),
    }
}
