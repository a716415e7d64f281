//! Answers as OpenAI's Responses write them, whoever gave them.

use bytes::{BufMut as _, BytesMut};
use serde_json::{Value, json};

use super::super::translated::EventWriter;
use crate::domain::chat::{ChatEvent, ChatReply, Choice, Counts, Finish, FinishReason, Thought, made_up_id};

/// Vendors that name no answer get this instead of a name.
const NO_ID: &str = "resp_unnamed";
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

/// A whole answer: its first choice, since this format knows no others. `model` and `at` stand in for what the vendor did not say.
pub fn response(answer: &ChatReply, model: &str, at: i64) -> Value {
    let frame = Frame {
        id: answer.id.clone().unwrap_or_else(|| NO_ID.to_owned()),
        model: answer.model.clone().unwrap_or_else(|| model.to_owned()),
        created: answer.created.unwrap_or(at),
    };
    let nothing = Choice::default();
    let choice = answer.choices.first().unwrap_or(&nothing);
    let mut output = Vec::new();
    let thoughts = choice.thoughts.iter().filter_map(|thought| match thought {
        Thought::Text { text, .. } if !text.is_empty() => Some(json!({"type": "summary_text", "text": text})),
        Thought::Text { .. } | Thought::Redacted(_) => None,
    });
    let thoughts: Vec<Value> = thoughts.collect();
    if !thoughts.is_empty() {
        output.push(json!({"type": "reasoning", "id": "rs_0", "summary": thoughts}));
    }
    let mut content = Vec::new();
    for (text, refused) in [(&choice.text, false), (&choice.refusal, true)] {
        content.extend(
            text.iter()
                .filter(|text| !text.is_empty())
                .map(|text| said(text, refused)),
        );
    }
    if !content.is_empty() {
        let id = format!("msg_{}", output.len());
        output
            .push(json!({"type": "message", "id": id, "status": "completed", "role": "assistant", "content": content}));
    }
    for (at, call) in choice.tool_calls.iter().enumerate() {
        let id = format!("fc_{}", output.len());
        let call_id = call.id.as_deref().map_or_else(|| made_up_id(at), str::to_owned);
        output.push(
            json!({"type": "function_call", "id": id, "status": "completed", "call_id": call_id,
            "name": call.name, "arguments": arguments(&call.arguments)}),
        );
    }
    let finish = choice.finish.as_ref();
    frame.response(status_of(finish), &output, finish, answer.counts.as_ref())
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
    done: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Message { refused: bool },
    Reasoning,
    Call { call: u32, id: String, name: String },
}

impl Kind {
    /// The events that add to it and end it, and the member that holds its text.
    fn words(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Message { refused: false } => ("response.output_text.delta", "response.output_text.done", "text"),
            Self::Message { refused: true } => ("response.refusal.delta", "response.refusal.done", "refusal"),
            Self::Reasoning => (
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
            Self::Reasoning => Some(json!({"type": "summary_text", "text": text})),
            Self::Call { .. } => None,
        }
    }

    fn part_events(&self) -> (&'static str, &'static str) {
        match self {
            Self::Reasoning => (
                "response.reasoning_summary_part.added",
                "response.reasoning_summary_part.done",
            ),
            Self::Message { .. } | Self::Call { .. } => ("response.content_part.added", "response.content_part.done"),
        }
    }

    fn id(&self, at: usize) -> String {
        let prefix = match self {
            Self::Message { .. } => "msg",
            Self::Reasoning => "rs",
            Self::Call { .. } => "fc",
        };
        format!("{prefix}_{at}")
    }
}

impl Item {
    fn show(&self, at: usize, whole: bool) -> Value {
        let status = if whole { "completed" } else { "in_progress" };
        let id = self.kind.id(at);
        let parts: Vec<Value> = self.kind.part(&self.text).filter(|_| whole).into_iter().collect();
        match &self.kind {
            Kind::Message { .. } => {
                json!({"type": "message", "id": id, "status": status, "role": "assistant", "content": parts})
            }
            Kind::Reasoning => json!({"type": "reasoning", "id": id, "summary": parts}),
            Kind::Call { id: call_id, name, .. } => {
                let text = if whole { arguments(&self.text) } else { "" };
                json!({"type": "function_call", "id": id, "status": status, "call_id": call_id, "name": name, "arguments": text})
            }
        }
    }
}

impl Responses {
    pub fn new(model: &str, created: i64) -> Self {
        Self {
            frame: Frame {
                id: NO_ID.to_owned(),
                model: model.to_owned(),
                created,
            },
            begun: false,
            number: 0,
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
            done: false,
        };
        let shown = item.show(at, false);
        self.event(
            "response.output_item.added",
            json!({"output_index": at, "item": shown}),
            out,
        );
        if let Some(part) = item.kind.part("") {
            let mut data = place(&item.kind, at);
            set(&mut data, "part", part);
            self.event(item.kind.part_events().0, data, out);
        }
        self.items.push(item);
        at
    }

    fn add(&mut self, at: usize, text: &str, out: &mut BytesMut) {
        let Some(item) = self.items.get_mut(at) else { return };
        if self.repeated + text.len() <= MOST_REPEATED_BYTES {
            self.repeated += text.len();
            item.text.push_str(text);
        }
        let mut data = place(&item.kind, at);
        set(&mut data, "delta", text.into());
        let (delta, ..) = item.kind.words();
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
        let (kind, shown) = (item.kind.clone(), item.show(at, true));
        let text = match &kind {
            Kind::Call { .. } => arguments(&item.text).to_owned(),
            Kind::Message { .. } | Kind::Reasoning => item.text.clone(),
        };
        let (_, done, member) = kind.words();
        let mut data = place(&kind, at);
        set(&mut data, member, text.clone().into());
        if let Kind::Call { name, .. } = &kind {
            set(&mut data, "name", name.clone().into());
        }
        self.event(done, data, out);
        if let Some(part) = kind.part(&text) {
            let mut data = place(&kind, at);
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

/// Where in the answer something happens.
fn place(kind: &Kind, at: usize) -> Value {
    let mut place = json!({"item_id": kind.id(at), "output_index": at});
    match kind {
        Kind::Message { .. } => set(&mut place, "content_index", 0.into()),
        Kind::Reasoning => set(&mut place, "summary_index", 0.into()),
        Kind::Call { .. } => {}
    }
    // SDKs look for it beside text.
    if *kind == (Kind::Message { refused: false }) {
        set(&mut place, "logprobs", json!([]));
    }
    place
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
            ChatEvent::Reasoning { choice: 0, text } => self.say(Kind::Reasoning, text, out),
            ChatEvent::ToolCall {
                choice: 0,
                call,
                id,
                name,
                ..
            } => {
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
            // Proofs have no place here, and this format has one answer.
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
        let output: Vec<Value> = items.map(|(at, item)| item.show(at, true)).collect();
        let status = status_of(self.finish.as_ref());
        let response = self.frame.response(status, &output, self.finish.as_ref(), counts);
        self.event(&format!("response.{status}"), json!({"response": response}), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let mut writer = Responses::new("m", 7);
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
        let whole = response(&reply, "m", 7);
        assert_eq!(
            (&whole["status"], &whole["incomplete_details"]["reason"]),
            (&json!("incomplete"), &json!("max_output_tokens"))
        );
        assert_eq!(
            (&whole["id"], &whole["created_at"], &whole["usage"]),
            (&json!(NO_ID), &json!(7), &Value::Null)
        );
        assert_eq!(whole["output"][0]["content"][0]["text"], "a");
        reply.choices[0].finish = Some(Finish::new("ERROR", FinishReason::Other));
        let whole = response(&reply, "m", 7);
        assert_eq!(
            (&whole["status"], &whole["incomplete_details"]["reason"]),
            (&json!("incomplete"), &json!("ERROR"))
        );
        reply.choices[0].finish = None;
        reply.choices[0].text = None;
        reply.choices[0].refusal = Some("no".to_owned());
        let whole = response(&reply, "m", 7);
        assert_eq!(
            (&whole["status"], &whole["output"][0]["content"][0]),
            (&json!("completed"), &json!({"type": "refusal", "refusal": "no"}))
        );
    }
}
