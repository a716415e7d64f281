//! Answers as OpenAI's Responses write them, whoever gave them.

use bytes::{BufMut as _, BytesMut};
use serde_json::{Value, json};

use super::super::translated::EventWriter;
use crate::domain::chat::{ChatEvent, ChatReply, Choice, Counts, Finish, FinishReason, Thought, made_up_id, proofs};

/// The last event repeats the answer; what is longer than this was told in pieces only.
const MOST_REPEATED_BYTES: usize = 16 * 1024 * 1024;

/// What an answer is besides its items.
#[derive(Debug)]
struct Frame {
    id: String,
    model: String,
    created: i64,
}

impl Frame {
    fn response(&self, status: &str, output: &[Value], finish: Option<&Finish>, counts: Option<&Counts>) -> Value {
        let details = match (status, finish.map(|finish| finish.reason)) {
            ("incomplete", Some(FinishReason::ContentFilter)) => json!({"reason": "content_filter"}),
            // The vendor's own word, a failure's among them.
            ("incomplete", Some(FinishReason::Other)) => json!({"reason": finish.map(|finish| &finish.word)}),
            ("incomplete", _) => json!({"reason": "max_output_tokens"}),
            _ => Value::Null,
        };
        json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": false,
            "error": null,
            "incomplete_details": details,
            "instructions": null,
            "max_output_tokens": null,
            "metadata": {},
            "model": self.model,
            "output": output,
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "store": false,
            "temperature": null,
            "tool_choice": "auto",
            "tools": [],
            "top_p": null,
            "truncation": "disabled",
            "usage": counts.map(usage),
        })
    }
}

fn usage(counts: &Counts) -> Value {
    let (input, output) = (counts.all_input(), counts.all_output());
    json!({
        "input_tokens": input,
        "input_tokens_details": {"cached_tokens": counts.cached_input.unwrap_or(0)},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning.unwrap_or(0)},
        "total_tokens": input.saturating_add(output),
    })
}

fn status_of(finish: Option<&Finish>) -> &'static str {
    match finish.map(|finish| finish.reason) {
        Some(FinishReason::Length | FinishReason::ContentFilter) => "incomplete",
        Some(FinishReason::Other) if finish.is_some_and(|finish| !finish.word.is_empty()) => "incomplete",
        Some(FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Other) | None => "completed",
    }
}

fn said(text: &str, refused: bool) -> Value {
    match refused {
        true => json!({"type": "refusal", "refusal": text}),
        false => json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []}),
    }
}

/// A whole answer: its first choice, since this format knows no others. `model` and `at` stand in for what the vendor did not say;
/// its items are named by `seed`, since no two answers of a conversation may have items of one name.
pub fn response(answer: &ChatReply, model: &str, at: i64, seed: u64) -> Value {
    let frame = Frame {
        id: answer.id.clone().unwrap_or_else(|| named("resp", seed)),
        model: answer.model.clone().unwrap_or_else(|| model.to_owned()),
        created: answer.created.unwrap_or(at),
    };
    let nothing = Choice::default();
    let choice = answer.choices.first().unwrap_or(&nothing);
    let mut items: Vec<Item> = Vec::new();
    for thought in &choice.thoughts {
        let proof = proofs::encrypted(thought);
        let text = match thought {
            Thought::Text { text, .. } => text.as_ref(),
            Thought::Redacted(_) => "",
        };
        if !text.is_empty() || proof.is_some() {
            let told = !text.is_empty();
            items.push(Item::whole(Kind::Reasoning { told }, text, proof));
        }
    }
    let (text, refusal) = (choice.text.as_deref(), choice.refusal.as_deref());
    for (text, refused) in [(text, false), (refusal, true)] {
        let text = text.filter(|text| !text.is_empty());
        items.extend(text.map(|text| Item::whole(Kind::Message { refused }, text, None)));
    }
    for (at, call) in choice.tool_calls.iter().enumerate() {
        items.extend(call.signature.as_deref().map(|proof| Item::of_call(at, proof)));
        let kind = Kind::Call {
            call: u32::try_from(at).unwrap_or(u32::MAX),
            id: call.id.as_deref().map_or_else(|| made_up_id(at), str::to_owned),
            name: call.name.to_string(),
        };
        items.push(Item::whole(kind, &call.arguments, None));
    }
    let output: Vec<Value> = items
        .iter()
        .enumerate()
        .map(|(at, item)| item.show(at, seed, true))
        .collect();
    let finish = choice.finish.as_ref();
    frame.response(status_of(finish), &output, finish, answer.counts.as_ref())
}

/// The name of an answer to which its vendor gives none.
fn named(kind: &str, seed: u64) -> String {
    format!("{kind}_{seed:016x}")
}

/// None are an empty object.
fn arguments(text: &str) -> &str {
    match text.trim() {
        "" => "{}",
        _ => text,
    }
}

/// Writes a streamed answer in named events.
#[derive(Debug)]
pub struct Responses {
    frame: Frame,
    begun: bool,
    /// The number of the next event.
    number: u64,
    /// By which its items are named.
    seed: u64,
    items: Vec<Item>,
    /// The item to which text goes; calls are found by their number.
    open: Option<usize>,
    repeated: usize,
    finish: Option<Finish>,
}

/// A piece of the answer as far as it has come.
#[derive(Debug)]
struct Item {
    kind: Kind,
    text: String,
    /// What only the vendor understands, for the next turn.
    proof: Option<String>,
    done: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Message {
        refused: bool,
    },
    /// `told`: there are words.
    Reasoning {
        told: bool,
    },
    Call {
        call: u32,
        id: String,
        name: String,
    },
}

impl Kind {
    /// The events that add to it and end it, and the member that holds its text.
    fn words(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Message { refused: false } => ("response.output_text.delta", "response.output_text.done", "text"),
            Self::Message { refused: true } => ("response.refusal.delta", "response.refusal.done", "refusal"),
            Self::Reasoning { .. } => (
                "response.reasoning_summary_text.delta",
                "response.reasoning_summary_text.done",
                "text",
            ),
            Self::Call { .. } => (
                "response.function_call_arguments.delta",
                "response.function_call_arguments.done",
                "arguments",
            ),
        }
    }

    /// The part in which its text stands.
    fn part(&self, text: &str) -> Option<Value> {
        match self {
            Self::Message { refused } => Some(said(text, *refused)),
            Self::Reasoning { told: true } => Some(json!({"type": "summary_text", "text": text})),
            Self::Reasoning { told: false } | Self::Call { .. } => None,
        }
    }

    fn part_events(&self) -> (&'static str, &'static str) {
        match self {
            Self::Reasoning { .. } => (
                "response.reasoning_summary_part.added",
                "response.reasoning_summary_part.done",
            ),
            Self::Message { .. } | Self::Call { .. } => ("response.content_part.added", "response.content_part.done"),
        }
    }

    fn id(&self, at: usize, seed: u64) -> String {
        let prefix = match self {
            Self::Message { .. } => "msg",
            Self::Reasoning { .. } => "rs",
            Self::Call { .. } => "fc",
        };
        format!("{prefix}_{seed:016x}_{at}")
    }
}

impl Item {
    fn whole(kind: Kind, text: &str, proof: Option<String>) -> Self {
        Self {
            kind,
            text: text.to_owned(),
            proof,
            done: true,
        }
    }

    /// The proof of a call, for which calls have no place here.
    fn of_call(call: usize, proof: &str) -> Self {
        let proof = Thought::Redacted(proofs::of_call(call, proof).into());
        Self::whole(Kind::Reasoning { told: false }, "", proofs::encrypted(&proof))
    }

    fn show(&self, at: usize, seed: u64, whole: bool) -> Value {
        let status = if whole { "completed" } else { "in_progress" };
        let id = self.kind.id(at, seed);
        let parts: Vec<Value> = self.kind.part(&self.text).filter(|_| whole).into_iter().collect();
        match &self.kind {
            Kind::Message { .. } => {
                json!({"type": "message", "id": id, "status": status, "role": "assistant", "content": parts})
            }
            Kind::Reasoning { .. } => {
                let mut item = json!({"type": "reasoning", "id": id, "summary": parts});
                if let Some(proof) = self.proof.as_ref().filter(|_| whole) {
                    set(&mut item, "encrypted_content", proof.as_str().into());
                }
                item
            }
            Kind::Call { id: call_id, name, .. } => {
                let text = if whole { arguments(&self.text) } else { "" };
                json!({"type": "function_call", "id": id, "status": status, "call_id": call_id, "name": name, "arguments": text})
            }
        }
    }
}

impl Responses {
    pub fn new(model: &str, created: i64, seed: u64) -> Self {
        Self {
            frame: Frame {
                id: named("resp", seed),
                model: model.to_owned(),
                created,
            },
            begun: false,
            number: 0,
            seed,
            items: Vec::new(),
            open: None,
            repeated: 0,
            finish: None,
        }
    }

    fn event(&mut self, name: &str, mut data: Value, out: &mut BytesMut) {
        if let Some(members) = data.as_object_mut() {
            members.insert("type".to_owned(), name.into());
            members.insert("sequence_number".to_owned(), self.number.into());
        }
        self.number += 1;
        out.put_slice(b"event: ");
        out.put_slice(name.as_bytes());
        out.put_slice(b"\ndata: ");
        // A map of texts and numbers is never refused.
        let _ = serde_json::to_writer(out.writer(), &data);
        out.put_slice(b"\n\n");
    }

    fn begin(&mut self, out: &mut BytesMut) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let response = self.frame.response("in_progress", &[], None, None);
        self.event("response.created", json!({"response": response}), out);
        self.event("response.in_progress", json!({"response": response}), out);
    }

    /// An item begins.
    fn start(&mut self, kind: Kind, out: &mut BytesMut) -> usize {
        self.begin(out);
        let at = self.items.len();
        let item = Item {
            kind,
            text: String::new(),
            proof: None,
            done: false,
        };
        let shown = item.show(at, self.seed, false);
        self.event(
            "response.output_item.added",
            json!({"output_index": at, "item": shown}),
            out,
        );
        if let Some(part) = item.kind.part("") {
            let mut data = self.place(&item.kind, at);
            set(&mut data, "part", part);
            self.event(item.kind.part_events().0, data, out);
        }
        self.items.push(item);
        at
    }

    /// Where in the answer something happens.
    fn place(&self, kind: &Kind, at: usize) -> Value {
        let mut place = json!({"item_id": kind.id(at, self.seed), "output_index": at});
        match kind {
            Kind::Message { .. } => set(&mut place, "content_index", 0.into()),
            Kind::Reasoning { .. } => set(&mut place, "summary_index", 0.into()),
            Kind::Call { .. } => {}
        }
        // SDKs look for it beside text.
        if *kind == (Kind::Message { refused: false }) {
            set(&mut place, "logprobs", json!([]));
        }
        place
    }

    /// A proof ends the thought that is open, or stands for one that is not told.
    fn prove(&mut self, proof: Option<String>, told: bool, out: &mut BytesMut) {
        let kind = Kind::Reasoning { told: true };
        let open = self
            .open
            .filter(|at| told && self.items.get(*at).is_some_and(|item| item.kind == kind));
        if open.is_none() {
            self.close(out);
            self.open = Some(self.start(Kind::Reasoning { told: false }, out));
        }
        if let Some(item) = self.open.and_then(|at| self.items.get_mut(at)) {
            item.proof = proof;
        }
        self.close(out);
    }

    fn add(&mut self, at: usize, text: &str, out: &mut BytesMut) {
        let Some(item) = self.items.get_mut(at) else { return };
        if self.repeated + text.len() <= MOST_REPEATED_BYTES {
            self.repeated += text.len();
            item.text.push_str(text);
        }
        let kind = item.kind.clone();
        let mut data = self.place(&kind, at);
        set(&mut data, "delta", text.into());
        let (delta, ..) = kind.words();
        self.event(delta, data, out);
    }

    /// Text goes to the open item if it is of that kind.
    fn say(&mut self, kind: Kind, text: &str, out: &mut BytesMut) {
        let open = self
            .open
            .filter(|at| self.items.get(*at).is_some_and(|item| item.kind == kind));
        let at = if let Some(at) = open {
            at
        } else {
            self.close(out);
            self.start(kind, out)
        };
        self.open = Some(at);
        self.add(at, text, out);
    }

    fn close(&mut self, out: &mut BytesMut) {
        if let Some(at) = self.open.take() {
            self.finish_item(at, out);
        }
    }

    fn finish_item(&mut self, at: usize, out: &mut BytesMut) {
        let Some(item) = self.items.get_mut(at).filter(|item| !item.done) else {
            return;
        };
        item.done = true;
        let (kind, shown) = (item.kind.clone(), item.show(at, self.seed, true));
        let text = match &kind {
            Kind::Call { .. } => arguments(&item.text).to_owned(),
            Kind::Message { .. } | Kind::Reasoning { .. } => item.text.clone(),
        };
        if kind != (Kind::Reasoning { told: false }) {
            let (_, done, member) = kind.words();
            let mut data = self.place(&kind, at);
            set(&mut data, member, text.clone().into());
            if let Kind::Call { name, .. } = &kind {
                set(&mut data, "name", name.clone().into());
            }
            self.event(done, data, out);
        }
        if let Some(part) = kind.part(&text) {
            let mut data = self.place(&kind, at);
            set(&mut data, "part", part);
            self.event(kind.part_events().1, data, out);
        }
        self.event(
            "response.output_item.done",
            json!({"output_index": at, "item": shown}),
            out,
        );
    }
}

fn set(data: &mut Value, name: &str, value: Value) {
    if let Some(members) = data.as_object_mut() {
        members.insert(name.to_owned(), value);
    }
}

impl EventWriter for Responses {
    fn write(&mut self, event: &ChatEvent, out: &mut BytesMut) {
        match event {
            ChatEvent::Head { id, model } => {
                if let Some(id) = id.as_ref().filter(|id| !id.is_empty()) {
                    self.frame.id.clone_from(id);
                }
                if let Some(model) = model.as_ref().filter(|model| !model.is_empty()) {
                    self.frame.model.clone_from(model);
                }
            }
            ChatEvent::Text { choice: 0, text } => self.say(Kind::Message { refused: false }, text, out),
            ChatEvent::Refusal { choice: 0, text } => self.say(Kind::Message { refused: true }, text, out),
            ChatEvent::Reasoning { choice: 0, text } => self.say(Kind::Reasoning { told: true }, text, out),
            ChatEvent::ReasoningSignature { choice: 0, signature } => {
                let proof = Thought::Text {
                    text: "".into(),
                    signature: Some(signature.into()),
                };
                self.prove(proofs::encrypted(&proof), true, out);
            }
            ChatEvent::RedactedReasoning { choice: 0, data } => {
                self.prove(proofs::encrypted(&Thought::Redacted(data.into())), false, out);
            }
            ChatEvent::ToolCall {
                choice: 0,
                call,
                id,
                name,
                signature,
            } => {
                if let Some(proof) = signature {
                    self.prove(Item::of_call(*call as usize, proof).proof, false, out);
                }
                self.close(out);
                let id = id.clone().unwrap_or_else(|| made_up_id(*call as usize));
                let name = name.clone();
                self.start(Kind::Call { call: *call, id, name }, out);
            }
            ChatEvent::Arguments {
                choice: 0,
                call,
                fragment,
            } => {
                let is_it = |item: &Item| matches!(&item.kind, Kind::Call { call: known, .. } if known == call);
                if let Some(at) = self.items.iter().position(is_it) {
                    self.add(at, fragment, out);
                }
            }
            ChatEvent::Finish { choice: 0, finish } => self.finish = Some(finish.clone()),
            // This format has one answer.
            _ => {}
        }
    }

    fn end(&mut self, counts: Option<&Counts>, out: &mut BytesMut) {
        self.begin(out);
        self.close(out);
        for at in 0..self.items.len() {
            self.finish_item(at, out);
        }
        let items = self.items.iter().enumerate();
        let output: Vec<Value> = items.map(|(at, item)| item.show(at, self.seed, true)).collect();
        let status = status_of(self.finish.as_ref());
        let response = self.frame.response(status, &output, self.finish.as_ref(), counts);
        self.event(&format!("response.{status}"), json!({"response": response}), out);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::chat::{ChatRequest, ToolUse};

    fn events(text: &str) -> Vec<Value> {
        let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
        data.map(|data| serde_json::from_str(data).unwrap()).collect()
    }

    #[test]
    fn a_stream_is_told_in_numbered_events_and_told_again_at_its_end() {
        let text = |text: &str| ChatEvent::Text {
            choice: 0,
            text: text.to_owned(),
        };
        let arguments = |call, fragment: &str| ChatEvent::Arguments {
            choice: 0,
            call,
            fragment: fragment.to_owned(),
        };
        let call = |call, id: Option<&str>| ChatEvent::ToolCall {
            choice: 0,
            call,
            id: id.map(str::to_owned),
            name: "f".to_owned(),
            signature: None,
        };
        let counts = Counts {
            input: Some(3),
            output: Some(4),
            ..Counts::default()
        };
        let mut writer = Responses::new("m", 7, 1);
        let mut out = BytesMut::new();
        for event in [
            ChatEvent::Reasoning {
                choice: 0,
                text: "hm".to_owned(),
            },
            text("a"),
            text("b"),
            call(0, Some("c")),
            call(1, None),
            arguments(0, "{\"a\":"),
            arguments(0, "1}"),
            ChatEvent::Finish {
                choice: 0,
                finish: Finish::new("tool_calls", FinishReason::ToolCalls),
            },
        ] {
            writer.write(&event, &mut out);
        }
        writer.end(Some(&counts), &mut out);
        let events = events(std::str::from_utf8(&out).unwrap());
        let numbers: Vec<_> = events
            .iter()
            .map(|event| event["sequence_number"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
        let kinds: Vec<_> = events
            .iter()
            .map(|event| event["type"].as_str().unwrap().replace("response.", ""))
            .collect();
        assert_eq!(
            kinds.join(" "),
            "created in_progress output_item.added reasoning_summary_part.added reasoning_summary_text.delta reasoning_summary_text.done \
             reasoning_summary_part.done output_item.done output_item.added content_part.added output_text.delta output_text.delta \
             output_text.done content_part.done output_item.done output_item.added output_item.added function_call_arguments.delta \
             function_call_arguments.delta function_call_arguments.done output_item.done function_call_arguments.done output_item.done \
             completed"
        );
        let last = &events.last().unwrap()["response"];
        let output = last["output"].as_array().unwrap();
        assert_eq!(output[0]["summary"][0]["text"], "hm");
        assert_eq!(output[1]["content"][0]["text"], "ab");
        assert_eq!(
            (&output[2]["call_id"], &output[2]["arguments"]),
            (&json!("c"), &json!("{\"a\":1}"))
        );
        assert_eq!(
            (&output[3]["call_id"], &output[3]["arguments"]),
            (&json!("call_1"), &json!("{}"))
        );
        assert_eq!(last["usage"]["total_tokens"], 7);
    }

    #[test]
    fn a_whole_answer_says_how_it_ended() {
        let mut reply = ChatReply {
            choices: vec![Choice {
                text: Some("a".to_owned()),
                finish: Some(Finish::new("length", FinishReason::Length)),
                ..Choice::default()
            }],
            ..ChatReply::default()
        };
        let whole = response(&reply, "m", 7, 1);
        assert_eq!(
            (&whole["status"], &whole["incomplete_details"]["reason"]),
            (&json!("incomplete"), &json!("max_output_tokens"))
        );
        assert_eq!(
            (&whole["id"], &whole["created_at"], &whole["usage"]),
            (&json!("resp_0000000000000001"), &json!(7), &Value::Null)
        );
        assert_eq!(whole["output"][0]["content"][0]["text"], "a");
        reply.choices[0].finish = Some(Finish::new("ERROR", FinishReason::Other));
        let whole = response(&reply, "m", 7, 1);
        assert_eq!(
            (&whole["status"], &whole["incomplete_details"]["reason"]),
            (&json!("incomplete"), &json!("ERROR"))
        );
        reply.choices[0].finish = None;
        reply.choices[0].text = None;
        reply.choices[0].refusal = Some("no".to_owned());
        let whole = response(&reply, "m", 7, 1);
        assert_eq!(
            (&whole["status"], &whole["output"][0]["content"][0]),
            (&json!("completed"), &json!({"type": "refusal", "refusal": "no"}))
        );
    }

    /// What was thought, said and called, with proofs of every kind.
    fn proven() -> Choice {
        let thought = |text: &'static str, proof: &'static str| Thought::Text {
            text: text.into(),
            signature: Some(proof.into()),
        };
        let call = |name: &'static str, proof: Option<&'static str>| ToolUse {
            id: Some(name.into()),
            name: name.into(),
            arguments: "{}".into(),
            signature: proof.map(Into::into),
        };
        Choice {
            thoughts: vec![
                thought("hm", "EqQB"),
                Thought::Redacted("EmwK".into()),
                thought("so", "responses:gAAA"),
            ],
            text: Some("a".to_owned()),
            tool_calls: vec![call("f", Some("sig")), call("g", None)],
            ..Choice::default()
        }
    }

    fn told(choice: &Choice) -> Vec<Value> {
        let mut events = Vec::new();
        for thought in &choice.thoughts {
            match thought {
                Thought::Text { text, signature } => {
                    let text = text.to_string();
                    events.push(ChatEvent::Reasoning { choice: 0, text });
                    let signature = signature.as_ref().unwrap().to_string();
                    events.push(ChatEvent::ReasoningSignature { choice: 0, signature });
                }
                Thought::Redacted(data) => {
                    let data = data.to_string();
                    events.push(ChatEvent::RedactedReasoning { choice: 0, data });
                }
            }
        }
        let text = choice.text.clone().unwrap();
        events.push(ChatEvent::Text { choice: 0, text });
        for (at, call) in (0..).zip(&choice.tool_calls) {
            events.push(ChatEvent::ToolCall {
                choice: 0,
                call: at,
                id: call.id.as_ref().map(ToString::to_string),
                name: call.name.to_string(),
                signature: call.signature.as_ref().map(ToString::to_string),
            });
        }
        let mut writer = Responses::new("m", 7, 1);
        let mut out = BytesMut::new();
        for event in &events {
            writer.write(event, &mut out);
        }
        writer.end(None, &mut out);
        self::events(std::str::from_utf8(&out).unwrap())
    }

    #[test]
    fn proofs_come_back_from_callers_as_what_they_were() {
        let choice = proven();
        let reply = ChatReply {
            choices: vec![choice.clone()],
            ..ChatReply::default()
        };
        let whole = response(&reply, "m", 7, 1);
        let streamed = told(&choice);
        assert_eq!(streamed.last().unwrap()["response"]["output"], whole["output"]);
        assert_eq!(whole["output"][2]["encrypted_content"], "gAAA");
        let mut input = whole["output"].as_array().unwrap().clone();
        for call in ["f", "g"] {
            input.push(json!({"type": "function_call_output", "call_id": call, "output": "1"}));
        }
        let body = json!({"model": "m", "input": input}).to_string();
        let body = crate::domain::chat::responses_to_openai(body.as_bytes()).unwrap();
        let request = ChatRequest::read(body.as_bytes()).unwrap();
        let message = &request.messages[0];
        assert_eq!(message.thoughts, choice.thoughts);
        assert_eq!(message.tool_calls, choice.tool_calls);
        assert_eq!(message.content.text(""), "a");
        assert_eq!(request.messages.len(), 3);
    }

    #[test]
    fn an_untold_thought_is_an_item_without_words() {
        let events = told(&proven());
        let about = |at: u64| {
            let at = move |event: &&Value| event["output_index"] == at;
            let kinds = events.iter().filter(at).map(|event| event["type"].as_str().unwrap());
            kinds
                .map(|kind| kind.replace("response.", ""))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(about(1), "output_item.added output_item.done");
        let added = events.iter().find(|event| event["output_index"] == 1).unwrap();
        assert_eq!(
            added["item"],
            json!({"type": "reasoning", "id": "rs_0000000000000001_1", "summary": []})
        );
    }

    #[test]
    fn no_two_answers_have_items_of_one_name() {
        let reply = ChatReply {
            choices: vec![proven()],
            ..ChatReply::default()
        };
        let names = |seed| {
            let whole = response(&reply, "m", 7, seed);
            let items = whole["output"].as_array().unwrap().clone();
            let names = items.into_iter().map(|item| item["id"].as_str().unwrap().to_owned());
            names.collect::<BTreeSet<_>>()
        };
        let (one, other) = (names(1), names(2));
        assert_eq!(one.len(), 7);
        assert!(one.is_disjoint(&other));
    }
}
