//! OpenAI's wire format, which is the callers' format, too: bytes pass through and only what has to change is spliced in.

mod fault;
mod stream;
mod wire;

#[cfg(test)]
mod tests;

use bytes::Bytes;
use http::HeaderMap;

use crate::{
    domain::{
        call::Call,
        fault::{Fault, FaultClass},
    },
    ports::codec::{Codec, Decoded, Progress, Pushed, StreamDecoder, StreamEnd},
};

/// `POST /chat/completions`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAiChat;

/// `POST /embeddings`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAiEmbeddings;

impl Codec for OpenAiChat {
    fn path(&self) -> &'static str {
        "/chat/completions"
    }

    fn encode(&self, call: &Call, model: &str) -> Vec<Bytes> {
        call.for_vendor(model)
    }

    fn decode(&self, body: Bytes) -> Result<Decoded, Fault> {
        let reply: wire::Reply<'_> = read(&body)?;
        let usage = reply.token_usage();
        let choices = reply.choices.ok_or_else(|| Fault::of(FaultClass::InvalidReply))?;
        let usage = usage.or(choices.usage);
        Ok(Decoded {
            usage,
            weight: choices.weight,
            body,
        })
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        fault::decode(status, headers, body)
    }

    fn stream(&self, call: &Call) -> Box<dyn StreamDecoder> {
        Box::new(stream::ChatStream::new(call.include_usage))
    }
}

impl Codec for OpenAiEmbeddings {
    fn path(&self) -> &'static str {
        "/embeddings"
    }

    fn encode(&self, call: &Call, model: &str) -> Vec<Bytes> {
        call.for_vendor(model)
    }

    fn decode(&self, body: Bytes) -> Result<Decoded, Fault> {
        let reply: wire::Reply<'_> = read(&body)?;
        if reply.data.is_none() {
            return Err(Fault::of(FaultClass::InvalidReply));
        }
        let usage = reply.token_usage();
        Ok(Decoded {
            usage,
            weight: crate::domain::estimate::Weight::default(),
            body,
        })
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        fault::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call) -> Box<dyn StreamDecoder> {
        // A streamed request for embeddings is refused before it gets to a codec.
        Box::new(NoStream)
    }
}

/// The decoder of a capability whose answers are never streamed.
struct NoStream;

impl StreamDecoder for NoStream {
    fn push(&mut self, _bytes: Bytes) -> Pushed {
        self.finish()
    }

    fn finish(&mut self) -> Pushed {
        Pushed {
            out: Bytes::new(),
            end: Some(StreamEnd::Failed(Fault::of(FaultClass::InvalidReply))),
        }
    }

    fn progress(&self) -> Progress {
        Progress::default()
    }
}

/// Reads an answer that claims success; an error object in it is an error all the same.
fn read(body: &[u8]) -> Result<wire::Reply<'_>, Fault> {
    let reply: wire::Reply<'_> = serde_json::from_slice(body).map_err(|_| Fault::of(FaultClass::InvalidReply))?;
    match reply.error {
        Some(error) => Err(fault::in_band(error.get())),
        None => Ok(reply),
    }
}
