//! A streamed answer as OpenAI writes it: chunks of `chat.completion.chunk`, and `[DONE]`.

use bytes::{BufMut as _, BytesMut};
use serde_json::{Map, Value, json};

use super::super::translated::EventWriter;
use crate::domain::chat::{ChatEvent, Counts, finish_word, made_up_id, named_answer, usage};

/// Writes chunks.
#[derive(Debug)]
pub struct Chunks {
    id: String,
    model: String,
    created: i64,
    include_usage: bool,
    /// Choices that have begun: a bit for each; what is beyond shares the last bit.
    begun: u128,
}

impl Chunks {
    pub fn new(model: &str, created: i64, seed: u64, include_usage: bool) -> Self {
        Self {
            id: named_answer(seed),
            model: model.to_owned(),
            created,
            include_usage,
            begun: 0,
        }
    }

    fn chunk(&self, choices: Value, more: Option<Value>, out: &mut BytesMut) {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        if let (Some(usage), Some(chunk)) = (more, chunk.as_object_mut()) {
            chunk.insert("usage".to_owned(), usage);
        }
        out.put_slice(b"data: ");
        // A map of texts and numbers is never refused.
        let _ = serde_json::to_writer(out.writer(), &chunk);
        out.put_slice(b"\n\n");
    }

    fn delta(&mut self, choice: u32, delta: Value, finish: Option<&str>, out: &mut BytesMut) {
        let mut delta = delta;
        let bit = 1 << choice.min(127);
        if self.begun & bit == 0 {
            self.begun |= bit;
            if let Some(delta) = delta.as_object_mut() {
                delta.insert("role".to_owned(), json!("assistant"));
            }
        }
        let usage = self.include_usage.then_some(Value::Null);
        self.chunk(
            json!([{"index": choice, "delta": delta, "logprobs": null, "finish_reason": finish}]),
            usage,
            out,
        );
    }
}

impl EventWriter for Chunks {
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
            ChatEvent::Text { choice, text } => self.delta(*choice, json!({"content": text}), None, out),
            ChatEvent::Reasoning { choice, text } => {
                self.delta(*choice, json!({"reasoning_content": text}), None, out);
            }
            ChatEvent::ReasoningSignature { choice, signature } => {
                let block = json!([{"type": "thinking", "thinking": "", "signature": signature}]);
                self.delta(*choice, json!({"thinking_blocks": block}), None, out);
            }
            ChatEvent::RedactedReasoning { choice, data } => {
                let block = json!([{"type": "redacted_thinking", "data": data}]);
                self.delta(*choice, json!({"thinking_blocks": block}), None, out);
            }
            ChatEvent::Refusal { choice, text } => self.delta(*choice, json!({"refusal": text}), None, out),
            ChatEvent::ToolCall {
                choice,
                call,
                id,
                name,
                signature,
            } => {
                let id = id.clone().unwrap_or_else(|| made_up_id(*call as usize));
                let mut begun =
                    json!({"index": call, "id": id, "type": "function", "function": {"name": name, "arguments": ""}});
                if let (Some(signature), Some(begun)) = (signature, begun.as_object_mut()) {
                    let extra = json!({"google": {"thought_signature": signature}});
                    begun.insert("extra_content".to_owned(), extra);
                }
                self.delta(*choice, json!({"tool_calls": [begun]}), None, out);
            }
            ChatEvent::Arguments { choice, call, fragment } => {
                let more = json!([{"index": call, "function": {"arguments": fragment}}]);
                self.delta(*choice, json!({"tool_calls": more}), None, out);
            }
            ChatEvent::Finish { choice, finish } => {
                self.delta(*choice, Value::Object(Map::new()), Some(finish_word(finish)), out);
            }
            ChatEvent::Counts(_) => {}
        }
    }

    fn end(&mut self, counts: Option<&Counts>, out: &mut BytesMut) {
        if let (true, Some(counts)) = (self.include_usage, counts) {
            self.chunk(json!([]), Some(usage(counts)), out);
        }
        out.put_slice(b"data: [DONE]\n\n");
    }
}
