//! Streamed answers: events with whole answers that hold what is new. Nothing says that it was the last one but its finish reason.

use std::collections::BTreeMap;

use super::{
    convert, faults,
    wire::{Candidate, Reply, SaidPart},
};
use crate::{
    adapters::dialects::events::{ChoiceSet, EventReader, unreadable},
    domain::chat::{ChatEvent, Finish, FinishReason},
    ports::codec::StreamEnd,
};

/// Reads events.
#[derive(Debug, Default)]
pub(super) struct Reader {
    told: bool,
    candidates: ChoiceSet,
    /// How many functions each candidate has called.
    calls: BTreeMap<u32, u32>,
}

impl Reader {
    fn reply(&mut self, reply: Reply, events: &mut Vec<ChatEvent>) {
        let (id, model) = (reply.response_id, reply.model_version);
        if !self.told && (id.is_some() || model.is_some()) {
            self.told = id.is_some() && model.is_some();
            events.push(ChatEvent::Head { id, model });
        }
        for candidate in reply.candidates.unwrap_or_default() {
            self.candidate(candidate, events);
        }
        if let Some(word) = reply.prompt_feedback.and_then(|feedback| feedback.block_reason) {
            self.block(&word, events);
        }
        events.extend(reply.usage_metadata.map(|usage| ChatEvent::Counts(usage.into())));
    }

    /// A block ends all that has not ended yet; before the first word that is the only answer there is.
    fn block(&mut self, word: &str, events: &mut Vec<ChatEvent>) {
        if !self.candidates.have_begun() {
            self.candidates.begin(0);
        }
        let open = self.candidates.end_all();
        events.extend(open.map(|choice| ChatEvent::Finish {
            choice,
            finish: Finish::new(word, FinishReason::ContentFilter),
        }));
    }

    fn candidate(&mut self, candidate: Candidate, events: &mut Vec<ChatEvent>) {
        let choice = candidate.index.unwrap_or(0);
        self.candidates.begin(choice);
        let parts = candidate.content.and_then(|content| content.parts);
        for part in parts.unwrap_or_default() {
            self.part(choice, part, events);
        }
        if let Some(word) = candidate.finish_reason.filter(|_| self.candidates.end(choice)) {
            let calls = self.calls.contains_key(&choice.min(127));
            let finish = convert::finish(&word, calls);
            events.push(ChatEvent::Finish { choice, finish });
        }
    }

    fn part(&mut self, choice: u32, part: SaidPart, events: &mut Vec<ChatEvent>) {
        if let Some(call) = part.function_call {
            let made = self.calls.entry(choice.min(127)).or_default();
            let call_at = *made;
            *made = made.saturating_add(1);
            let call = convert::tool_use(call, part.thought_signature);
            events.push(ChatEvent::ToolCall {
                choice,
                call: call_at,
                id: call.id.map(Into::into),
                name: call.name.into(),
                signature: call.signature.map(Into::into),
            });
            events.push(ChatEvent::Arguments {
                choice,
                call: call_at,
                fragment: call.arguments.into(),
            });
        } else if let Some(text) = part.text.filter(|text| !text.is_empty()) {
            events.push(match part.thought {
                Some(true) => ChatEvent::Reasoning { choice, text },
                _ => ChatEvent::Text { choice, text },
            });
        }
    }
}

impl EventReader for Reader {
    fn read(&mut self, data: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        // A proxy's word for the end.
        if data == b"[DONE]" {
            return None;
        }
        let Ok(reply) = serde_json::from_slice::<Reply>(data) else {
            return Some(unreadable());
        };
        if let Some(error) = reply.error {
            return Some(StreamEnd::Failed(faults::of_error(&error, None)));
        }
        self.reply(reply, events);
        None
    }

    /// Nothing says so but that every candidate has said why it ended.
    fn is_over(&mut self, _: &mut Vec<ChatEvent>) -> bool {
        self.candidates.are_over()
    }
}
