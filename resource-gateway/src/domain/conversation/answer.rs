//! The message that an answer adds to its conversation: what a caller would send back of it.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::domain::sse::{Events, SseSplitter};

/// Answers are not longer than that; what is longer is not kept, and the caller is told.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// No answer calls more tools than that.
const MAX_CALLS: usize = 256;
/// The members of an answer that go back with the next request. Others (reasoning, annotations) are refused by some vendors when
/// they come back.
const KEPT: [&str; 4] = ["content", "refusal", "tool_calls", "function_call"];

/// The message of a whole answer: its first choice's. `None` when there is none.
pub fn message_of(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Reply {
        choices: Vec<Choice>,
    }
    #[derive(Deserialize)]
    struct Choice {
        #[serde(default)]
        index: u64,
        message: Map<String, Value>,
    }
    let reply: Reply = serde_json::from_slice(body).ok()?;
    let first = reply.choices.into_iter().min_by_key(|choice| choice.index)?;
    let mut message = first.message;
    Some(assistant(
        KEPT.map(|name| (name, message.remove(name).unwrap_or_default())),
    ))
}

/// A message of the assistant; members without a value are left out, but for the content, which is null beside calls of tools.
fn assistant(members: [(&str, Value); 4]) -> String {
    let mut message = Map::new();
    message.insert("role".to_owned(), "assistant".into());
    for (name, value) in members {
        if name == "content" || !value.is_null() {
            message.insert(name.to_owned(), value);
        }
    }
    Value::Object(message).to_string()
}

/// Puts the message of a streamed answer together, from the bytes that the caller gets.
#[derive(Debug, Default)]
pub struct AnswerText {
    splitter: SseSplitter,
    content: Option<String>,
    refusal: Option<String>,
    calls: Vec<ToolCall>,
    function: Option<ToolCall>,
    room: usize,
    failed: bool,
}

#[derive(Debug, Default)]
struct ToolCall {
    index: u64,
    id: String,
    kind: Option<String>,
    name: String,
    arguments: String,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<ChunkChoice>,
}

#[derive(Deserialize)]
struct ChunkChoice {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    delta: Option<Delta>,
}

#[derive(Deserialize)]
struct Delta {
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    refusal: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<CallDelta>>,
    #[serde(default)]
    function_call: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct CallDelta {
    #[serde(default)]
    index: Option<u64>,
    #[serde(default)]
    id: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    function: Option<FunctionDelta>,
}

#[derive(Deserialize)]
struct FunctionDelta {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    arguments: Option<String>,
}

impl AnswerText {
    pub fn new() -> Self {
        Self {
            room: MAX_BYTES,
            ..Self::default()
        }
    }

    /// Takes bytes of the stream as they go to the caller.
    pub fn push(&mut self, bytes: Bytes) {
        if self.failed {
            return;
        }
        match self.splitter.push(bytes) {
            Ok(events) => self.read(&events),
            Err(_) => self.failed = true,
        }
    }

    fn read(&mut self, events: &[u8]) {
        for event in Events::of(events) {
            let Some(data) = event.data else { continue };
            let data = data.trim_ascii();
            if data.is_empty() || data == b"[DONE]" {
                continue;
            }
            match serde_json::from_slice::<Chunk>(data) {
                Ok(chunk) => {
                    let first = |choice: &ChunkChoice| choice.index.unwrap_or(0) == 0;
                    let deltas = chunk
                        .choices
                        .into_iter()
                        .filter(first)
                        .filter_map(|choice| choice.delta);
                    deltas.for_each(|delta| self.add(delta));
                }
                Err(_) => self.failed = true,
            }
        }
    }

    fn add(&mut self, delta: Delta) {
        if let Some(text) = delta.content {
            append(
                &mut self.room,
                self.content.get_or_insert_default(),
                &text,
                &mut self.failed,
            );
        }
        if let Some(text) = delta.refusal {
            append(
                &mut self.room,
                self.refusal.get_or_insert_default(),
                &text,
                &mut self.failed,
            );
        }
        if let Some(function) = delta.function_call {
            let call = self.function.get_or_insert_default();
            call.add(function, &mut self.room, &mut self.failed);
        }
        for part in delta.tool_calls.into_iter().flatten() {
            let index = part.index.unwrap_or(0);
            let at = self.calls.iter().position(|call| call.index == index);
            if at.is_none() {
                if self.calls.len() >= MAX_CALLS {
                    self.failed = true;
                    return;
                }
                self.calls.push(ToolCall {
                    index,
                    ..ToolCall::default()
                });
            }
            let at = at.unwrap_or(self.calls.len() - 1);
            let Some(call) = self.calls.get_mut(at) else { continue };
            if let Some(id) = part.id {
                append(&mut self.room, &mut call.id, &id, &mut self.failed);
            }
            if call.kind.is_none() {
                call.kind = part.kind;
            }
            if let Some(function) = part.function {
                call.add(function, &mut self.room, &mut self.failed);
            }
        }
    }

    /// The whole message; `None` when it could not be put together.
    pub fn finish(mut self) -> Option<String> {
        let rest = self.splitter.finish();
        self.read(&rest);
        if self.failed {
            return None;
        }
        self.calls.sort_by_key(|call| call.index);
        let calls: Vec<Value> = self
            .calls
            .into_iter()
            .map(|call| {
                json!({"id": call.id, "type": call.kind.as_deref().unwrap_or("function"),
                    "function": {"name": call.name, "arguments": call.arguments}})
            })
            .collect();
        let function = self.function;
        let function = function.map(|call| json!({"name": call.name, "arguments": call.arguments}));
        let calls_nothing = calls.is_empty() && function.is_none();
        let content = match self.content {
            // Beside calls null says that there is no text; without them vendors want a text.
            None if calls_nothing => Value::from(""),
            content => content.into(),
        };
        Some(assistant([
            ("content", content),
            ("refusal", self.refusal.into()),
            ("tool_calls", if calls.is_empty() { Value::Null } else { calls.into() }),
            ("function_call", function.into()),
        ]))
    }
}

impl ToolCall {
    fn add(&mut self, part: FunctionDelta, room: &mut usize, failed: &mut bool) {
        if let Some(name) = part.name {
            append(room, &mut self.name, &name, failed);
        }
        if let Some(arguments) = part.arguments {
            append(room, &mut self.arguments, &arguments, failed);
        }
    }
}

fn append(room: &mut usize, text: &mut String, more: &str, failed: &mut bool) {
    match room.checked_sub(more.len()) {
        Some(left) => {
            *room = left;
            text.push_str(more);
        }
        None => *failed = true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(text: &str, split: usize) -> Option<Value> {
        let mut answer = AnswerText::new();
        for piece in text.as_bytes().chunks(split) {
            answer.push(Bytes::copy_from_slice(piece));
        }
        answer.finish().map(|message| serde_json::from_str(&message).unwrap())
    }

    fn event(delta: &Value) -> String {
        format!(
            "data: {}\n\n",
            json!({"choices": [{"index": 0, "delta": delta}, {"index": 1, "delta": {"content": "no"}}]})
        )
    }

    #[test]
    fn a_streamed_message_is_the_sum_of_its_parts_at_any_split() {
        let text = [
            ": keep-alive\n\n".to_owned(),
            event(&json!({"role": "assistant", "content": ""})),
            event(&json!({"content": "Hel", "reasoning_content": "hm"})),
            event(&json!({"content": "lo \u{65e5}"})),
            event(&json!({"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": ""}}]})),
            event(&json!({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\""}}]})),
            event(&json!({"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]})),
            "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n".to_owned(),
            "data: [DONE]\n\n".to_owned(),
        ]
        .concat();
        let wanted = json!({"role": "assistant", "content": "Hello \u{65e5}", "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": ""}}]});
        for split in [1, 2, 3, 7, 64, text.len()] {
            assert_eq!(collected(&text, split).unwrap(), wanted, "{split}");
        }
    }

    #[test]
    fn a_whole_answer_gives_what_can_be_sent_back() {
        let body = json!({"choices": [
            {"index": 1, "message": {"role": "assistant", "content": "second"}},
            {"index": 0, "message": {"role": "assistant", "content": null, "refusal": null, "annotations": [], "reasoning_content": "hm",
                "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}]});
        let message: Value = serde_json::from_str(&message_of(body.to_string().as_bytes()).unwrap()).unwrap();
        let wanted = json!({"role": "assistant", "content": null,
            "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
        assert_eq!(message, wanted);
        for none in ["{\"choices\":[]}", "{}", "no"] {
            assert_eq!(message_of(none.as_bytes()), None);
        }
    }

    #[test]
    fn what_cannot_be_read_or_is_too_long_is_no_message() {
        assert_eq!(collected("data: {\n\n", 100), None);
        assert_eq!(
            collected("data: [DONE]\n\n", 100).unwrap(),
            json!({"role": "assistant", "content": ""})
        );
        let long = event(&json!({"content": "x".repeat(1024 * 1024)})).repeat(9);
        assert_eq!(collected(&long, 100_000), None);
    }
}
