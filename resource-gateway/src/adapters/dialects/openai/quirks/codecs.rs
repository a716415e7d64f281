//! OpenAI's codecs, with a vendor's table.

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value};

use super::{
    super::{
        OpenAiChat, OpenAiDialect, OpenAiModels,
        chat::{ChunkReader, read_reply, written},
        stream::ChatStream,
    },
    CallIds, Place, Quirks,
    rewrite::{Asks, spliced},
};
use crate::{
    adapters::dialects::{call_ids, events::InEvents},
    domain::{
        answer::Answer,
        call::{Call, Voice},
        chat::{ChatReply, ChatRequest, Finish, FinishReason},
        fault::{Fault, FaultClass},
    },
    ports::{
        chat::{ChatDialect, ChunkDecoder, Support},
        codec::{
            Codec, Decoded, EncodeError, Encoded, ModelList, NoStream, Opening, Outcome, Received, StreamDecoder,
            Target,
        },
    },
};

impl Quirks {
    /// Where a codec's calls go, unless that depends on the call.
    fn path_of(&self, path: &'static str) -> &'static str {
        match self.place {
            Place::Plain => path,
            Place::Deployment => "",
        }
    }

    fn decode(&self, codec: &dyn Codec, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        if self.code_fails
            && let Some(fault) = self.failure_in(&reply.body)
        {
            return Err(fault);
        }
        let body = reply.body.clone();
        codec
            .decode(call, reply)
            .map_err(|fault| self.failure_in(&body).unwrap_or(fault))
    }
}

/// A capability without streams.
#[derive(Debug, Clone, Copy)]
pub struct Shaped {
    pub quirks: &'static Quirks,
    pub codec: &'static dyn Codec,
}

impl Codec for Shaped {
    fn path(&self) -> &'static str {
        self.quirks.path_of(self.codec.path())
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let encoded = self.codec.encode(call, target)?;
        self.quirks.adapt(encoded, call, self.codec.path(), target)
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        self.quirks.decode(self.codec, call, reply)
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        self.quirks.fault(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

/// Chat for callers who speak OpenAI's format: their bytes, but for the words that are exchanged.
#[derive(Debug, Clone, Copy)]
struct Native(&'static Quirks);

impl Codec for Native {
    fn path(&self) -> &'static str {
        self.0.path_of(OpenAiChat.path())
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let encoded = OpenAiChat.encode(call, target)?;
        self.0.adapt(encoded, call, OpenAiChat.path(), target)
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let Outcome::Answer(decoded) = self.0.decode(&OpenAiChat, call, reply)? else {
            return Err(Fault::of(FaultClass::InvalidReply));
        };
        Ok(match decoded.answer {
            Answer::Ready { body, content_type } => {
                let edits = self.0.edits_of_whole(&body);
                let body = match edits.is_empty() {
                    true => body,
                    false => Bytes::from(spliced(&body, edits).concat()),
                };
                Decoded {
                    answer: Answer::Ready { body, content_type },
                    ..*decoded
                }
            }
            answer => Decoded { answer, ..*decoded },
        }
        .into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        self.0.fault(status, headers, body)
    }

    fn stream(&self, call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(ChatStream::of(call.include_usage, self.0))
    }
}

/// Chat, for any caller.
#[derive(Debug, Clone, Copy)]
pub struct ShapedDialect {
    quirks: &'static Quirks,
    native: Native,
}

impl ShapedDialect {
    pub const fn new(quirks: &'static Quirks) -> Self {
        Self {
            quirks,
            native: Native(quirks),
        }
    }
}

/// A conversation brings the names that other vendors gave to calls.
fn shorten_call_ids(body: &mut Map<String, Value>) {
    let shorten = |named: &mut Map<String, Value>, name: &str| {
        if let Some(Value::String(id)) = named.get_mut(name) {
            *id = call_ids::nine(id).into_owned();
        }
    };
    let messages = body.get_mut("messages").and_then(Value::as_array_mut);
    for message in messages.into_iter().flatten().filter_map(Value::as_object_mut) {
        shorten(message, "tool_call_id");
        let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
        for call in calls.into_iter().flatten().filter_map(Value::as_object_mut) {
            shorten(call, "id");
        }
    }
}

impl ChatDialect for ShapedDialect {
    fn path(&self) -> &'static str {
        self.native.path()
    }

    fn support(&self) -> Support {
        self.quirks.support
    }

    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut body = request.to_openai();
        if self.quirks.call_ids == CallIds::Nine {
            shorten_call_ids(&mut body);
        }
        let encoded = written(body, request, target);
        let encoded = self.quirks.told_to_think(encoded, request.reasoning.as_ref())?;
        let asks = Asks {
            streams: request.stream,
            // The caller's own format tells what was used in its own way; nobody asked this vendor for it.
            for_usage: false,
        };
        self.quirks.adapt_for(encoded, asks, OpenAiDialect.path(), target)
    }

    fn decode(&self, reply: &Received<'_>) -> Result<ChatReply, Fault> {
        if self.quirks.code_fails
            && let Some(fault) = self.quirks.failure_in(&reply.body)
        {
            return Err(fault);
        }
        let read = read_reply(&reply.body);
        let mut read = read.map_err(|fault| self.quirks.failure_in(&reply.body).unwrap_or(fault))?;
        if self.quirks.finish_may_miss {
            for choice in &mut read.choices {
                let word = choice.finish.as_ref().map_or("", |finish| &finish.word);
                if word.is_empty() {
                    choice.finish = Some(Finish::new("", FinishReason::Stop));
                }
            }
        }
        Ok(read)
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        self.quirks.fault(status, headers, body)
    }

    fn stream(&self, _: &HeaderMap) -> Box<dyn ChunkDecoder> {
        Box::new(InEvents::of(ChunkReader::of(self.quirks)))
    }

    fn models(&self) -> Option<&dyn ModelList> {
        // A deployment is asked for by its name; nobody lists them there.
        (self.quirks.place == Place::Plain).then_some(&OpenAiModels)
    }

    fn native(&self, call: &Call) -> Option<&dyn Codec> {
        (call.voice() == Voice::OpenAi).then_some(&self.native)
    }
}
