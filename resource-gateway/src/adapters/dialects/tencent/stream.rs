//! Hunyuan's streams: events of JSON without the envelope of whole answers.

use bytes::Bytes;

use super::{
    chat::{finish, late},
    faults,
    wire::{Reply, ReplyChoice, SaidCall},
};
use crate::{
    adapters::dialects::reading::rest_of,
    domain::{
        chat::ChatEvent,
        fault::{Fault, FaultClass},
        sse::{Events, SseSplitter},
    },
    ports::{chat::ChunkDecoder, codec::StreamEnd},
};

/// More calls in one answer are not told apart.
const MOST_CALLS: usize = 1024;

#[derive(Default)]
pub(super) struct EventReader {
    splitter: SseSplitter,
    named: bool,
    /// Choices that appeared, and those of them that have ended: a bit for each.
    seen: u128,
    finished: u128,
    /// Calls that have begun, by choice and index.
    calls: Vec<(u32, u32)>,
}

impl EventReader {
    fn read(&mut self, piece: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        for event in Events::of(piece) {
            let Some(data) = event.data else { continue };
            match data.trim_ascii() {
                b"[DONE]" => return Some(StreamEnd::Complete),
                b"" => {}
                data => {
                    if let Err(fault) = self.event(data, events) {
                        return Some(StreamEnd::Failed(fault));
                    }
                }
            }
        }
        None
    }

    fn event(&mut self, data: &[u8], events: &mut Vec<ChatEvent>) -> Result<(), Fault> {
        let reply: Reply = serde_json::from_slice(data).map_err(|_| Fault::of(FaultClass::InvalidReply))?;
        if let Some(error) = &reply.error_msg {
            return Err(late(error));
        }
        let Some(choices) = reply.choices else {
            // Errors before the first word come in the envelope of whole answers.
            return faults::in_band(data).map_or(Ok(()), Err);
        };
        if let (false, Some(id)) = (self.named, reply.id.filter(|id| !id.is_empty())) {
            self.named = true;
            events.push(ChatEvent::Head {
                id: Some(id),
                model: None,
            });
        }
        for choice in choices {
            self.choice(choice, events);
        }
        events.extend(reply.usage.map(|usage| ChatEvent::Counts(usage.into())));
        Ok(())
    }

    fn choice(&mut self, read: ReplyChoice, events: &mut Vec<ChatEvent>) {
        let choice = read.index.unwrap_or(0);
        let bit = 1 << choice.min(127);
        self.seen |= bit;
        let said = read.delta.or(read.message).unwrap_or_default();
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(text) = some(said.reasoning_content) {
            events.push(ChatEvent::Reasoning { choice, text });
        }
        if let Some(text) = some(said.content) {
            events.push(ChatEvent::Text { choice, text });
        }
        for (at, call) in (0..).zip(said.tool_calls.unwrap_or_default()) {
            self.call(choice, at, call, events);
        }
        if let Some(word) = some(read.finish_reason) {
            self.finished |= bit;
            let finish = finish(word);
            events.push(ChatEvent::Finish { choice, finish });
        }
    }

    /// Fragments of a call join by its index; its name comes once, its id with each of them.
    fn call(&mut self, choice: u32, at: u32, said: SaidCall, events: &mut Vec<ChatEvent>) {
        let call = said.index.unwrap_or(at);
        let function = said.function.unwrap_or_default();
        if !self.calls.contains(&(choice, call)) {
            if self.calls.len() >= MOST_CALLS {
                return;
            }
            self.calls.push((choice, call));
            events.push(ChatEvent::ToolCall {
                choice,
                call,
                id: said.id.filter(|id| !id.is_empty()),
                name: function.name.unwrap_or_default(),
                signature: None,
            });
        }
        if let Some(fragment) = function.arguments.filter(|fragment| !fragment.is_empty()) {
            events.push(ChatEvent::Arguments { choice, call, fragment });
        }
    }
}

impl ChunkDecoder for EventReader {
    fn push(&mut self, bytes: Bytes, events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        match self.splitter.push(bytes) {
            Ok(piece) => self.read(&piece, events),
            Err(_) => Some(StreamEnd::Failed(Fault::of(FaultClass::InvalidReply))),
        }
    }

    fn finish(&mut self, events: &mut Vec<ChatEvent>) -> StreamEnd {
        let rest = rest_of(&mut self.splitter);
        if let Some(end) = self.read(&rest, events) {
            return end;
        }
        // No terminator is sent: the last choice's finish reason is the end, and without it the answer was cut off.
        match self.seen != 0 && self.finished == self.seen {
            true => StreamEnd::Complete,
            false => StreamEnd::Failed(Fault::of(FaultClass::Transport)),
        }
    }
}
