//! Chat in events. Each is a whole answer that holds what is new since the one before, since that is what is asked for. Servers that tell
//! everything so far all the same give themselves away: each of their texts begins with the one before. One that does so once may be chance,
//! and waits for the next; what is still undecided at the end is taken as it was asked for.

use memchr::memmem;

use super::{
    convert::finish,
    faults::{self, Failure},
    wire::{self, Choice, Reply, ToolCall},
};
use crate::{
    adapters::dialects::events::{ChoiceSet, EventReader},
    domain::{
        chat::{ChatEvent, Counts},
        fault::{Fault, FaultClass},
    },
    ports::codec::StreamEnd,
};

/// Parts of one answer that are told apart.
const MOST_PARTS: usize = 1024;
/// More is not held back.
const MOST_WAITING_BYTES: usize = 64 * 1024;

#[derive(Default)]
pub(super) struct Reader {
    told: bool,
    manner: Manner,
    /// What has been said, part by part.
    parts: Vec<Part>,
    calls: Vec<(u32, u32)>,
    choices: ChoiceSet,
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
    /// All of it that was told on, as long as events may repeat it.
    so_far: String,
    /// Tokens of output when it began, and when it was last told.
    tokens: Option<u64>,
    last_tokens: Option<u64>,
    /// What came behind it and may be a repetition, or not.
    waiting: Option<Waiting>,
}

struct Waiting {
    /// Everything, as events of news tell it.
    news: String,
    /// The last of it, which is everything if events repeat.
    latest: String,
}

impl Reader {
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
        self.choices.begin(choice);
        let end = finish(read.finish_reason.as_deref());
        let at = Moment {
            tokens,
            last: end.is_some(),
        };
        let said = read.message.unwrap_or_default();
        let text = said.content.as_ref().map(wire::text_of);
        let calls: Vec<(u32, ToolCall)> = (0..)
            .zip(said.tool_calls.unwrap_or_default())
            .map(|(place, call)| (call.index.unwrap_or(place), call))
            .collect();
        let told = |kind: Kind| match kind {
            Kind::Text => text.as_ref().is_some_and(|text| !text.is_empty()),
            Kind::Reasoning => said.reasoning_content.as_ref().is_some_and(|text| !text.is_empty()),
            Kind::Arguments(call) => calls.iter().any(|(known, _)| *known == call),
        };
        // Who tells everything leaves nothing out.
        let left_out = |part: &Part| part.choice == choice && part.waiting.is_some() && !told(part.kind);
        if self.parts.iter().any(left_out) {
            self.settle(events);
        }
        self.say(choice, Kind::Reasoning, said.reasoning_content, at, events);
        self.say(choice, Kind::Text, text, at, events);
        for (call, said) in calls {
            self.call(choice, call, said, at, events);
        }
        if end.is_some() {
            self.settle(events);
        }
        if let Some(finish) = end.filter(|_| self.choices.end(choice)) {
            events.push(ChatEvent::Finish { choice, finish });
        }
    }

    /// Fragments of a call join by its index: name and id come once.
    fn call(&mut self, choice: u32, call: u32, said: ToolCall, at: Moment, events: &mut Vec<ChatEvent>) {
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
        self.say(choice, Kind::Arguments(call), function.arguments, at, events);
    }

    /// Tells on what of a text was not there before.
    fn say(&mut self, choice: u32, kind: Kind, text: Option<String>, at: Moment, events: &mut Vec<ChatEvent>) {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return;
        };
        let known = self
            .parts
            .iter_mut()
            .find(|part| (part.choice, part.kind) == (choice, kind));
        let Some(part) = known else {
            if self.manner != Manner::News && self.parts.len() < MOST_PARTS {
                self.parts.push(Part {
                    choice,
                    kind,
                    so_far: text.clone(),
                    tokens: at.tokens,
                    last_tokens: at.tokens,
                    waiting: None,
                });
            }
            kind.tell(choice, text, events);
            return;
        };
        if self.manner == Manner::Unknown {
            self.manner = part.manner_of(&text, at);
        }
        part.last_tokens = at.tokens;
        match (self.manner, text.strip_prefix(part.so_far.as_str())) {
            (Manner::Everything, Some(more)) => {
                kind.tell(choice, more.to_owned(), events);
                part.so_far = text;
                part.waiting = None;
            }
            (Manner::Unknown, _) => part.wait(text),
            // It does not begin as it did before, so it is not told again.
            (Manner::News | Manner::Everything, _) => {
                self.believe(events);
                kind.tell(choice, text, events);
            }
        }
        let waiting = |part: &Part| part.waiting.as_ref().map_or(0, |waiting| waiting.news.len());
        if self.parts.iter().map(waiting).sum::<usize>() > MOST_WAITING_BYTES {
            self.believe(events);
        }
    }

    /// Nothing more comes that could tell how events tell.
    fn settle(&mut self, events: &mut Vec<ChatEvent>) {
        if self.parts.iter().any(|part| part.waiting.is_some()) {
            self.believe(events);
        }
    }

    /// Events tell what is new, as they were asked to.
    fn believe(&mut self, events: &mut Vec<ChatEvent>) {
        self.manner = Manner::News;
        for part in self.parts.drain(..) {
            let waiting = part.waiting.map(|waiting| waiting.news);
            part.kind.tell(part.choice, waiting.unwrap_or_default(), events);
        }
    }
}

impl Kind {
    fn tell(self, choice: u32, text: String, events: &mut Vec<ChatEvent>) {
        if text.is_empty() {
            return;
        }
        events.push(match self {
            Self::Text => ChatEvent::Text { choice, text },
            Self::Reasoning => ChatEvent::Reasoning { choice, text },
            Self::Arguments(call) => ChatEvent::Arguments {
                choice,
                call,
                fragment: text,
            },
        });
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
    /// Whether a text repeats the ones before, by how it begins and by how many tokens it takes: the same syllable twice is no
    /// repetition if it was paid for twice.
    fn manner_of(&self, text: &str, at: Moment) -> Manner {
        let before = self.waiting.as_ref().map_or(&self.so_far, |waiting| &waiting.latest);
        if !text.starts_with(before.as_str()) {
            return Manner::News;
        }
        if self.last_tokens.is_some() && self.last_tokens == at.tokens {
            return Manner::Everything;
        }
        // Later ones may have been paid for beside other parts.
        let begun = self.tokens.filter(|begun| *begun > 0 && self.waiting.is_none());
        if let (Some(begun), Some(now)) = (begun, at.tokens) {
            let expected = (text.len() as u64).saturating_mul(begun) / (self.so_far.len() as u64).max(1);
            let (everything, news) = (expected.abs_diff(now), expected.abs_diff(now.saturating_sub(begun)));
            if news < everything {
                return Manner::News;
            }
        }
        // Figures, blanks and rules grow like that by themselves.
        let grows = text.len() > self.so_far.len() && text.contains(char::is_alphabetic);
        let repeats = self.waiting.is_some() && grows;
        let ends = at.last && (grows || self.tokens.is_none() && text == self.so_far);
        match repeats || ends {
            true => Manner::Everything,
            false => Manner::Unknown,
        }
    }

    fn wait(&mut self, text: String) {
        let news = self.waiting.take().map_or_else(String::new, |waiting| waiting.news) + &text;
        self.waiting = Some(Waiting { news, latest: text });
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

impl EventReader for Reader {
    fn read(&mut self, data: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        self.read_event(data, data, events)
    }

    fn read_event(&mut self, whole: &[u8], data: &[u8], events: &mut Vec<ChatEvent>) -> Option<StreamEnd> {
        if data == b"[DONE]" {
            return None;
        }
        let fault = self.event(whole, data, events).err()?;
        self.settle(events);
        Some(StreamEnd::Failed(fault))
    }

    /// Nothing marks the end but the reason for it.
    fn is_over(&mut self, events: &mut Vec<ChatEvent>) -> bool {
        self.settle(events);
        self.choices.are_over()
    }
}
