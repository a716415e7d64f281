//! Anthropic's models by InvokeModel: their own Messages in Bedrock's wrapping, for what Converse has no words for.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

use super::{
    super::anthropic::AnthropicDialect, EVENT_STREAM, HOME, JSON, convert::unreadable, errors, place, stream::broken,
};
use crate::{
    domain::{
        chat::{ChatEvent, ChatReply, ChatRequest},
        event_frames::{Frame, FrameDecoder},
        fault::Fault,
    },
    ports::{
        chat::{ChatDialect, ChunkDecoder, Images, Support},
        codec::{EncodeError, Encoded, Received, StreamEnd, Target, has_media_type},
    },
};

/// `POST /model/{model}/invoke` and `/invoke-with-response-stream` of Anthropic's models.
#[derive(Debug, Clone, Copy, Default)]
pub struct BedrockMessages;

/// Stands in the body in place of the header that Anthropic itself has for it.
const VERSION: &str = "anthropic_version";
const BEDROCKS: &str = "\"bedrock-2023-05-31\"";
/// What Anthropic reads in the body stands in the path here.
const ELSEWHERE: [&str; 2] = ["model", "stream"];

impl ChatDialect for BedrockMessages {
    fn path(&self) -> &'static str {
        ""
    }

    fn home(&self) -> Option<&'static str> {
        Some(HOME)
    }

    fn support(&self) -> Support {
        Support {
            // Nobody looks behind a URL here, and tiers are Anthropic's own.
            images: Images::Bytes,
            openai: &[],
            ..AnthropicDialect.support()
        }
    }

    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let native = AnthropicDialect.encode(request, target)?;
        let native_body = native.body.concat();
        let mut members: BTreeMap<&str, &RawValue> = serde_json::from_slice(&native_body).map_err(|_| unwritten())?;
        members.retain(|name, _| !ELSEWHERE.contains(name));
        // A caller who names one knows why.
        if !members.contains_key(VERSION) {
            members.insert(VERSION, serde_json::from_str(BEDROCKS).map_err(|_| unwritten())?);
        }
        let mut body = Vec::with_capacity(native_body.len() + 64);
        serde_json::to_writer(&mut body, &members).map_err(|_| unwritten())?;
        let (operation, accept) = match request.stream {
            true => ("invoke-with-response-stream", HeaderValue::from_static(EVENT_STREAM)),
            false => ("invoke", JSON),
        };
        Ok(Encoded {
            accept,
            dropped: native.dropped,
            ..Encoded::of(JSON, body.into()).at(Method::POST, place(target.model, operation))
        })
    }

    fn decode(&self, reply: &Received<'_>) -> Result<ChatReply, Fault> {
        AnthropicDialect.decode(reply)
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        errors::decode(status, headers, body)
    }

    fn is_stream(&self, headers: &HeaderMap) -> bool {
        has_media_type(headers, EVENT_STREAM)
    }

    fn stream(&self, headers: &HeaderMap) -> Box<dyn ChunkDecoder> {
        Box::new(WrappedReader {
            frames: FrameDecoder::default(),
            events: AnthropicDialect.stream(headers),
        })
    }
}

fn unwritten() -> EncodeError {
    let message = "The request could not be written for its provider.";
    crate::domain::fault::PublicError::invalid(None, "invalid_json", message).into()
}

/// Anthropic's events, each in a frame.
struct WrappedReader {
    frames: FrameDecoder,
    events: Box<dyn ChunkDecoder>,
}

#[derive(Deserialize)]
struct Chunk {
    /// An event in base64.
    #[serde(default)]
    bytes: String,
}

impl WrappedReader {
    fn read(&mut self, events: &mut Vec<ChatEvent>) -> Result<Option<StreamEnd>, Fault> {
        while let Some(frame) = self.frames.next_frame().map_err(broken)? {
            if let Some(end) = self.frame(&frame, events)? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }

    fn frame(&mut self, frame: &Frame, events: &mut Vec<ChatEvent>) -> Result<Option<StreamEnd>, Fault> {
        if let Some(fault) = errors::in_frame(frame) {
            return Err(fault);
        }
        let is_chunk = frame.header(":message-type") == Some("event") && frame.header(":event-type") == Some("chunk");
        if !is_chunk {
            return Ok(None);
        }
        let chunk: Chunk = serde_json::from_slice(&frame.payload()).map_err(|_| unreadable())?;
        let event = STANDARD.decode(chunk.bytes).map_err(|_| unreadable())?;
        // JSON in one line, so it is the data of one event as Anthropic itself would send it.
        if event.contains(&b'\n') {
            return Err(unreadable());
        }
        let event = [b"data: ".as_slice(), &event, b"\n\n"].concat();
        Ok(self.events.push(event.into(), events))
    }
}

impl ChunkDecoder for WrappedReader {
    fn push(&mut self, bytes: Bytes, events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        self.frames.push(&bytes);
        self.read(events).unwrap_or_else(|fault| Some(StreamEnd::Failed(fault)))
    }

    fn finish(&mut self, events: &mut Vec<ChatEvent>) -> StreamEnd {
        match (self.events.finish(events), self.frames.finish()) {
            (StreamEnd::Failed(_), Err(error)) => StreamEnd::Failed(broken(error)),
            (end, _) => end,
        }
    }
}
