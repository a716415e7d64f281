//! Chat for a vendor of any dialect and a caller of any other: the codec between the neutral words and both.

use std::hash::{DefaultHasher, Hasher as _};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use service_kit::Timestamp;

use super::{support, voices};
use crate::{
    domain::{
        answer::Answer,
        call::Call,
        chat::{ChatEvent, ChatReply, ChatRequest, Counts, named_call},
        estimate::Weight,
        fault::{Fault, FaultClass},
        said::{Manner, Said},
    },
    ports::{
        chat::{ChatDialect, ChunkDecoder},
        codec::{
            Codec, Decoded, EncodeError, Encoded, ModelList, Opening, Outcome, Progress, Pushed, Received,
            StreamDecoder, StreamEnd, Target, TokenUsage,
        },
    },
};

/// Chat in a dialect. Calls of callers who speak it themselves are taken as they are.
#[derive(Debug, Clone, Copy)]
pub struct Chat<D>(pub D);

impl<D: ChatDialect> Chat<D> {
    /// Holds a request to what the dialect can say, with what it has to bring itself; answers what was left out.
    fn held(&self, request: &mut ChatRequest<'_>, target: Target<'_>) -> Result<Vec<String>, EncodeError> {
        let support = self.0.support();
        let dropped = support::hold(request, &support, target.when_unsupported)?;
        support::bring(request, &support, target.fetched)?;
        Ok(dropped)
    }
}

impl<D: ChatDialect> Codec for Chat<D> {
    fn path(&self) -> &'static str {
        self.0.path()
    }

    fn home(&self) -> Option<&'static str> {
        self.0.home()
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        if let Some(native) = self.0.native(call) {
            return native.encode(call, target);
        }
        let body = call.body();
        let mut request = ChatRequest::read(&body)?;
        let mut dropped = self.held(&mut request, target)?;
        support::ask_for_all_calls(&mut request, &self.0.support(), call.voice());
        if !self.0.bounds_output() && request.max_tokens.take().is_some() {
            support::no_bound(call.voice(), target.when_unsupported, &mut dropped)?;
        }
        let encoded = self.0.encode(&request, target)?;
        let mut encoded = self.0.said_beside(call, target, encoded);
        // The dialect may have had to leave out more: what some of a vendor's models can do and others cannot.
        encoded.dropped.splice(..0, dropped);
        Ok(encoded)
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        if let Some(native) = self.0.native(call) {
            return native.decode(call, reply);
        }
        let mut answer = self.0.decode(&reply)?;
        answer.counts = answer.counts.filter(Counts::says_anything);
        let mut names = Names::of(call, reply.at);
        let calls = answer.choices.iter_mut().flat_map(|choice| &mut choice.tool_calls);
        for nameless in calls.filter(|call| call.id.is_none()) {
            nameless.id = Some(names.next().into());
        }
        let body = voices::whole(call, &answer, reply.model, reply.at.as_seconds(), names.seed);
        Ok(whole(&answer, body))
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        self.0.decode_fault(status, headers, body)
    }

    fn is_stream(&self, headers: &HeaderMap) -> bool {
        self.0.is_stream(headers)
    }

    fn stream(&self, call: &Call, opening: Opening<'_>) -> Box<dyn StreamDecoder> {
        if let Some(native) = self.0.native(call) {
            return native.stream(call, opening);
        }
        let names = Names::of(call, opening.at);
        Box::new(Translation {
            decoder: self.0.stream(opening.headers),
            writer: voices::writer(call, opening.model, opening.at.as_seconds(), names.seed),
            heard: Heard::default(),
            events: Vec::new(),
            names,
        })
    }

    fn models(&self) -> Option<&dyn ModelList> {
        self.0.models()
    }

    fn encode_count(&self, call: &Call, target: Target<'_>) -> Option<Result<Encoded, EncodeError>> {
        let counting = self.0.counting()?;
        let body = call.body();
        let written = || {
            let mut request = ChatRequest::read(&body)?;
            self.held(&mut request, target)?;
            counting.encode(&request, target)
        };
        Some(written())
    }

    fn decode_count(&self, body: &[u8]) -> Result<u64, Fault> {
        let counting = self.0.counting();
        counting.map_or_else(
            || Err(Fault::of(FaultClass::InvalidReply)),
            |counting| counting.decode(body),
        )
    }

    fn chat(&self) -> Option<&dyn ChatDialect> {
        Some(&self.0)
    }
}

/// A whole answer as the caller gets it, and what it used.
pub(super) fn whole(answer: &ChatReply, told: Bytes) -> Outcome {
    let usage: Option<TokenUsage> = answer.counts.filter(Counts::says_anything).map(Into::into);
    let said = match usage {
        Some(usage) if usage.output > 0 => Said::default(),
        Some(_) | None => said_in(answer),
    };
    Decoded {
        usage,
        said,
        ..Decoded::of(Answer::json(told))
    }
    .into()
}

/// The text of a whole answer, to be counted.
fn said_in(answer: &ChatReply) -> Said {
    let mut said = Said::default();
    for (at, choice) in (0..).zip(&answer.choices) {
        for text in choice.text.iter().chain(&choice.refusal) {
            said.add(at, Manner::Speech, text);
        }
        for thought in &choice.thoughts {
            if let crate::domain::chat::Thought::Text { text, .. } = thought {
                said.add(at, Manner::Reasoning, text);
            }
        }
        for call in &choice.tool_calls {
            said.add(at, Manner::ToolCalls, &call.name);
            said.add(at, Manner::ToolCalls, &call.arguments);
        }
    }
    said
}

/// A streamed answer on its way from one dialect to another.
struct Translation {
    decoder: Box<dyn ChunkDecoder>,
    writer: Box<dyn EventWriter>,
    heard: Heard,
    /// Used again and again.
    events: Vec<ChatEvent>,
    names: Names,
}

/// Names for answers, and for calls of tools, to which their vendor gives none. An answer is told by the request that it follows: no two of a
/// conversation follow the same one, so the names are unique in it.
#[derive(Debug)]
struct Names {
    seed: u64,
    given: u32,
}

/// What tells a request from those before it stands at its end, or makes it longer.
const TELLING_BYTES: usize = 4096;

impl Names {
    fn of(call: &Call, at: Timestamp) -> Self {
        let body = call.body();
        let mut hasher = DefaultHasher::new();
        hasher.write_i64(at.as_seconds());
        hasher.write_usize(body.len());
        hasher.write(body.get(body.len().saturating_sub(TELLING_BYTES)..).unwrap_or_default());
        Self {
            seed: hasher.finish(),
            given: 0,
        }
    }

    fn next(&mut self) -> String {
        let name = named_call(self.seed, self.given);
        self.given = self.given.saturating_add(1);
        name
    }
}

/// Writes a streamed answer in a caller's format.
pub(super) trait EventWriter: Send {
    fn write(&mut self, event: &ChatEvent, out: &mut BytesMut);
    /// The answer is whole.
    fn end(&mut self, counts: Option<&Counts>, out: &mut BytesMut);
}

impl Translation {
    fn take(&mut self, mut events: Vec<ChatEvent>, end: Option<StreamEnd>) -> Pushed {
        let mut out = BytesMut::new();
        for mut event in events.drain(..) {
            if let ChatEvent::ToolCall { id: id @ None, .. } = &mut event {
                *id = Some(self.names.next());
            }
            self.heard.note(&event);
            self.writer.write(&event, &mut out);
        }
        if matches!(end, Some(StreamEnd::Complete)) {
            self.writer.end(self.heard.counts.as_ref(), &mut out);
        }
        self.events = events;
        Pushed { out: out.freeze(), end }
    }
}

/// What a streamed answer has told so far, for those who account for it.
#[derive(Default)]
pub(super) struct Heard {
    counts: Option<Counts>,
    weight: Weight,
    /// Kept until the vendor says how much it was.
    said: Said,
}

impl Heard {
    pub(super) fn note(&mut self, event: &ChatEvent) {
        let (choice, manner, text) = match event {
            ChatEvent::Text { choice, text } | ChatEvent::Refusal { choice, text } => (*choice, Manner::Speech, text),
            ChatEvent::Reasoning { choice, text } => (*choice, Manner::Reasoning, text),
            ChatEvent::ToolCall { choice, name, .. } => (*choice, Manner::ToolCalls, name),
            ChatEvent::Arguments { choice, fragment, .. } => (*choice, Manner::ToolCalls, fragment),
            ChatEvent::Counts(newer) => {
                let counts = self.counts.unwrap_or_default().merged(*newer);
                self.counts = Some(counts);
                if counts.all_output() > 0 {
                    self.said = Said::default();
                }
                return;
            }
            ChatEvent::Head { .. }
            | ChatEvent::ReasoningSignature { .. }
            | ChatEvent::RedactedReasoning { .. }
            | ChatEvent::Finish { .. } => return,
        };
        self.weight += Weight::of(text);
        if self.counts.is_none_or(|counts| counts.all_output() == 0) {
            self.said.add(choice.into(), manner, text);
        }
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            usage: self.counts.filter(Counts::says_anything).map(Into::into),
            weight: self.weight,
        }
    }

    pub(super) fn take_said(&mut self) -> Said {
        std::mem::take(&mut self.said)
    }
}

impl StreamDecoder for Translation {
    fn push(&mut self, bytes: Bytes) -> Pushed {
        let mut events = std::mem::take(&mut self.events);
        let end = self.decoder.push(bytes, &mut events);
        self.take(events, end)
    }

    fn finish(&mut self) -> Pushed {
        let mut events = std::mem::take(&mut self.events);
        let end = self.decoder.finish(&mut events);
        self.take(events, Some(end))
    }

    fn progress(&self) -> Progress {
        self.heard.progress()
    }

    fn take_said(&mut self) -> Said {
        self.heard.take_said()
    }
}
