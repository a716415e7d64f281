//! Chat in events. Each is a whole answer: of what is new since the one before, or of everything so far, which some models send whatever
//! they were asked for. Nothing says which; it shows with the second text of a kind.

use bytes::Bytes;
use memchr::memmem;

use super::{
    convert::finish,
    faults::{self, Failure},
    wire::{self, Choice, Reply, ToolCall},
};
use crate::{
    adapters::dialects::reading::rest_of,
    domain::{
        chat::{ChatEvent, Counts},
        fault::{Fault, FaultClass},
        sse::{Events, SseSplitter},
    },
    ports::{chat::ChunkDecoder, codec::StreamEnd},
};

/// Parts of one answer that are told apart.
const MOST_PARTS: usize = 1024;
/// More of a text is not compared: by then it is known how events tell.
const MOST_KEPT: usize = 4 * 1024 * 1024;

#[derive(Default)]
pub(super) struct Reader {
    splitter: SseSplitter,
    told: bool,
    manner: Manner,
    /// What has been said, part by part.
    parts: Vec<Part>,
    calls: Vec<(u32, u32)>,
    seen: u128,
    finished: u128,
}

/// What an event tells.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Manner {
    #[default]
    Unknown,
    News,
    Everything,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Reasoning,
    Arguments(u32),
}

struct Part {
    choice: u32,
    kind: Kind,
    /// All of it, as long as events may repeat it.
    so_far: String,
    /// Tokens of output when it began.
    tokens: Option<u64>,
}

impl Reader {
    fn read(&mut self, piece: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        for event in Events::of(piece) {
            let Some(data) = &event.data else { continue };
            let data = data.trim_ascii();
            if data.is_empty() || data == b"[DONE]" {
                continue;
            }
            let head = piece.get(event.start..event.end).unwrap_or_default();
            if let Err(fault) = self.event(head, data, events) {
                return Some(StreamEnd::Failed(fault));
            }
        }
        None
    }

    fn event(&mut self, whole: &[u8], data: &[u8], events: &mut Vec<ChatEvent>) -> Result<(), Fault> {
        if let Some(fault) = faults::in_place_of_an_answer(data) {
            let failure: Failure = serde_json::from_slice(data).unwrap_or_default();
            return Err(status_in(whole).map_or(fault, |status| failure.fault(Some(status))));
        }
        let reply: Reply = serde_json::from_slice(data).map_err(|_| Fault::of(FaultClass::InvalidReply))?;
        if !self.told && reply.request_id.is_some() {
            self.told = true;
            events.push(ChatEvent::Head {
                id: reply.request_id,
                model: None,
            });
        }
        let tokens = reply.usage.and_then(|usage| usage.output_tokens);
        let output = reply.output.unwrap_or_default();
        let older = output.text.map(|text| Choice {
            message: Some(wire::Message {
                content: Some(text.into()),
                ..wire::Message::default()
            }),
            finish_reason: output.finish_reason,
            ..Choice::default()
        });
        for choice in output.choices.into_iter().flatten().chain(older) {
            self.choice(choice, tokens, events);
        }
        events.extend(reply.usage.map(|usage| ChatEvent::Counts(Counts::from(usage))));
        Ok(())
    }

    fn choice(&mut self, read: Choice, tokens: Option<u64>, events: &mut Vec<ChatEvent>) {
        let choice = read.index.unwrap_or(0);
        let bit = 1 << choice.min(127);
        self.seen |= bit;
        let end = finish(read.finish_reason.as_deref());
        let at = Moment {
            tokens,
            last: end.is_some(),
        };
        let said = read.message.unwrap_or_default();
        if let Some(text) = self.news(choice, Kind::Reasoning, said.reasoning_content, at) {
            events.push(ChatEvent::Reasoning { choice, text });
        }
        if let Some(text) = self.news(choice, Kind::Text, said.content.as_ref().map(wire::text_of), at) {
            events.push(ChatEvent::Text { choice, text });
        }
        for (place, call) in (0..).zip(said.tool_calls.unwrap_or_default()) {
            self.call(choice, place, call, at, events);
        }
        if let Some(finish) = end.filter(|_| self.finished & bit == 0) {
            self.finished |= bit;
            events.push(ChatEvent::Finish { choice, finish });
        }
    }

    /// Fragments of a call join by its index: name and id come once.
    fn call(&mut self, choice: u32, place: u32, said: ToolCall, at: Moment, events: &mut Vec<ChatEvent>) {
        let call = said.index.unwrap_or(place);
        let function = said.function.unwrap_or_default();
        if !self.calls.contains(&(choice, call)) {
            // More are not told.
            if self.calls.len() >= MOST_PARTS {
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
        if let Some(fragment) = self.news(choice, Kind::Arguments(call), function.arguments, at) {
            events.push(ChatEvent::Arguments { choice, call, fragment });
        }
    }

    /// What of a text was not there before.
    fn news(&mut self, choice: u32, kind: Kind, text: Option<String>, at: Moment) -> Option<String> {
        let text = text.filter(|text| !text.is_empty())?;
        let known = self
            .parts
            .iter()
            .position(|part| (part.choice, part.kind) == (choice, kind));
        let Some(part) = known.and_then(|known| self.parts.get_mut(known)) else {
            if self.manner != Manner::News && self.parts.len() < MOST_PARTS {
                self.parts.push(Part {
                    choice,
                    kind,
                    so_far: text.clone(),
                    tokens: at.tokens,
                });
            }
            return Some(text);
        };
        if self.manner == Manner::Unknown {
            self.manner = part.manner_of(&text, at);
        }
        match text.strip_prefix(part.so_far.as_str()) {
            Some(more) if self.manner == Manner::Everything && text.len() <= MOST_KEPT => {
                let more = more.to_owned();
                part.so_far = text;
                Some(more).filter(|more| !more.is_empty())
            }
            // It does not begin as it did before, so it is not told again.
            _ => {
                self.manner = Manner::News;
                self.parts.clear();
                Some(text)
            }
        }
    }
}

/// When something is said.
#[derive(Debug, Clone, Copy)]
struct Moment {
    /// Tokens of output up to then.
    tokens: Option<u64>,
    /// With the end of the answer.
    last: bool,
}

impl Part {
    /// Whether a second text repeats the first, by how it begins and by how many tokens it takes: the same syllable twice is no
    /// repetition if it was paid for twice.
    fn manner_of(&self, text: &str, at: Moment) -> Manner {
        if !text.starts_with(&self.so_far) {
            return Manner::News;
        }
        if let (Some(before), Some(now)) = (self.tokens.filter(|before| *before > 0), at.tokens) {
            let expected = (text.len() as u64).saturating_mul(before) / (self.so_far.len() as u64).max(1);
            let (everything, news) = (expected.abs_diff(now), expected.abs_diff(now.saturating_sub(before)));
            return if news < everything {
                Manner::News
            } else {
                Manner::Everything
            };
        }
        match text.len() > self.so_far.len() || at.last {
            true => Manner::Everything,
            false => Manner::News,
        }
    }
}

/// The status that an event carries in a comment.
fn status_in(event: &[u8]) -> Option<u16> {
    const BEFORE: &[u8] = b":HTTP_STATUS/";
    let at = memmem::find(event, BEFORE)? + BEFORE.len();
    let digits = event.get(at..at + 3)?;
    let status: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (400..600).contains(&status).then_some(status)
}

impl ChunkDecoder for Reader {
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
        // Nothing marks the end but the reason for it.
        match self.seen != 0 && self.finished == self.seen {
            true => StreamEnd::Complete,
            false => StreamEnd::Failed(Fault::of(FaultClass::Transport)),
        }
    }
}
