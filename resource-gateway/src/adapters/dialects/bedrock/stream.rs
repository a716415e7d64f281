//! ConverseStream: frames of an event stream, each a piece of the answer.

use bytes::Bytes;

use super::{
    convert::{counts, finish, unreadable},
    errors, wire,
};
use crate::{
    domain::{
        chat::ChatEvent,
        event_frames::{Frame, FrameDecoder, FrameError},
        fault::{Fault, FaultClass},
    },
    ports::{chat::ChunkDecoder, codec::StreamEnd},
};

/// More calls in one answer are not told apart.
const MOST_CALLS: usize = 1024;

/// What is read.
const KINDS: [&str; 6] = [
    "messageStart",
    "contentBlockStart",
    "contentBlockDelta",
    "contentBlockStop",
    "messageStop",
    "metadata",
];

/// Reads one streamed answer.
pub(super) struct EventReader {
    frames: FrameDecoder,
    /// The vendor's name of the answer, until it was told.
    id: Option<String>,
    calls: Vec<Call>,
    stopped: bool,
}

/// A tool call by the block that it stands in.
struct Call {
    block: u64,
    /// Whether any of its arguments came.
    begun: bool,
}

impl EventReader {
    pub(super) fn new(id: Option<String>) -> Self {
        Self {
            frames: FrameDecoder::default(),
            id,
            calls: Vec::new(),
            stopped: false,
        }
    }

    fn frame(&mut self, frame: &Frame, events: &mut Vec<ChatEvent>) -> Result<Option<StreamEnd>, Fault> {
        if let Some(fault) = errors::in_frame(frame) {
            return Err(fault);
        }
        if frame.header(":message-type") != Some("event") {
            return Ok(None);
        }
        let Some(kind) = frame.header(":event-type") else {
            return Ok(None);
        };
        // Kinds that are not known here say nothing to the caller, in whatever form they do.
        if !KINDS.contains(&kind) {
            return Ok(None);
        }
        let event: wire::Event = serde_json::from_slice(&frame.payload()).map_err(|_| unreadable())?;
        match kind {
            "messageStart" => {
                let id = self.id.take();
                events.extend(id.map(|id| ChatEvent::Head {
                    id: Some(id),
                    model: None,
                }));
            }
            "contentBlockStart" => self.start(event, events)?,
            "contentBlockDelta" => self.delta(event, events)?,
            "contentBlockStop" => self.block_ends(event.content_block_index, events),
            "messageStop" => {
                self.stopped = true;
                events.extend(event.stop_reason.map(|word| ChatEvent::Finish {
                    choice: 0,
                    finish: finish(&word),
                }));
            }
            "metadata" => {
                events.extend(event.usage.map(|usage| ChatEvent::Counts(counts(usage))));
                return Ok(self.stopped.then_some(StreamEnd::Complete));
            }
            _ => {}
        }
        Ok(None)
    }

    fn start(&mut self, event: wire::Event, events: &mut Vec<ChatEvent>) -> Result<(), Fault> {
        let Some(call) = event.start.and_then(|start| start.tool_use) else {
            return Ok(());
        };
        if self.calls.len() >= MOST_CALLS {
            return Err(unreadable());
        }
        events.push(ChatEvent::ToolCall {
            choice: 0,
            call: u32::try_from(self.calls.len()).unwrap_or(u32::MAX),
            id: Some(call.tool_use_id),
            name: call.name,
            signature: None,
        });
        self.calls.push(Call {
            block: event.content_block_index,
            begun: false,
        });
        Ok(())
    }

    fn delta(&mut self, event: wire::Event, events: &mut Vec<ChatEvent>) -> Result<(), Fault> {
        let delta = event.delta.unwrap_or_default();
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        if let Some(text) = some(delta.text) {
            events.push(ChatEvent::Text { choice: 0, text });
        }
        if let Some(fragment) = some(delta.tool_use.map(|call| call.input)) {
            self.arguments(event.content_block_index, fragment, events)?;
        }
        let Some(reasoning) = delta.reasoning_content else {
            return Ok(());
        };
        if let Some(text) = some(reasoning.text) {
            events.push(ChatEvent::Reasoning { choice: 0, text });
        }
        if let Some(signature) = some(reasoning.signature) {
            events.push(ChatEvent::ReasoningSignature { choice: 0, signature });
        }
        if let Some(data) = some(reasoning.redacted_content) {
            events.push(ChatEvent::RedactedReasoning { choice: 0, data });
        }
        Ok(())
    }

    fn arguments(&mut self, block: u64, fragment: String, events: &mut Vec<ChatEvent>) -> Result<(), Fault> {
        // Arguments of a call that never began belong to no tool.
        let at = self
            .calls
            .iter()
            .rposition(|known| known.block == block)
            .ok_or_else(unreadable)?;
        let call = u32::try_from(at).map_err(|_| unreadable())?;
        let known = self.calls.get_mut(at).ok_or_else(unreadable)?;
        known.begun = true;
        events.push(ChatEvent::Arguments {
            choice: 0,
            call,
            fragment,
        });
        Ok(())
    }

    /// A tool without parameters is called without a word; callers read JSON all the same.
    fn block_ends(&mut self, block: u64, events: &mut Vec<ChatEvent>) {
        for (call, known) in (0..).zip(&mut self.calls) {
            if known.block == block && !known.begun {
                known.begun = true;
                events.push(ChatEvent::Arguments {
                    choice: 0,
                    call,
                    fragment: "{}".to_owned(),
                });
            }
        }
    }

    fn read(&mut self, events: &mut Vec<ChatEvent>) -> Result<Option<StreamEnd>, Fault> {
        while let Some(frame) = self.frames.next_frame().map_err(broken)? {
            if let Some(end) = self.frame(&frame, events)? {
                return Ok(Some(end));
            }
        }
        Ok(None)
    }
}

/// Bytes that changed on the way, or that never were frames.
pub(super) fn broken(error: FrameError) -> Fault {
    Fault::of(match error {
        FrameError::Checksum | FrameError::Truncated => FaultClass::Transport,
        FrameError::Malformed | FrameError::TooLong => FaultClass::InvalidReply,
    })
}

impl ChunkDecoder for EventReader {
    fn push(&mut self, bytes: Bytes, events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        self.frames.push(&bytes);
        self.read(events).unwrap_or_else(|fault| Some(StreamEnd::Failed(fault)))
    }

    fn finish(&mut self, _: &mut Vec<ChatEvent>) -> StreamEnd {
        // The reason why it stopped is the end of the answer; only what it cost comes behind it.
        match (self.stopped, self.frames.finish()) {
            (true, _) => StreamEnd::Complete,
            (false, Ok(())) => StreamEnd::Failed(Fault::of(FaultClass::Transport)),
            (false, Err(error)) => StreamEnd::Failed(broken(error)),
        }
    }
}
