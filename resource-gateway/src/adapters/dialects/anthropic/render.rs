//! Answers as Anthropic writes them, whoever gave them.

use std::{borrow::Cow, collections::VecDeque};

use bytes::{BufMut as _, BytesMut};
use serde_json::{Value, json};

use super::super::{call_ids, translated::EventWriter, writing::INVALID};
use crate::domain::chat::{ChatEvent, ChatReply, Choice, Counts, Finish, FinishReason, Thought, made_up_id, proofs};

/// Of what waits for the end of a call no more is held back: beyond that, blocks stand side by side.
const MOST_WAITING_BYTES: usize = 1024 * 1024;

/// A whole answer: its first choice, since this format knows no others. `model` and `seed` stand in for what the vendor did not say.
pub fn message(answer: &ChatReply, model: &str, seed: u64) -> Value {
    let nothing = Choice::default();
    let choice = answer.choices.first().unwrap_or(&nothing);
    let mut content: Vec<Value> = choice.thoughts.iter().map(thought).collect();
    for text in choice
        .text
        .iter()
        .chain(&choice.refusal)
        .filter(|text| !text.is_empty())
    {
        content.push(json!({"type": "text", "text": text}));
    }
    for (at, call) in choice.tool_calls.iter().enumerate() {
        let proof = call.signature.as_deref().map(|proof| proofs::of_call(at, proof));
        content.extend(proof.map(|proof| thought(&Thought::Redacted(proof.into()))));
        let id = call.id.as_deref().map_or_else(|| made_up_id(at).into(), call_ids::fit);
        content.push(json!({"type": "tool_use", "id": id, "name": call.name, "input": input(&call.arguments)}));
    }
    let called = !choice.tool_calls.is_empty();
    let refused = choice.refusal.as_ref().is_some_and(|refusal| !refusal.is_empty());
    let (reason, sequence) = stop(choice.finish.as_ref(), called, refused);
    json!({
        "id": answer.id.clone().unwrap_or_else(|| named(seed)),
        "type": "message",
        "role": "assistant",
        "model": answer.model.as_deref().unwrap_or(model),
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": usage(answer.counts.as_ref()),
    })
}

/// The name of an answer to which its vendor gives none.
fn named(seed: u64) -> String {
    format!("msg_{seed:016x}")
}

fn thought(thought: &Thought<'_>) -> Value {
    match thought {
        Thought::Text { text, signature } => {
            json!({"type": "thinking", "thinking": text, "signature": signature.as_deref().unwrap_or_default()})
        }
        Thought::Redacted(data) => json!({"type": "redacted_thinking", "data": data}),
    }
}

/// The arguments of a call, which have to be an object here.
fn input(arguments: &str) -> Value {
    let text = match arguments.trim() {
        "" => "{}",
        text => text,
    };
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => Value::Object(object),
        Ok(_) | Err(_) => json!({INVALID: arguments}),
    }
}

/// Why it ended, and at which of the stop sequences.
fn stop(finish: Option<&Finish>, called: bool, refused: bool) -> (&str, Option<&str>) {
    let sequence = finish.and_then(|finish| finish.sequence.as_deref());
    let word = finish.map_or("", |finish| finish.word.as_str());
    let reason = match finish.map(|finish| finish.reason) {
        _ if refused => "refusal",
        Some(FinishReason::Length) if word == "model_context_window_exceeded" => "model_context_window_exceeded",
        Some(FinishReason::Length) => "max_tokens",
        Some(FinishReason::ContentFilter) => "refusal",
        Some(FinishReason::ToolCalls) => "tool_use",
        // What has no counterpart, failures among it, is not told as if all were well.
        Some(FinishReason::Other) if !word.is_empty() => word,
        // Some vendors say of everything that it just ended.
        _ if called => "tool_use",
        Some(FinishReason::Stop) if sequence.is_some() || word == "stop_sequence" => "stop_sequence",
        Some(FinishReason::Stop | FinishReason::Other) | None => "end_turn",
    };
    (reason, sequence)
}

/// Input that came out of a cache, or went into one, is not within `input_tokens` here.
fn usage(counts: Option<&Counts>) -> Value {
    let counts = counts.copied().unwrap_or_default();
    let (read, written) = (counts.cached_input.unwrap_or(0), counts.cache_write_input.unwrap_or(0));
    let input = counts.all_input().saturating_sub(read.saturating_add(written));
    json!({
        "input_tokens": input,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": counts.all_output(),
    })
}

/// Writes a streamed answer in Anthropic's events.
#[derive(Debug)]
pub struct Messages {
    id: String,
    model: String,
    counts: Option<Counts>,
    begun: bool,
    /// The block that has begun and not ended, and how many have begun.
    open: Option<Open>,
    blocks: u64,
    waiting: VecDeque<Waiting>,
    held: usize,
    /// Calls that have begun and not ended though others have begun since, with their blocks.
    beside: Vec<(u32, u64)>,
    called: bool,
    refused: bool,
    finish: Option<Finish>,
}

#[derive(Debug)]
enum Open {
    Text,
    /// Signed thoughts get nothing added.
    Thinking {
        signed: bool,
    },
    Call {
        call: u32,
        arguments: Arguments,
    },
}

/// What came before the call before it had ended: blocks come one behind the other.
#[derive(Debug)]
enum Waiting {
    Call {
        call: u32,
        id: String,
        name: String,
        arguments: String,
    },
    Text(String),
    Thought(String),
    Signature(String),
    Redacted(String),
}

impl Open {
    /// Whether it is a call whose arguments are not complete.
    fn is_calling(&self) -> bool {
        matches!(self, Self::Call { arguments, .. } if !arguments.is_complete())
    }
}

/// Whether a JSON object that comes in pieces is complete, by its brackets.
#[derive(Debug, Default)]
struct Arguments {
    depth: u32,
    quoted: bool,
    escaped: bool,
    begun: bool,
}

impl Arguments {
    fn add(&mut self, fragment: &str) {
        for byte in fragment.bytes() {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.quoted => self.escaped = true,
                b'"' => self.quoted = !self.quoted,
                _ if self.quoted => {}
                b'{' | b'[' => {
                    self.begun = true;
                    self.depth += 1;
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
    }

    fn is_complete(&self) -> bool {
        self.begun && self.depth == 0
    }
}

impl Messages {
    pub fn new(model: &str, seed: u64) -> Self {
        Self {
            id: named(seed),
            model: model.to_owned(),
            counts: None,
            begun: false,
            open: None,
            blocks: 0,
            waiting: VecDeque::new(),
            held: 0,
            beside: Vec::new(),
            called: false,
            refused: false,
            finish: None,
        }
    }

    /// Everything stands between this and `message_stop`.
    fn begin(&mut self, out: &mut BytesMut) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let message = json!({
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage(self.counts.as_ref()),
        });
        event(
            "message_start",
            &json!({"type": "message_start", "message": message}),
            out,
        );
    }

    fn start(&mut self, open: Option<Open>, block: &Value, out: &mut BytesMut) {
        self.close(out);
        self.begin(out);
        let index = self.blocks;
        self.blocks += 1;
        let start = json!({"type": "content_block_start", "index": index, "content_block": block});
        event("content_block_start", &start, out);
        match open {
            Some(open) => self.open = Some(open),
            None => self.stop_block(out),
        }
    }

    fn stop_block(&self, out: &mut BytesMut) {
        stop_of(self.blocks.saturating_sub(1), out);
    }

    fn close(&mut self, out: &mut BytesMut) {
        if self.open.take().is_some() {
            self.stop_block(out);
        }
    }

    /// More of the last block.
    fn delta(&self, delta: &Value, out: &mut BytesMut) {
        add_to(self.blocks.saturating_sub(1), delta, out);
    }

    /// Writes what is not a call, when it is its turn.
    fn tell(&mut self, told: Waiting, out: &mut BytesMut) {
        self.release(out);
        if self.waiting.is_empty() && !self.is_calling() {
            self.write_one(told, out);
        } else {
            self.hold(told, out);
        }
    }

    fn hold(&mut self, told: Waiting, out: &mut BytesMut) {
        self.held = self.held.saturating_add(match &told {
            Waiting::Call { id, name, .. } => id.len() + name.len(),
            Waiting::Text(text) | Waiting::Thought(text) | Waiting::Signature(text) | Waiting::Redacted(text) => {
                text.len()
            }
        });
        match (self.waiting.back_mut(), told) {
            (Some(Waiting::Text(before)), Waiting::Text(more))
            | (Some(Waiting::Thought(before)), Waiting::Thought(more)) => {
                before.push_str(&more);
            }
            (_, told) => self.waiting.push_back(told),
        }
        self.bound(out);
    }

    /// What waits has its turn, up to the next call that is not complete.
    fn release(&mut self, out: &mut BytesMut) {
        while !self.is_calling() {
            let Some(next) = self.waiting.pop_front() else {
                self.held = 0;
                return;
            };
            self.write_one(next, out);
        }
    }

    /// Nothing waits any longer. Calls that are not complete stay open beside what comes behind them, for the rest of their arguments.
    fn flush(&mut self, out: &mut BytesMut) {
        while let Some(next) = self.waiting.pop_front() {
            if let Some(Open::Call { call, .. }) = self.open.take_if(|open| open.is_calling()) {
                self.beside.push((call, self.blocks.saturating_sub(1)));
            }
            self.write_one(next, out);
        }
        self.held = 0;
    }

    fn bound(&mut self, out: &mut BytesMut) {
        if self.held > MOST_WAITING_BYTES {
            self.flush(out);
        }
    }

    fn write_one(&mut self, told: Waiting, out: &mut BytesMut) {
        match told {
            Waiting::Text(text) => {
                if !matches!(self.open, Some(Open::Text)) {
                    self.start(Some(Open::Text), &json!({"type": "text", "text": ""}), out);
                }
                self.delta(&json!({"type": "text_delta", "text": text}), out);
            }
            Waiting::Thought(text) => {
                self.think(out);
                self.delta(&json!({"type": "thinking_delta", "thinking": text}), out);
            }
            Waiting::Signature(signature) => {
                self.think(out);
                self.delta(&json!({"type": "signature_delta", "signature": signature}), out);
                self.open = Some(Open::Thinking { signed: true });
            }
            Waiting::Redacted(data) => self.start(None, &json!({"type": "redacted_thinking", "data": data}), out),
            Waiting::Call {
                call,
                id,
                name,
                arguments,
            } => {
                let block = json!({"type": "tool_use", "id": id, "name": name, "input": {}});
                let state = Arguments::default();
                self.start(Some(Open::Call { call, arguments: state }), &block, out);
                if !arguments.is_empty() {
                    self.argue(call, &arguments, out);
                }
            }
        }
    }

    fn think(&mut self, out: &mut BytesMut) {
        if !matches!(self.open, Some(Open::Thinking { signed: false })) {
            let block = json!({"type": "thinking", "thinking": "", "signature": ""});
            self.start(Some(Open::Thinking { signed: false }), &block, out);
        }
    }

    fn argue(&mut self, call: u32, fragment: &str, out: &mut BytesMut) {
        let delta = || json!({"type": "input_json_delta", "partial_json": fragment});
        if let Some(Open::Call { call: open, arguments }) = &mut self.open
            && *open == call
        {
            arguments.add(fragment);
            self.delta(&delta(), out);
            return;
        }
        let waits = self.waiting.iter_mut().find_map(|waiting| match waiting {
            Waiting::Call {
                call: known, arguments, ..
            } if *known == call => Some(arguments),
            _ => None,
        });
        if let Some(arguments) = waits {
            arguments.push_str(fragment);
            self.held = self.held.saturating_add(fragment.len());
            self.bound(out);
        } else if let Some((_, block)) = self.beside.iter().find(|(known, _)| *known == call) {
            add_to(*block, &delta(), out);
        }
        // Behind a complete object there is nothing more to say.
    }

    /// Whether a call is under way whose arguments are not complete.
    fn is_calling(&self) -> bool {
        self.open.as_ref().is_some_and(Open::is_calling)
    }
}

fn add_to(block: u64, delta: &Value, out: &mut BytesMut) {
    let delta = json!({"type": "content_block_delta", "index": block, "delta": delta});
    event("content_block_delta", &delta, out);
}

fn stop_of(block: u64, out: &mut BytesMut) {
    let stop = json!({"type": "content_block_stop", "index": block});
    event("content_block_stop", &stop, out);
}

impl EventWriter for Messages {
    fn write(&mut self, event: &ChatEvent, out: &mut BytesMut) {
        match event {
            ChatEvent::Head { id, model } => {
                if let Some(id) = id.as_ref().filter(|id| !id.is_empty()) {
                    self.id.clone_from(id);
                }
                if let Some(model) = model.as_ref().filter(|model| !model.is_empty()) {
                    self.model.clone_from(model);
                }
            }
            ChatEvent::Counts(newer) => self.counts = Some(self.counts.unwrap_or_default().merged(*newer)),
            ChatEvent::Text { choice: 0, text } => self.tell(Waiting::Text(text.clone()), out),
            ChatEvent::Refusal { choice: 0, text } => {
                self.refused = true;
                self.tell(Waiting::Text(text.clone()), out);
            }
            ChatEvent::Reasoning { choice: 0, text } => self.tell(Waiting::Thought(text.clone()), out),
            ChatEvent::ReasoningSignature { choice: 0, signature } => {
                self.tell(Waiting::Signature(signature.clone()), out);
            }
            ChatEvent::RedactedReasoning { choice: 0, data } => self.tell(Waiting::Redacted(data.clone()), out),
            ChatEvent::ToolCall {
                choice: 0,
                call,
                id,
                name,
                signature,
            } => {
                self.called = true;
                if let Some(proof) = signature {
                    self.tell(Waiting::Redacted(proofs::of_call(*call as usize, proof)), out);
                }
                // Its vendors refuse others, so that a conversation could not go on there.
                let id = id.as_deref().map(call_ids::fit).map(Cow::into_owned);
                let id = id.unwrap_or_else(|| made_up_id(*call as usize));
                let began = Waiting::Call {
                    call: *call,
                    id,
                    name: name.clone(),
                    arguments: String::new(),
                };
                if self.is_calling() || !self.waiting.is_empty() {
                    self.hold(began, out);
                } else {
                    self.write_one(began, out);
                }
            }
            ChatEvent::Arguments {
                choice: 0,
                call,
                fragment,
            } => self.argue(*call, fragment, out),
            ChatEvent::Finish { choice: 0, finish } => self.finish = Some(finish.clone()),
            // This format has one answer.
            _ => {}
        }
    }

    fn end(&mut self, counts: Option<&Counts>, out: &mut BytesMut) {
        self.begin(out);
        self.release(out);
        // What is not complete by now never will be.
        while self.is_calling() && !self.waiting.is_empty() {
            self.close(out);
            self.release(out);
        }
        self.close(out);
        for (_, block) in std::mem::take(&mut self.beside) {
            stop_of(block, out);
        }
        let (reason, sequence) = stop(self.finish.as_ref(), self.called, self.refused);
        let delta = json!({"stop_reason": reason, "stop_sequence": sequence});
        let delta = json!({"type": "message_delta", "delta": delta, "usage": usage(counts.or(self.counts.as_ref()))});
        event("message_delta", &delta, out);
        event("message_stop", &json!({"type": "message_stop"}), out);
    }
}

/// A named event.
fn event(name: &str, data: &Value, out: &mut BytesMut) {
    out.put_slice(b"event: ");
    out.put_slice(name.as_bytes());
    out.put_slice(b"\ndata: ");
    // A map of texts and numbers is never refused.
    let _ = serde_json::to_writer(out.writer(), data);
    out.put_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        adapters::dialects::{
            anthropic::{read_reply, stream::Reader},
            events::InEvents,
        },
        domain::chat::{ChatRequest, ToolUse, messages_to_openai},
        ports::{chat::ChunkDecoder as _, codec::StreamEnd},
    };

    fn written(events: &[ChatEvent], counts: Option<&Counts>) -> String {
        let mut writer = Messages::new("m", 1);
        let mut out = BytesMut::new();
        for event in events {
            writer.write(event, &mut out);
        }
        writer.end(counts, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn kinds(text: &str) -> Vec<String> {
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let kind = |data: &str| {
            let event: Value = serde_json::from_str(data).unwrap();
            let short = event["type"].as_str().unwrap().replace("content_block_", "");
            match &event["index"] {
                Value::Null => short,
                index => format!("{short}{index}"),
            }
        };
        data.map(kind).collect()
    }

    fn call(call: u32, name: &str) -> ChatEvent {
        ChatEvent::ToolCall {
            choice: 0,
            call,
            id: None,
            name: name.to_owned(),
            signature: None,
        }
    }

    fn arguments(call: u32, fragment: &str) -> ChatEvent {
        ChatEvent::Arguments {
            choice: 0,
            call,
            fragment: fragment.to_owned(),
        }
    }

    fn finish(word: &str, reason: FinishReason) -> ChatEvent {
        ChatEvent::Finish {
            choice: 0,
            finish: Finish::new(word, reason),
        }
    }

    #[test]
    fn what_is_written_is_read_as_what_it_was() {
        let counts = Counts {
            input: Some(9),
            output: Some(7),
            cached_input: Some(2),
            ..Counts::default()
        };
        let text = |text: &str| ChatEvent::Text {
            choice: 0,
            text: text.to_owned(),
        };
        let events = [
            ChatEvent::Head {
                id: Some("x".to_owned()),
                model: Some("up".to_owned()),
            },
            ChatEvent::Reasoning {
                choice: 0,
                text: "hm".to_owned(),
            },
            ChatEvent::ReasoningSignature {
                choice: 0,
                signature: "s".to_owned(),
            },
            ChatEvent::RedactedReasoning {
                choice: 0,
                data: "d".to_owned(),
            },
            text("a"),
            text("b"),
            call(0, "f"),
            arguments(0, "{\"a\":"),
            arguments(0, "\"}\"}"),
            call(1, "g"),
            arguments(1, "{}"),
            finish("stop", FinishReason::ToolCalls),
            ChatEvent::Counts(counts),
        ];
        let stream = written(&events, Some(&counts));
        let wanted = "message_start start0 delta0 delta0 stop0 start1 stop1 start2 delta2 delta2 stop2 start3 delta3 delta3 stop3 \
                      start4 delta4 stop4 message_delta message_stop";
        assert_eq!(kinds(&stream).join(" "), wanted);
        let mut read = Vec::new();
        let end = InEvents::<Reader>::default().push(stream.into_bytes().into(), &mut read);
        assert!(matches!(end, Some(StreamEnd::Complete)));
        let mut wanted = events.to_vec();
        for event in &mut wanted {
            if let ChatEvent::ToolCall { id, call, .. } = event {
                *id = Some(made_up_id(*call as usize));
            }
        }
        wanted.truncate(11);
        let is_said = |event: &ChatEvent| !matches!(event, ChatEvent::Counts(_) | ChatEvent::Finish { .. });
        read.retain(is_said);
        assert_eq!(read, wanted);
    }

    #[test]
    fn calls_that_interleave_come_one_behind_the_other() {
        let events = [
            call(0, "f"),
            call(1, "g"),
            arguments(0, "{\"a\""),
            arguments(1, "{\"b\":"),
            arguments(0, ":1}"),
            arguments(1, "2}"),
            finish("stop", FinishReason::Stop),
        ];
        let stream = written(&events, None);
        assert_eq!(
            kinds(&stream).join(" "),
            "message_start start0 delta0 delta0 stop0 start1 delta1 stop1 message_delta message_stop"
        );
        assert!(
            stream.contains(r#""partial_json":"{\"b\":2}""#) && stream.contains(r#""stop_reason":"tool_use""#),
            "{stream}"
        );
    }

    /// What a stream says of each block: its type, and its text or arguments.
    fn blocks(stream: &str) -> Vec<(String, String)> {
        let mut blocks: Vec<(String, String)> = Vec::new();
        for data in stream.lines().filter_map(|line| line.strip_prefix("data: ")) {
            let event: Value = serde_json::from_str(data).unwrap();
            if event["type"] == "content_block_start" {
                assert_eq!(event["index"], blocks.len());
                let kind = event["content_block"]["type"].as_str().unwrap();
                blocks.push((kind.to_owned(), String::new()));
            }
            if event["type"] == "content_block_delta" {
                let at = usize::try_from(event["index"].as_u64().unwrap()).unwrap();
                let delta = &event["delta"];
                let texts = ["text", "thinking", "signature", "partial_json"].map(|name| delta[name].as_str());
                blocks[at].1.extend(texts.into_iter().flatten());
            }
        }
        let count = |kind: &str| kinds(stream).iter().filter(|one| one.starts_with(kind)).count();
        assert_eq!(
            (count("start"), count("stop")),
            (blocks.len(), blocks.len()),
            "{stream}"
        );
        blocks
    }

    #[test]
    fn nothing_that_comes_before_a_calls_end_loses_any_of_it() {
        let text = |text: &str| ChatEvent::Text {
            choice: 0,
            text: text.to_owned(),
        };
        let events = [
            call(0, "f"),
            arguments(0, "{\"a\":"),
            call(1, "g"),
            text("x"),
            ChatEvent::Reasoning {
                choice: 0,
                text: "hm".to_owned(),
            },
            ChatEvent::ReasoningSignature {
                choice: 0,
                signature: "s".to_owned(),
            },
            ChatEvent::RedactedReasoning {
                choice: 0,
                data: "d".to_owned(),
            },
            arguments(0, "1}"),
            text("y"),
            arguments(1, "{\"b\":2}"),
            text("z"),
        ];
        let wanted = [
            ("tool_use", "{\"a\":1}"),
            ("tool_use", "{\"b\":2}"),
            ("text", "x"),
            ("thinking", "hms"),
            ("redacted_thinking", ""),
            ("text", "yz"),
        ];
        let wanted = wanted.map(|(kind, text)| (kind.to_owned(), text.to_owned()));
        assert_eq!(blocks(&written(&events, None)), wanted);
        // More than is held back: each piece stays what it belongs to.
        let long = "x".repeat(MOST_WAITING_BYTES);
        let events = [
            call(0, "f"),
            call(1, "g"),
            arguments(0, "{\"a\":"),
            arguments(1, "{\"b\":"),
            text(&long),
            text("!"),
            arguments(1, "2}"),
            arguments(0, "1}"),
        ];
        let wanted = [
            ("tool_use", "{\"a\":1}"),
            ("tool_use", "{\"b\":2}"),
            ("text", &*format!("{long}!")),
        ];
        let wanted = wanted.map(|(kind, text)| (kind.to_owned(), text.to_owned()));
        assert_eq!(blocks(&written(&events, None)), wanted);
        // Arguments that never become an object are told as they are.
        let events = [call(0, "f"), text("x"), call(1, "g"), arguments(1, "{")];
        let wanted = [("tool_use", ""), ("text", "x"), ("tool_use", "{")];
        let wanted = wanted.map(|(kind, text)| (kind.to_owned(), text.to_owned()));
        assert_eq!(blocks(&written(&events, None)), wanted);
    }

    #[test]
    fn an_answer_of_nothing_is_an_answer() {
        assert_eq!(
            kinds(&written(&[], None)).join(" "),
            "message_start message_delta message_stop"
        );
        let whole = message(&ChatReply::default(), "m", 1);
        assert_eq!(
            (&whole["content"], &whole["stop_reason"], &whole["model"]),
            (&json!([]), &json!("end_turn"), &json!("m"))
        );
    }

    #[test]
    fn a_whole_answer_is_read_as_what_it_was() {
        let reply = ChatReply {
            id: Some("x".to_owned()),
            model: Some("up".to_owned()),
            choices: vec![Choice {
                text: Some("a".to_owned()),
                thoughts: vec![
                    Thought::Text {
                        text: "hm".into(),
                        signature: Some("s".into()),
                    },
                    Thought::Redacted("d".into()),
                ],
                tool_calls: vec![ToolUse {
                    id: Some("c".into()),
                    name: "f".into(),
                    arguments: "{\"a\":1}".into(),
                    signature: None,
                }],
                finish: Some(Finish::new("tool_use", FinishReason::ToolCalls)),
                ..Choice::default()
            }],
            counts: Some(Counts {
                input: Some(5),
                output: Some(7),
                cached_input: Some(2),
                cache_write_input: Some(0),
                cached_apart: true,
                ..Counts::default()
            }),
            created: None,
        };
        let text = message(&reply, "m", 1).to_string();
        assert_eq!(read_reply(text.as_bytes()).unwrap(), reply);
    }

    #[test]
    fn ends_are_told_in_the_words_of_the_format() {
        for (word, reason, called, wanted) in [
            ("stop", FinishReason::Stop, false, "end_turn"),
            ("stop", FinishReason::Stop, true, "tool_use"),
            ("stop_sequence", FinishReason::Stop, false, "stop_sequence"),
            ("length", FinishReason::Length, true, "max_tokens"),
            ("content_filter", FinishReason::ContentFilter, false, "refusal"),
            ("pause_turn", FinishReason::Other, false, "pause_turn"),
            ("ERROR", FinishReason::Other, false, "ERROR"),
            (
                "MALFORMED_FUNCTION_CALL",
                FinishReason::Other,
                true,
                "MALFORMED_FUNCTION_CALL",
            ),
            ("", FinishReason::Other, false, "end_turn"),
        ] {
            assert_eq!(
                stop(Some(&Finish::new(word, reason)), called, false).0,
                wanted,
                "{word}"
            );
        }
        assert_eq!(stop(None, false, true).0, "refusal");
        assert_eq!(input("[1]"), json!({"INVALID_JSON": "[1]"}));
        assert_eq!(input(" "), json!({}));
    }

    #[test]
    fn the_proof_of_a_call_comes_back_to_it() {
        let proven = ChatEvent::ToolCall {
            choice: 0,
            call: 1,
            id: Some("d".to_owned()),
            name: "g".to_owned(),
            signature: Some("sig".to_owned()),
        };
        let stream = written(&[call(0, "f"), arguments(0, "{}"), proven, arguments(1, "{}")], None);
        let kinds: Vec<_> = blocks(&stream).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["tool_use", "redacted_thinking", "tool_use"]);
        let tool = |name: &'static str, signature: Option<&'static str>| ToolUse {
            id: Some(name.into()),
            name: name.into(),
            arguments: "{}".into(),
            signature: signature.map(Into::into),
        };
        let reply = ChatReply {
            choices: vec![Choice {
                tool_calls: vec![tool("f", None), tool("g", Some("sig"))],
                ..Choice::default()
            }],
            ..ChatReply::default()
        };
        let whole = message(&reply, "m", 1);
        let data = json!({"type": "redacted_thinking", "data": "call:1:sig"});
        assert!(stream.contains(&data["data"].to_string()));
        assert_eq!(whole["content"][1], data);
        let body = json!({"model": "m", "max_tokens": 5, "messages": [
            {"role": "user", "content": "q"}, {"role": "assistant", "content": whole["content"]}]});
        let body = messages_to_openai(body.to_string().as_bytes()).unwrap();
        let request = ChatRequest::read(body.as_bytes()).unwrap();
        assert_eq!(request.messages[1].tool_calls, reply.choices[0].tool_calls);
        assert!(request.messages[1].thoughts.is_empty());
    }
}
