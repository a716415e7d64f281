//! Streamed answers: events by name, of which `message-end` is the last.

use super::{
    convert::{finish, unreadable},
    faults,
    wire::{Delta, DeltaMessage, Event},
};
use crate::{
    adapters::dialects::events::EventReader,
    domain::{
        chat::{ChatEvent, Counts},
        fault::Fault,
    },
    ports::codec::StreamEnd,
};

/// There is one answer.
const CHOICE: u32 = 0;

/// Reads events.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// How many calls have begun.
    calls: u32,
}

impl Reader {
    fn event(&mut self, event: Event<'_>, events: &mut Vec<ChatEvent>) -> Result<Option<StreamEnd>, Fault> {
        let delta = || match event.delta {
            Some(delta) => serde_json::from_str(delta.get()).map_err(|_| unreadable()),
            None => Ok(None),
        };
        let delta = || delta().map(Option::<Delta>::unwrap_or_default);
        match event.kind.as_str() {
            "message-start" => events.extend(event.id.map(|id| ChatEvent::Head {
                id: Some(id),
                model: None,
            })),
            "content-start" | "content-delta" | "tool-plan-delta" => {
                said(delta()?.message.unwrap_or_default(), events);
            }
            "tool-call-start" => self.call(delta()?, events),
            "tool-call-delta" => self.arguments(delta()?, events),
            "message-end" => return Ok(Some(end(delta()?, events))),
            // An error in place of an event has no name.
            "" | "error" => {
                let failure = event.message.map(|message| faults::of_message(&message));
                return Ok(failure.map(StreamEnd::Failed));
            }
            // Citations, ends of parts, and what is still to come.
            _ => {}
        }
        Ok(None)
    }

    /// Calls come one after the other, whatever their parts count as `index`.
    fn call(&mut self, delta: Delta, events: &mut Vec<ChatEvent>) {
        let call = delta.message.and_then(|message| message.tool_calls).unwrap_or_default();
        let function = call.function.unwrap_or_default();
        events.push(ChatEvent::ToolCall {
            choice: CHOICE,
            call: self.calls,
            id: call.id.filter(|id| !id.is_empty()),
            name: function.name.unwrap_or_default(),
            signature: None,
        });
        self.calls = self.calls.saturating_add(1);
        self.fragment(function.arguments, events);
    }

    fn arguments(&mut self, delta: Delta, events: &mut Vec<ChatEvent>) {
        let call = delta.message.and_then(|message| message.tool_calls).unwrap_or_default();
        self.fragment(call.function.and_then(|function| function.arguments), events);
    }

    fn fragment(&mut self, fragment: Option<String>, events: &mut Vec<ChatEvent>) {
        let fragment = fragment.filter(|fragment| !fragment.is_empty());
        if let (Some(call), Some(fragment)) = (self.calls.checked_sub(1), fragment) {
            events.push(ChatEvent::Arguments {
                choice: CHOICE,
                call,
                fragment,
            });
        }
    }
}

fn said(message: DeltaMessage, events: &mut Vec<ChatEvent>) {
    let part = message.content.unwrap_or_default();
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    for text in [some(message.tool_plan), some(part.thinking)].into_iter().flatten() {
        events.push(ChatEvent::Reasoning { choice: CHOICE, text });
    }
    events.extend(some(part.text).map(|text| ChatEvent::Text { choice: CHOICE, text }));
}

/// What failed says so at the end, and may say how.
fn end(delta: Delta, events: &mut Vec<ChatEvent>) -> StreamEnd {
    events.extend(delta.usage.map(|usage| ChatEvent::Counts(Counts::from(usage))));
    if let Some(error) = delta.error.filter(|error| !error.is_empty()) {
        return StreamEnd::Failed(faults::of_message(&error));
    }
    if let Some(word) = delta.finish_reason {
        events.push(ChatEvent::Finish {
            choice: CHOICE,
            finish: finish(&word),
        });
    }
    StreamEnd::Complete
}

impl EventReader for Reader {
    fn read(&mut self, data: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        let read = serde_json::from_slice::<Event<'_>>(data).map_err(|_| unreadable());
        read.and_then(|event| self.event(event, events))
            .unwrap_or_else(|fault| Some(StreamEnd::Failed(fault)))
    }

    /// The last event is never left out.
    fn is_over(&mut self, _: &mut Vec<ChatEvent>) -> bool {
        false
    }
}
