//! A streamed chat answer on its way through.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

use super::{
    calls::Calls,
    quirks::{Odd, PLAIN, Quirks, beside, counts_in, following},
    wire::{self, Ear},
};
use crate::{
    adapters::dialects::events::{ChoiceSet, cut_off, rest_of, unreadable, with_end},
    domain::{
        chat::{Counts, usage},
        fault::{Fault, FaultClass},
        json_object::{Edit, apply},
        said::Said,
        sse::{Events, SseSplitter},
    },
    ports::codec::{Progress, Pushed, StreamDecoder, StreamEnd, TokenUsage},
};

const DONE: &[u8] = b"[DONE]";
/// More of what comes without a choice is nothing that a vendor says.
const MOST_BESIDE: usize = 64;
/// Appended when a vendor ended without saying so: callers get one kind of end.
const DONE_EVENT: &str = "data: [DONE]\n\n";

/// Passes events on as the bytes that came, in whole events, and reads them on the way. What OpenAI would have put elsewhere is
/// put there.
pub(super) struct ChatStream {
    quirks: &'static Quirks,
    splitter: SseSplitter,
    /// The caller wants the usage chunk.
    include_usage: bool,
    /// Those that have their finish reason have ended.
    choices: ChoiceSet,
    progress: Progress,
    /// Kept until the vendor says how much it was.
    said: Said,
    calls: Calls,
    /// What came without a choice, and goes along with the next one.
    beside: Vec<(String, String)>,
    /// The chunk that says what was used, for the end of a stream whose vendor has none.
    counts: Option<String>,
    /// The last chunk of a vendor that may leave ends out.
    last: Bytes,
}

/// What one event is to the stream.
enum Verdict {
    Pass,
    Change(Vec<Edit>),
    Withhold,
    Done,
    Failed(Fault),
}

impl ChatStream {
    /// OpenAI's own.
    pub(super) fn new(include_usage: bool) -> Self {
        Self::of(include_usage, &PLAIN)
    }

    pub(super) fn of(include_usage: bool, quirks: &'static Quirks) -> Self {
        Self {
            quirks,
            splitter: SseSplitter::default(),
            include_usage,
            choices: ChoiceSet::default(),
            progress: Progress::default(),
            said: Said::default(),
            calls: Calls::default(),
            beside: Vec::new(),
            counts: None,
            last: Bytes::new(),
        }
    }

    /// Reads whole events; answers what of them may pass.
    fn read(&mut self, piece: Bytes) -> Pushed {
        let mut kept = Kept::all_of(piece.clone());
        for event in Events::of(&piece) {
            let Some(data) = event.data else { continue };
            match self.judge(&data) {
                Verdict::Pass => {}
                Verdict::Change(edits) => match data {
                    Cow::Borrowed(data) => kept.change(data, edits),
                    // What is written in several lines has no place of its own.
                    Cow::Owned(data) => {
                        let text = apply(&String::from_utf8_lossy(&data), edits).replace('\n', " ");
                        kept.replace(event.start, event.end, &event_of(&text));
                    }
                },
                Verdict::Withhold => kept.leave_out(event.start, event.end),
                Verdict::Done => {
                    kept.insert(event.start, self.ends_unsaid() + &self.counts_unsaid());
                    return Pushed {
                        out: kept.up_to(event.end),
                        end: Some(StreamEnd::Complete),
                    };
                }
                Verdict::Failed(fault) => {
                    return Pushed {
                        out: kept.up_to(event.start),
                        end: Some(StreamEnd::Failed(fault)),
                    };
                }
            }
        }
        Pushed {
            out: kept.up_to(piece.len()),
            end: None,
        }
    }

    fn judge(&mut self, data: &[u8]) -> Verdict {
        match data.trim_ascii() {
            DONE => return Verdict::Done,
            [] => return Verdict::Pass,
            _ => {}
        }
        let ear = match self.progress.usage {
            Some(usage) if usage.output > 0 => Ear::Weighing,
            _ => Ear::Listening(&mut self.said),
        };
        let Ok(chunk) = wire::read(data.trim_ascii(), ear) else {
            return Verdict::Failed(Fault::of(FaultClass::InvalidReply));
        };
        let may_fail = chunk.error.is_some() || chunk.choices.is_none() || self.quirks.code_fails;
        if let Some(fault) = may_fail.then(|| self.quirks.failure_in(data)).flatten() {
            return Verdict::Failed(fault);
        }
        let (usage, counts) = (chunk.token_usage(), chunk.tells_usage());
        let choices = chunk.choices.unwrap_or_default();
        self.choices = self.choices.joined(choices.known);
        self.progress.weight += choices.weight;
        let usage = usage.or(choices.usage);
        let merged = usage.map(|newest| self.progress.usage.unwrap_or_default().merged(newest));
        if let Some(usage) = merged {
            self.progress.usage = Some(usage);
            if usage.output > 0 {
                self.said = Said::default();
            }
        }
        match (choices.count, counts) {
            // The chunk that nobody but the gateway asked for: usage and nothing else.
            (0, true) if !self.include_usage => return Verdict::Withhold,
            (0, true) => self.counts = None,
            // Callers look for the first choice of whatever comes.
            (0, false) => {
                for (name, value) in beside(data) {
                    self.beside.retain(|(known, _)| *known != name);
                    if self.beside.len() < MOST_BESIDE {
                        self.beside.push((name, value));
                    }
                }
                return Verdict::Withhold;
            }
            (_, true) if self.include_usage => {
                let told = match merged == usage {
                    true => counts_in(data),
                    // In parts.
                    false => merged.map(told),
                };
                self.counts = told.and_then(|told| following(data, "[]", Some(&told)));
            }
            _ => {}
        }
        if self.quirks.finish_may_miss && choices.count > 0 {
            self.last = Bytes::copy_from_slice(data);
        }
        let beside = std::mem::take(&mut self.beside);
        let odd = Odd {
            counts: counts && choices.count > 0,
            bare: choices.bare,
            beside: &beside,
        };
        match self.quirks.edits_of_chunk(data, odd, &mut self.calls) {
            edits if edits.is_empty() => Verdict::Pass,
            edits => Verdict::Change(edits),
        }
    }
}

impl ChatStream {
    /// The ends that the vendor left out, where it may.
    fn ends_unsaid(&mut self) -> String {
        if !self.choices.are_open() || !self.quirks.finish_may_miss {
            return String::new();
        }
        let open = self.choices.end_all();
        let choices: Vec<_> = open
            .map(|choice| format!("{{\"index\":{choice},\"delta\":{{}},\"finish_reason\":\"stop\"}}"))
            .collect();
        let choices = format!("[{}]", choices.join(","));
        let chunk = following(&self.last, &choices, None);
        chunk.map(|chunk| event_of(&chunk)).unwrap_or_default()
    }

    /// What was used, where the vendor told it elsewhere.
    fn counts_unsaid(&mut self) -> String {
        let chunk = self.counts.take();
        chunk.map(|chunk| event_of(&chunk)).unwrap_or_default()
    }
}

fn event_of(chunk: &str) -> String {
    format!("data: {chunk}\n\n")
}

/// Counts as OpenAI writes them.
fn told(counted: TokenUsage) -> String {
    let counts = Counts {
        input: Some(counted.input),
        output: Some(counted.output),
        cached_input: counted.cached_input,
        reasoning: counted.reasoning,
        ..Counts::default()
    };
    usage(&counts).to_string()
}

impl StreamDecoder for ChatStream {
    fn push(&mut self, bytes: Bytes) -> Pushed {
        match self.splitter.push(bytes) {
            Ok(piece) if piece.is_empty() => Pushed { out: piece, end: None },
            Ok(piece) => self.read(piece),
            Err(_) => Pushed {
                out: Bytes::new(),
                end: Some(unreadable()),
            },
        }
    }

    fn finish(&mut self) -> Pushed {
        // An event whose blank line is missing was cut off, unless it reads as one.
        let rest = rest_of(&mut self.splitter);
        let mut pushed = match rest.as_ref() {
            [] => Pushed {
                out: Bytes::new(),
                end: None,
            },
            _ => self.read(rest),
        };
        if pushed.end.is_none() {
            // What was used stands in the last chunk.
            let unsaid = match self.progress.usage {
                Some(_) => self.ends_unsaid(),
                None => String::new(),
            };
            // Without `[DONE]` the last choice's finish reason is the end; without either the answer was cut off.
            pushed.end = Some(if self.choices.are_over() {
                let end = unsaid + &self.counts_unsaid() + DONE_EVENT;
                pushed.out = with_end(&pushed.out, end.as_bytes());
                StreamEnd::Complete
            } else {
                cut_off()
            });
        }
        pushed
    }

    fn progress(&self) -> Progress {
        self.progress
    }

    fn take_said(&mut self) -> Said {
        std::mem::take(&mut self.said)
    }
}

/// A piece less what is left out. Nothing is copied as long as nothing is left out.
struct Kept {
    piece: Bytes,
    from: usize,
    copied: Option<BytesMut>,
}

impl Kept {
    fn all_of(piece: Bytes) -> Self {
        Self {
            piece,
            from: 0,
            copied: None,
        }
    }

    fn leave_out(&mut self, start: usize, end: usize) {
        self.replace(start, end, "");
    }

    fn insert(&mut self, at: usize, text: String) {
        if !text.is_empty() {
            self.replace(at, at, &text);
        }
    }

    /// Exchanges places of a part of the piece.
    fn change(&mut self, part: &[u8], edits: Vec<Edit>) {
        let from = part.as_ptr().addr().saturating_sub(self.piece.as_ptr().addr());
        for edit in edits {
            self.replace(from + edit.range.start, from + edit.range.end, &edit.with);
        }
    }

    fn replace(&mut self, start: usize, end: usize, with: &str) {
        let before = self.piece.slice(self.from..start);
        let copied = self.copied.get_or_insert_default();
        copied.extend_from_slice(&before);
        copied.extend_from_slice(with.as_bytes());
        self.from = end;
    }

    fn up_to(self, end: usize) -> Bytes {
        let rest = self.piece.slice(self.from..end);
        match self.copied {
            None => rest,
            Some(mut copied) => {
                copied.extend_from_slice(&rest);
                copied.freeze()
            }
        }
    }
}
