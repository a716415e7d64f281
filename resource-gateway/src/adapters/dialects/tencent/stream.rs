//! Hunyuan's streams: events of JSON without the envelope of whole answers.

use super::{
    chat::{finish, late},
    faults,
    wire::{Reply, ReplyChoice, SaidCall},
};
use crate::{
    adapters::dialects::events::{ChoiceSet, EventReader},
    domain::{
        chat::ChatEvent,
        fault::{Fault, FaultClass},
    },
    ports::codec::StreamEnd,
};

/// More calls in one answer are not told apart.
const MOST_CALLS: usize = 1024;

#[derive(Default)]
pub(super) struct Reader {
    named: bool,
    choices: ChoiceSet,
    /// Calls that have begun, by choice and index.
    calls: Vec<(u32, u32)>,
}

impl Reader {
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
        self.choices.begin(choice);
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
            self.choices.end(choice);
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

impl EventReader for Reader {
    fn read(&mut self, data: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        match data {
            b"[DONE]" => Some(StreamEnd::Complete),
            data => self.event(data, events).err().map(StreamEnd::Failed),
        }
    }

    /// No terminator is sent: the last choice's finish reason is the end.
    fn is_over(&mut self, _: &mut Vec<ChatEvent>) -> bool {
        self.choices.are_over()
    }
}
