//! Answers: frames, a line each, of which the last says so.

use bytes::Bytes;

use super::wire::Frame;
use crate::{
    adapters::dialects::{error_object, spark_codes},
    domain::{
        chat::{ChatEvent, Finish, FinishReason},
        fault::{Fault, FaultClass},
        lines::{LineSplitter, lines},
    },
    ports::{chat::ChunkDecoder, codec::StreamEnd},
};

/// There is one answer.
const CHOICE: u32 = 0;

/// Reads frames.
#[derive(Debug, Default)]
pub(super) struct SparkStream {
    splitter: LineSplitter,
    told: bool,
    calls: u32,
}

impl SparkStream {
    fn read(&mut self, piece: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        lines(piece).find_map(|line| match serde_json::from_slice::<Frame>(line) {
            Ok(frame) => self.frame(frame, events),
            Err(_) => Some(StreamEnd::Failed(Fault::of(FaultClass::InvalidReply))),
        })
    }

    fn frame(&mut self, frame: Frame, events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        if frame.header.code != 0 {
            return Some(StreamEnd::Failed(fault(frame.header.code, frame.header.message)));
        }
        let is_last = frame.is_last();
        let id = frame.header.sid.filter(|_| !self.told);
        if id.is_some() {
            self.told = true;
            events.push(ChatEvent::Head { id, model: None });
        }
        let told = frame.payload;
        let (choices, usage) = told.map_or((None, None), |told| (told.choices, told.usage));
        let some = |text: Option<String>| text.filter(|text| !text.is_empty());
        for piece in choices.into_iter().flat_map(|choices| choices.text) {
            let thought = some(piece.reasoning_content).map(|text| ChatEvent::Reasoning { choice: CHOICE, text });
            let text = some(piece.content).map(|text| ChatEvent::Text { choice: CHOICE, text });
            events.extend(thought.into_iter().chain(text));
            let Some(wanted) = piece.function_call else { continue };
            if let Some(name) = some(wanted.name) {
                events.push(ChatEvent::ToolCall {
                    choice: CHOICE,
                    call: self.calls,
                    id: None,
                    name,
                    signature: None,
                });
                self.calls = self.calls.saturating_add(1);
            }
            if let (Some(fragment), Some(call)) = (some(wanted.arguments), self.calls.checked_sub(1)) {
                events.push(ChatEvent::Arguments {
                    choice: CHOICE,
                    call,
                    fragment,
                });
            }
        }
        events.extend(usage.and_then(|usage| usage.counts()).map(ChatEvent::Counts));
        if !is_last {
            return None;
        }
        // Why it ended is not told; whoever wants a function called says nothing more.
        let finish = match self.calls {
            0 => Finish::new("stop", FinishReason::Stop),
            _ => Finish::new("tool_calls", FinishReason::ToolCalls),
        };
        events.push(ChatEvent::Finish { choice: CHOICE, finish });
        Some(StreamEnd::Complete)
    }
}

/// A failure that came in a frame.
fn fault(code: i64, message: Option<String>) -> Fault {
    let known = u32::try_from(code).ok().and_then(spark_codes::class_of);
    Fault {
        words: error_object::words_of(&serde_json::json!({"code": code.to_string(), "message": message})),
        ..Fault::of(known.unwrap_or(FaultClass::ServerError))
    }
}

impl ChunkDecoder for SparkStream {
    fn push(&mut self, bytes: Bytes, events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        match self.splitter.push(bytes) {
            Ok(piece) => self.read(&piece, events),
            Err(_) => Some(StreamEnd::Failed(Fault::of(FaultClass::InvalidReply))),
        }
    }

    fn finish(&mut self, _: &mut Vec<ChatEvent>) -> StreamEnd {
        // The last frame has not come.
        StreamEnd::Failed(Fault::of(FaultClass::Transport))
    }
}
