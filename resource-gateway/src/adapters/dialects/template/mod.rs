//! Chat as Template speaks it.
//!
//! Members that no caller of OpenAI's format has are the vendor's, and stand in the request beside its own.

mod convert;
mod faults;
mod stream;
mod wire;

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderValue};

use super::{events::InEvents, writing};
use crate::{
    domain::{
        chat::{ChatReply, ChatRequest},
        fault::Fault,
    },
    ports::{
        chat::{ChatDialect, ChunkDecoder, Support},
        codec::{EncodeError, Encoded, Received, Target},
    },
};

/// Chat.
#[derive(Debug, Clone, Copy, Default)]
pub struct Template;

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// What requests can hold. Whatever is not here is refused or dropped before it gets to [`Template::encode`].
const SUPPORT: Support = Support { ..Support::NONE };

impl ChatDialect for Template {
    fn path(&self) -> &'static str {
        "/chat"
    }

    fn support(&self) -> Support {
        SUPPORT
    }

    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let written = convert::request(request, target.model);
        let encoded = Encoded::of(JSON, writing::written(&written, writing::room_for(request)));
        Ok(if request.stream { encoded.streaming() } else { encoded })
    }

    fn decode(&self, reply: &Received<'_>) -> Result<ChatReply, Fault> {
        let read: Result<wire::Reply, _> = serde_json::from_slice(&reply.body);
        read.map(convert::reply)
            .map_err(|_| faults::in_place_of_an_answer(&reply.body))
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _: &HeaderMap) -> Box<dyn ChunkDecoder> {
        Box::new(InEvents::<stream::Reader>::default())
    }
}
