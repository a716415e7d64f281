//! A streamed answer: `message_start`, blocks that begin, grow and end, `message_delta`, `message_stop`.

use std::collections::HashMap;

use super::{faults, wire};
use crate::{
    adapters::dialects::events::EventReader,
    domain::{
        chat::{ChatEvent, Counts},
        fault::{Fault, FaultClass},
    },
    ports::codec::StreamEnd,
};

/// More blocks at the same time are not told apart: what belongs to them is skipped.
const MOST_BLOCKS: usize = 1024;

/// Reads events one by one.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The tool calls among the blocks that have begun and not ended.
    calls: HashMap<u64, OpenCall>,
    begun_calls: u32,
    finished: bool,
}

#[derive(Debug)]
struct OpenCall {
    call: u32,
    /// Arguments that came at once, which is not how it is done; `None` when pieces of them have come.
    input: Option<String>,
}

impl EventReader for Reader {
    /// Callers get one kind of end.
    const UNSAID_END: &'static [u8] = b"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";

    fn read(&mut self, data: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        match data {
            b"[DONE]" => None,
            data => self.take(data, events),
        }
    }

    /// It has told why it ended.
    fn is_over(&mut self, _: &mut Vec<ChatEvent>) -> bool {
        self.finished
    }
}

impl Reader {
    fn take(&mut self, data: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        let Ok(event) = serde_json::from_slice::<wire::Event<'_>>(data) else {
            return Some(StreamEnd::Failed(Fault::of(FaultClass::InvalidReply)));
        };
        let unreadable = |_| StreamEnd::Failed(Fault::of(FaultClass::InvalidReply));
        match event.kind.as_str() {
            "message_start" => return self.start(&event, events).map_err(unreadable).err(),
            "content_block_start" => return self.open(&event, events).map_err(unreadable).err(),
            "content_block_delta" => self.grow(&event, events),
            "content_block_stop" => self.close(&event, events),
            "message_delta" => self.sum_up(&event, events),
            "message_stop" => return Some(StreamEnd::Complete),
            // A proxy's error may have no kind.
            kind if kind == "error" || kind.is_empty() && event.error.is_some() => {
                let fault = event.error.map(|error| faults::in_band(error.get()));
                return Some(StreamEnd::Failed(
                    fault.unwrap_or_else(|| Fault::of(FaultClass::ServerError)),
                ));
            }
            _ => {}
        }
        None
    }

    fn start(&mut self, event: &wire::Event<'_>, events: &mut Vec<ChatEvent>) -> serde_json::Result<()> {
        let Some(message) = event.message else { return Ok(()) };
        let mut message: wire::Message<'_> = serde_json::from_str(message.get())?;
        let (id, model) = (message.id.take(), message.model.take());
        if id.is_some() || model.is_some() {
            events.push(ChatEvent::Head { id, model });
        }
        // What it says of output is a placeholder: the count comes with `message_delta`.
        let counts = message.counts().map(|counts| Counts { output: None, ..counts });
        events.extend(counts.map(ChatEvent::Counts));
        if let Some(finish) = message.finish() {
            self.finished = true;
            events.push(ChatEvent::Finish { choice: 0, finish });
        }
        Ok(())
    }

    fn open(&mut self, event: &wire::Event<'_>, events: &mut Vec<ChatEvent>) -> serde_json::Result<()> {
        let Some(block) = event.content_block else {
            return Ok(());
        };
        let Some(block) = wire::read_block(block)? else {
            return Ok(());
        };
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        match block.kind.as_str() {
            "text" => events.extend(some(block.text).map(|text| ChatEvent::Text { choice: 0, text })),
            "thinking" => {
                events.extend(some(block.thinking).map(|text| ChatEvent::Reasoning { choice: 0, text }));
                let signature = some(block.signature);
                events.extend(signature.map(|signature| ChatEvent::ReasoningSignature { choice: 0, signature }));
            }
            "redacted_thinking" => {
                let data = block.data.unwrap_or_default();
                events.push(ChatEvent::RedactedReasoning { choice: 0, data });
            }
            "tool_use" if self.calls.len() < MOST_BLOCKS => {
                let call = self.begun_calls;
                self.begun_calls += 1;
                let input = block.input.map(|input| input.get().to_owned());
                let open = OpenCall {
                    call,
                    input: Some(input.unwrap_or_default()),
                };
                self.calls.insert(event.index.unwrap_or_default(), open);
                events.push(ChatEvent::ToolCall {
                    choice: 0,
                    call,
                    id: some(block.id),
                    name: block.name.unwrap_or_default(),
                    signature: None,
                });
            }
            _ => {}
        }
        Ok(())
    }

    fn grow(&mut self, event: &wire::Event<'_>, events: &mut Vec<ChatEvent>) {
        let delta = event.delta.and_then(|delta| serde_json::from_str(delta.get()).ok());
        let Some(wire::Delta {
            kind,
            text,
            partial_json,
            thinking,
            signature,
        }) = delta
        else {
            return;
        };
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        match kind.as_str() {
            "text_delta" => events.extend(some(text).map(|text| ChatEvent::Text { choice: 0, text })),
            "thinking_delta" => events.extend(some(thinking).map(|text| ChatEvent::Reasoning { choice: 0, text })),
            "signature_delta" => {
                let signature = some(signature);
                events.extend(signature.map(|signature| ChatEvent::ReasoningSignature { choice: 0, signature }));
            }
            "input_json_delta" => {
                let open = self.calls.get_mut(&event.index.unwrap_or_default());
                if let (Some(open), Some(fragment)) = (open, some(partial_json)) {
                    open.input = None;
                    events.push(ChatEvent::Arguments {
                        choice: 0,
                        call: open.call,
                        fragment,
                    });
                }
            }
            _ => {}
        }
    }

    /// A call without arguments has an empty object of them, in the stream nothing.
    fn close(&mut self, event: &wire::Event<'_>, events: &mut Vec<ChatEvent>) {
        let open = self.calls.remove(&event.index.unwrap_or_default());
        let Some(OpenCall {
            call,
            input: Some(input),
        }) = open
        else {
            return;
        };
        let fragment = match input.trim() {
            "" | "null" => "{}".to_owned(),
            _ => input,
        };
        events.push(ChatEvent::Arguments {
            choice: 0,
            call,
            fragment,
        });
    }

    /// Counts are cumulative here, and say more than those of the start.
    fn sum_up(&mut self, event: &wire::Event<'_>, events: &mut Vec<ChatEvent>) {
        let counts = event.usage.and_then(wire::read_counts);
        events.extend(counts.map(ChatEvent::Counts));
        let delta = event.delta.and_then(|delta| serde_json::from_str(delta.get()).ok());
        let Some(wire::MessageDelta {
            stop_reason: Some(word),
            stop_sequence,
        }) = delta
        else {
            return;
        };
        self.finished = true;
        let finish = wire::finish(word, stop_sequence);
        events.push(ChatEvent::Finish { choice: 0, finish });
    }
}
