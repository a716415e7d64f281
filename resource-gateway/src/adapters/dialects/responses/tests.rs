mod answers;
mod passing;
mod requests;
mod streams;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{
    adapters::dialects::{
        recut::{self, cut_short, decoded, encoded, fixture, however_cut, json_of},
        testing::{self, opening, received, target},
        translated::Chat,
    },
    domain::{
        chat::{ChatEvent, Counts, responses_to_openai},
        interface::Capability,
        vendor::Vendor,
    },
    ports::codec::{Pushed, StreamDecoder, StreamEnd},
};

fn vendor() -> Vendor {
    Vendor::named("v", "openai")
}

fn written_for(body: &Value) -> Value {
    json_of(&encoded(&ResponsesDialect, body, &vendor()).unwrap())
}

/// The field for which a request is refused, and why.
fn refused(body: &Value) -> (String, String) {
    match encoded(&ResponsesDialect, body, &vendor()) {
        Err(EncodeError::Refused(error)) => (
            error.param.unwrap_or_default().into(),
            error.code.unwrap_or_default().into(),
        ),
        other => panic!("{body}: {other:?}"),
    }
}

fn user(text: &str) -> Value {
    json!([{"role": "user", "content": text}])
}

/// An answer with these items.
fn answer(status: &str, output: &Value) -> Value {
    json!({"id": "resp_1", "object": "response", "created_at": 1_760_000_030.5, "status": status, "error": null, "incomplete_details": null,
        "model": "m-1", "output": output, "usage": {"input_tokens": 20, "input_tokens_details": {"cached_tokens": 8},
            "output_tokens": 10, "output_tokens_details": {"reasoning_tokens": 4}, "total_tokens": 30}})
}

fn message(parts: &Value) -> Value {
    json!({"type": "message", "id": "msg_1", "status": "completed", "role": "assistant", "content": parts})
}

fn said(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": []})
}

/// A stream of these events, as the vendor writes it.
fn stream_of(events: &[Value]) -> String {
    let event = |(at, event): (usize, &Value)| {
        let mut event = event.clone();
        event["sequence_number"] = at.into();
        format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())
    };
    events.iter().enumerate().map(event).collect()
}

fn created() -> Value {
    let mut response = answer("in_progress", &json!([]));
    response["usage"] = Value::Null;
    json!({"type": "response.created", "response": response})
}

fn delta(kind: &str, at: u64, text: &str) -> Value {
    json!({"type": format!("response.{kind}.delta"), "item_id": "i", "output_index": at, "content_index": 0, "delta": text})
}

fn item(what: &str, at: u64, item: &Value) -> Value {
    json!({"type": format!("response.output_item.{what}"), "output_index": at, "item": item})
}

fn ended(status: &str, output: &Value) -> Value {
    json!({"type": format!("response.{status}"), "response": answer(status, output)})
}

fn call(id: &str, arguments: &str) -> Value {
    json!({"type": "function_call", "id": format!("fc_{id}"), "call_id": id, "name": "f", "arguments": arguments})
}

fn everything() -> String {
    let summary = |part: u64, text: &str| json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": part, "delta": text});
    stream_of(&[
        created(),
        item("added", 0, &json!({"type": "reasoning", "id": "rs", "summary": []})),
        json!({"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 0, "part": {}}),
        summary(0, "first"),
        summary(0, " thought"),
        json!({"type": "response.reasoning_summary_text.done", "output_index": 0, "summary_index": 0, "text": "first thought"}),
        summary(1, "second"),
        item(
            "done",
            0,
            &json!({"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "first thought"}],
                "encrypted_content": "enc"}),
        ),
        item("added", 1, &message(&json!([]))),
        delta("output_text", 1, "Gr\u{fc}\u{df}"),
        delta("output_text", 1, ""),
        delta("output_text", 1, "e \u{1f44b}"),
        json!({"type": "response.output_text.annotation.added", "output_index": 1, "annotation": {}}),
        item("done", 1, &message(&json!([said("Gr\u{fc}\u{df}e \u{1f44b}")]))),
        item("added", 2, &call("c1", "")),
        item("added", 3, &call("c2", "")),
        delta("function_call_arguments", 3, "{\"b\""),
        delta("function_call_arguments", 2, "{\"a\":"),
        delta("function_call_arguments", 2, "1}"),
        delta("function_call_arguments", 3, ":2}"),
        json!({"type": "response.brand_new", "anything": [1]}),
        item("done", 2, &call("c1", "{\"a\":1}")),
        item("done", 3, &call("c2", "{\"b\":2}")),
        ended(
            "completed",
            &json!([
                message(&json!([said("Gr\u{fc}\u{df}e \u{1f44b}")])),
                call("c1", "{\"a\":1}"),
                call("c2", "{\"b\":2}")
            ]),
        ),
    ])
}
