//! Chat in a vendor's wire format: a pure translation from and to neutral words.

use std::fmt;

use bytes::Bytes;
use http::HeaderMap;

use super::codec::{Codec, EncodeError, Encoded, ModelList, Received, StreamEnd, Target, has_media_type};
use crate::domain::{
    call::Call,
    chat::{ChatEvent, ChatReply, ChatRequest},
    fault::Fault,
};

/// One wire format for chat.
pub trait ChatDialect: Send + Sync + fmt::Debug {
    /// Behind the vendor's base URL, with a leading slash; empty when it depends on the call.
    fn path(&self) -> &'static str;
    /// The base URL where the configuration names none and the strategy has several.
    fn home(&self) -> Option<&'static str> {
        None
    }
    /// What requests of this dialect can hold. Nothing else gets to [`Self::encode`].
    fn support(&self) -> Support;
    /// Whether `max_tokens` can be said.
    fn bounds_output(&self) -> bool {
        true
    }
    /// The request for the vendor.
    ///
    /// # Errors
    /// The caller asks for what cannot be said in this dialect.
    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError>;
    /// A request with what the caller said beside it, in headers of this dialect.
    fn said_beside(&self, _call: &Call, _target: Target<'_>, request: Encoded) -> Encoded {
        request
    }
    /// Reads a whole answer that came with a status of success.
    ///
    /// # Errors
    /// The body is an error all the same, or no answer.
    fn decode(&self, reply: &Received<'_>) -> Result<ChatReply, Fault>;
    /// Reads an answer that came with another status; the body may be cut, empty, or not the vendor's at all.
    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault;
    /// Whether an answer is a stream, by its head.
    fn is_stream(&self, headers: &HeaderMap) -> bool {
        has_media_type(headers, "text/event-stream")
    }
    /// A decoder for one streamed answer.
    fn stream(&self, headers: &HeaderMap) -> Box<dyn ChunkDecoder>;
    /// How the vendor is asked for its models, where that is known.
    fn models(&self) -> Option<&dyn ModelList> {
        None
    }
    /// How the vendor is asked how long a request is, where that is known.
    fn counting(&self) -> Option<&dyn TokenCount> {
        None
    }
    /// The codec that takes a call as it is, where the caller speaks this dialect itself.
    fn native(&self, _call: &Call) -> Option<&dyn Codec> {
        None
    }
}

/// How a vendor is asked how many tokens a request has, without an answer to it.
pub trait TokenCount: Send + Sync + fmt::Debug {
    /// The request for the vendor, at a place behind the dialect's own path.
    ///
    /// # Errors
    /// As for [`ChatDialect::encode`].
    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError>;
    /// The tokens.
    ///
    /// # Errors
    /// The body is no count.
    fn decode(&self, body: &[u8]) -> Result<u64, Fault>;
}

/// Reads one streamed answer. Any split of the bytes gives the same events.
pub trait ChunkDecoder: Send {
    /// Takes bytes as they came, and adds what they tell. Nothing is read any more after an end.
    fn push(&mut self, bytes: Bytes, events: &mut Vec<ChatEvent>) -> Option<StreamEnd>;
    /// The vendor's body has ended.
    fn finish(&mut self, events: &mut Vec<ChatEvent>) -> StreamEnd;
}

/// What requests of a dialect can hold.
#[expect(clippy::struct_excessive_bools, reason = "a table of what there is and is not")]
#[derive(Debug, Clone, Copy)]
pub struct Support {
    pub tools: bool,
    /// `tool_choice` other than `auto`.
    pub tool_choice: bool,
    /// `parallel_tool_calls`.
    pub parallel_tool_calls: bool,
    /// Several calls in one answer come only if they are asked for.
    pub one_call_unless_asked: bool,
    pub images: Images,
    pub audio: bool,
    pub documents: bool,
    /// The vendor looks into Google's storage.
    pub stored: bool,
    pub json_object: bool,
    pub json_schema: bool,
    pub temperature: bool,
    pub top_p: bool,
    pub top_k: bool,
    pub presence_penalty: bool,
    pub frequency_penalty: bool,
    pub seed: bool,
    /// How many stop sequences.
    pub stop: usize,
    /// Several answers at once.
    pub n: bool,
    pub logprobs: bool,
    pub user: bool,
    /// How much it may think.
    pub reasoning: bool,
    /// How much of what it thinks is shown.
    pub display: bool,
    /// `is_error` of a tool's answer. Where there is no such word the model reads it in the answer itself.
    pub is_error: bool,
    /// `strict` of a tool.
    pub strict: bool,
    /// `name` of a message. Those of tools' answers are no matter of this: they say again what the call says.
    pub names: bool,
    /// `detail` of a picture.
    pub detail: bool,
    /// OpenAI's words without a field of their own that this dialect knows.
    pub openai: &'static [&'static str],
    /// Whether the vendor takes members by names of its own.
    pub options: bool,
    /// The vendor's own names for what has one in OpenAI's words, and that word: nobody gets around what was read and ruled by
    /// saying it in another way, or in another spelling. A name that stands for itself may be said beside OpenAI's words, where rules
    /// see it, and not within [`Self::containers`].
    pub second_names: &'static [(&'static str, &'static str)],
    /// Members of the vendor's own that may hold such names.
    pub containers: &'static [&'static str],
}

impl Support {
    /// Nothing but messages: a beginning for tables.
    pub const NONE: Self = Self {
        tools: false,
        tool_choice: false,
        parallel_tool_calls: false,
        one_call_unless_asked: false,
        images: Images::None,
        audio: false,
        documents: false,
        stored: false,
        json_object: false,
        json_schema: false,
        temperature: true,
        top_p: true,
        top_k: false,
        presence_penalty: false,
        frequency_penalty: false,
        seed: false,
        stop: 0,
        n: false,
        logprobs: false,
        user: false,
        reasoning: false,
        display: false,
        is_error: false,
        strict: false,
        names: false,
        detail: false,
        openai: &[],
        options: true,
        second_names: &[],
        containers: &[],
    };
}

/// What pictures can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Images {
    None,
    /// Their bytes only: what lies behind a URL is fetched for the vendor.
    Bytes,
    /// URLs as well.
    Any,
}
