//! Streamed answers: lines of JSON, of which the last says so.

use bytes::Bytes;

use super::{convert, wire::Reply};
use crate::{
    adapters::dialects::error_object,
    domain::{
        chat::ChatEvent,
        fault::{Fault, FaultClass},
        lines::{LineSplitter, lines},
    },
    ports::{chat::ChunkDecoder, codec::StreamEnd},
};

/// Reads lines.
#[derive(Debug, Default)]
pub(super) struct OllamaStream {
    splitter: LineSplitter,
    told: bool,
    calls: u32,
}

impl OllamaStream {
    fn read(&mut self, piece: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        for line in lines(piece) {
            let Ok(reply) = serde_json::from_slice::<Reply>(line) else {
                return Some(StreamEnd::Failed(Fault::of(FaultClass::InvalidReply)));
            };
            if let Some(error) = &reply.error {
                return Some(StreamEnd::Failed(error_object::in_band(&error.to_string())));
            }
            if let Some(end) = self.line(reply, events) {
                return Some(end);
            }
        }
        None
    }

    fn line(&mut self, mut reply: Reply, events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        const CHOICE: u32 = 0;
        let model = reply.model.take().filter(|_| !self.told);
        if model.is_some() {
            self.told = true;
            events.push(ChatEvent::Head { id: None, model });
        }
        let said = reply.said().unwrap_or_default();
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        let thought = some(said.thinking).map(|text| ChatEvent::Reasoning { choice: CHOICE, text });
        let text = some(said.content).map(|text| ChatEvent::Text { choice: CHOICE, text });
        events.extend(thought.into_iter().chain(text));
        for call in said.tool_calls.unwrap_or_default() {
            let read = convert::tool_use(call);
            let call = self.calls;
            self.calls = self.calls.saturating_add(1);
            events.push(ChatEvent::ToolCall {
                choice: CHOICE,
                call,
                id: read.id.map(Into::into),
                name: read.name.into(),
                signature: None,
            });
            events.push(ChatEvent::Arguments {
                choice: CHOICE,
                call,
                fragment: read.arguments.into(),
            });
        }
        if reply.done != Some(true) {
            return None;
        }
        events.push(ChatEvent::Finish {
            choice: CHOICE,
            finish: convert::finish(reply.done_reason.as_deref(), self.calls > 0),
        });
        events.extend(reply.counts().map(ChatEvent::Counts));
        Some(StreamEnd::Complete)
    }
}

impl ChunkDecoder for OllamaStream {
    fn push(&mut self, bytes: Bytes, events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        match self.splitter.push(bytes) {
            Ok(piece) => self.read(&piece, events),
            Err(_) => Some(StreamEnd::Failed(Fault::of(FaultClass::InvalidReply))),
        }
    }

    fn finish(&mut self, events: &mut Vec<ChatEvent>) -> StreamEnd {
        let rest = self.splitter.finish();
        // Half a line is what a cut connection leaves, not another format.
        let cut = || StreamEnd::Failed(Fault::of(FaultClass::Transport));
        match serde_json::from_slice::<serde::de::IgnoredAny>(rest.trim_ascii()) {
            Ok(_) => self.read(&rest, events).unwrap_or_else(cut),
            Err(_) => cut(),
        }
    }
}
