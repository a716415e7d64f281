//! Streamed answers: events, of which the last says why it is the last.

use bytes::Bytes;

use super::{convert, faults, wire::Event};
use crate::{
    adapters::dialects::reading::rest_of,
    domain::{
        chat::ChatEvent,
        fault::{Fault, FaultClass},
        sse::{Events, SseSplitter},
    },
    ports::{chat::ChunkDecoder, codec::StreamEnd},
};

/// There is one answer.
const CHOICE: u32 = 0;

/// Reads events.
#[derive(Debug, Default)]
pub(super) struct TemplateStream {
    splitter: SseSplitter,
}

impl TemplateStream {
    fn read(piece: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        for event in Events::of(piece) {
            let Some(data) = event.data else { continue };
            let data = data.trim_ascii();
            if data.is_empty() {
                continue;
            }
            let Ok(event) = serde_json::from_slice::<Event>(data) else {
                return Some(StreamEnd::Failed(Fault::of(FaultClass::InvalidReply)));
            };
            if let Some(end) = Self::event(event, events) {
                return Some(end);
            }
        }
        None
    }

    fn event(event: Event, events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        if let Some(error) = event.error {
            return Some(StreamEnd::Failed(faults::of_error(&error, FaultClass::ServerError)));
        }
        if let Some(text) = event.text.filter(|text| !text.is_empty()) {
            events.push(ChatEvent::Text { choice: CHOICE, text });
        }
        events.extend(event.used.map(|used| ChatEvent::Counts(used.into())));
        let word = event.end?;
        events.push(ChatEvent::Finish {
            choice: CHOICE,
            finish: convert::finish(&word),
        });
        Some(StreamEnd::Complete)
    }
}

impl ChunkDecoder for TemplateStream {
    fn push(&mut self, bytes: Bytes, events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        match self.splitter.push(bytes) {
            Ok(piece) => Self::read(&piece, events),
            Err(_) => Some(StreamEnd::Failed(Fault::of(FaultClass::InvalidReply))),
        }
    }

    fn finish(&mut self, events: &mut Vec<ChatEvent>) -> StreamEnd {
        let rest = rest_of(&mut self.splitter);
        let cut = || StreamEnd::Failed(Fault::of(FaultClass::Transport));
        Self::read(&rest, events).unwrap_or_else(cut)
    }
}
