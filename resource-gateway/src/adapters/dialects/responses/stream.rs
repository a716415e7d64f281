//! A streamed answer: `response.created`, items that begin, grow and end, and the whole response once more at its end.

use std::collections::HashMap;

use super::{
    BETWEEN_PARTS, faults, finish, thought_text,
    wire::{self, OutputItem},
};
use crate::{
    adapters::dialects::events::{EventReader, unreadable},
    domain::{
        chat::{ChatEvent, proofs},
        fault::{Fault, FaultClass},
    },
    ports::codec::StreamEnd,
};

/// More items are not told apart: what belongs to them is skipped.
const MOST_ITEMS: usize = 1024;

/// Reads events one by one.
#[derive(Debug, Default)]
pub(super) struct Reader {
    headed: bool,
    /// The server does not number its items, so that those of the whole response are told apart from none of them.
    is_unplaced: bool,
    /// The items that have begun, by their place in the output.
    items: HashMap<u64, Told>,
    begun_calls: u32,
}

/// What of an item has been told.
#[derive(Debug, Default)]
struct Told {
    call: Option<u32>,
    /// The last part of it to which something was added.
    part: Option<u64>,
    /// Something came too early to be told.
    early: bool,
    done: bool,
}

fn unread(_: serde_json::Error) -> StreamEnd {
    unreadable()
}

/// What an event adds to an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Growth {
    Text,
    Refusal,
    Thought,
    Arguments,
}

impl Reader {
    fn start(&mut self, response: &mut wire::Response<'_>, events: &mut Vec<ChatEvent>) {
        let (id, model) = (response.id.take(), response.model.take());
        if !self.headed && (id.is_some() || model.is_some()) {
            self.headed = true;
            events.push(ChatEvent::Head { id, model });
        }
    }

    fn item(&mut self, at: u64) -> Option<&mut Told> {
        let room = self.items.len() < MOST_ITEMS || self.items.contains_key(&at);
        room.then(|| self.items.entry(at).or_default())
    }

    /// An item that begins. Of what it holds by then nothing is told: it comes in pieces, or at the end.
    fn open(&mut self, at: u64, item: &mut OutputItem, events: &mut Vec<ChatEvent>) {
        let call = self.begun_calls;
        let Some(told) = self.item(at) else { return };
        if item.kind != "function_call" || told.call.is_some() {
            return;
        }
        told.call = Some(call);
        self.begun_calls += 1;
        events.push(ChatEvent::ToolCall {
            choice: 0,
            call,
            id: item.call_id.take().filter(|id| !id.is_empty()),
            name: item.name.take().unwrap_or_default(),
            signature: None,
        });
    }

    fn grow(&mut self, growth: Growth, (at, part): (u64, u64), text: String, events: &mut Vec<ChatEvent>) {
        if text.is_empty() {
            return;
        }
        let Some(told) = self.item(at) else { return };
        // Arguments before the call they belong to: they stand in the whole item once more.
        told.early |= growth == Growth::Arguments && told.call.is_none();
        if told.early {
            return;
        }
        let apart = growth == Growth::Thought && told.part.is_some_and(|last| last != part);
        told.part = Some(part);
        events.push(match (growth, told.call) {
            (Growth::Text, _) => ChatEvent::Text { choice: 0, text },
            (Growth::Refusal, _) => ChatEvent::Refusal { choice: 0, text },
            (Growth::Thought, _) => ChatEvent::Reasoning {
                choice: 0,
                text: if apart { [BETWEEN_PARTS, &text].concat() } else { text },
            },
            (Growth::Arguments, Some(call)) => ChatEvent::Arguments {
                choice: 0,
                call,
                fragment: text,
            },
            (Growth::Arguments, None) => return,
        });
    }

    /// An item that is whole: what of it has not come in pieces is told now.
    fn close(&mut self, at: u64, mut item: OutputItem, events: &mut Vec<ChatEvent>) {
        if self.items.get(&at).is_some_and(|told| told.done) {
            return;
        }
        self.open(at, &mut item, events);
        let Some(told) = self.item(at) else { return };
        told.done = true;
        told.early = false;
        let grown = told.part.is_some();
        match item.kind.as_str() {
            "message" if !grown => {
                for (part, content) in (0..).zip(item.content.unwrap_or_default()) {
                    let (growth, text) = match content.kind.as_str() {
                        "output_text" => (Growth::Text, content.text),
                        "refusal" => (Growth::Refusal, content.refusal),
                        _ => continue,
                    };
                    self.grow(growth, (at, part), text.unwrap_or_default(), events);
                }
            }
            "function_call" if !grown => {
                let arguments = Some(item.arguments()).filter(|arguments| !arguments.trim().is_empty());
                let arguments = arguments.unwrap_or_else(|| "{}".to_owned());
                self.grow(Growth::Arguments, (at, 0), arguments, events);
            }
            "reasoning" => {
                let text = thought_text(&item);
                let shown = grown || !text.is_empty();
                if !grown {
                    self.grow(Growth::Thought, (at, 0), text, events);
                }
                let proof = item.encrypted_content.filter(|proof| !proof.is_empty());
                let proof = proof.map(|proof| proofs::of_responses(&proof));
                events.extend(proof.map(|proof| match shown {
                    true => ChatEvent::ReasoningSignature {
                        choice: 0,
                        signature: proof,
                    },
                    false => ChatEvent::RedactedReasoning { choice: 0, data: proof },
                }));
            }
            _ => {}
        }
    }

    /// The whole response, at the end.
    fn sum_up(
        &mut self,
        mut response: wire::Response<'_>,
        events: &mut Vec<ChatEvent>,
    ) -> Result<StreamEnd, StreamEnd> {
        if let Some(fault) = faults::of_response(&response) {
            events.extend(response.counts().map(ChatEvent::Counts));
            return Ok(StreamEnd::Failed(fault));
        }
        self.start(&mut response, events);
        // Some servers tell nothing before, or not the end of each item.
        if !self.is_unplaced || self.items.is_empty() {
            for (at, item) in response.items().map_err(unread)? {
                self.close(at, item, events);
            }
        }
        events.extend(response.counts().map(ChatEvent::Counts));
        let Some(finish) = finish(&response, self.begun_calls > 0) else {
            return Err(unreadable());
        };
        events.push(ChatEvent::Finish { choice: 0, finish });
        Ok(StreamEnd::Complete)
    }

    fn take(&mut self, event: &wire::Event<'_>, data: &[u8], events: &mut Vec<ChatEvent>) -> Result<(), StreamEnd> {
        let at = event.output_index.unwrap_or_default();
        let place = |part: Option<u64>| (at, part.unwrap_or_default());
        let delta = || match event.delta {
            Some(delta) => serde_json::from_str::<String>(delta.get()).map_err(unread),
            None => Ok(String::new()),
        };
        match event.kind.as_str() {
            "response.created" | "response.in_progress" | "response.queued" => {
                if let Some(response) = event.response {
                    let mut response = serde_json::from_str(response.get()).map_err(unread)?;
                    self.start(&mut response, events);
                }
            }
            "response.output_item.added" | "response.output_item.done" => {
                let Some(item) = event.item else { return Ok(()) };
                self.is_unplaced |= event.output_index.is_none();
                let Some(mut item) = wire::read_item(item).map_err(unread)? else {
                    return Ok(());
                };
                match event.kind.ends_with("done") {
                    true => self.close(at, item, events),
                    false => self.open(at, &mut item, events),
                }
            }
            "response.output_text.delta" => self.grow(Growth::Text, place(event.content_index), delta()?, events),
            "response.refusal.delta" => self.grow(Growth::Refusal, place(event.content_index), delta()?, events),
            "response.reasoning_summary_text.delta" => {
                self.grow(Growth::Thought, place(event.summary_index), delta()?, events);
            }
            "response.reasoning_text.delta" => {
                self.grow(Growth::Thought, place(event.content_index), delta()?, events);
            }
            "response.function_call_arguments.delta" => self.grow(Growth::Arguments, (at, 0), delta()?, events),
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                return Err(match event.response {
                    Some(response) => match serde_json::from_str(response.get()) {
                        Ok(response) => self.sum_up(response, events).unwrap_or_else(|end| end),
                        Err(error) => unread(error),
                    },
                    None => StreamEnd::Failed(faults::of_event(event, data)),
                });
            }
            "error" => return Err(StreamEnd::Failed(faults::of_event(event, data))),
            // A proxy's, or a server's that has one kind of error.
            "" if event.error.is_some() => return Err(StreamEnd::Failed(faults::of_event(event, data))),
            _ => {}
        }
        Ok(())
    }
}

impl EventReader for Reader {
    fn read(&mut self, data: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        let data = data.trim_ascii();
        // Other formats' word for an end. Here it says nothing.
        if data.is_empty() || data == b"[DONE]" {
            return None;
        }
        match serde_json::from_slice::<wire::Event<'_>>(data) {
            Ok(event) => self.take(&event, data, events).err(),
            Err(_) => Some(StreamEnd::Failed(Fault::of(FaultClass::InvalidReply))),
        }
    }

    /// The last event holds the whole response; without it the answer was cut off.
    fn is_over(&mut self, _: &mut Vec<ChatEvent>) -> bool {
        false
    }
}
