//! Answers in the neutral words of fixtures.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use resource_gateway::{
    domain::{
        chat::{ChatEvent, ChatReply, Counts, Finish, FinishReason, Thought},
        fault::{Fault, FaultClass},
    },
    ports::codec::{Decoded, Step, StreamEnd},
};
use serde_json::{Map, Value, json};

use super::{
    fixture::Fixture,
    request::{clipped, close},
};

/// What is left of a stream when it has ended.
#[derive(Debug)]
pub(crate) struct Streamed {
    pub(crate) events: Vec<ChatEvent>,
    pub(crate) end: StreamEnd,
}

/// Whether everything that is wanted is there. More is fine; `null` means absent.
pub(crate) fn compare(wanted: &Value, found: &Map<String, Value>) -> Result<(), String> {
    for (name, wanted) in wanted.as_object().into_iter().flatten() {
        // Telemetry of the vendor's that nobody is told. Of failures the request's name is kept: operators need it.
        if matches!(name.as_str(), "latency_ms" | "request_id") {
            continue;
        }
        within(found.get(name).unwrap_or(&Value::Null), wanted, name)?;
    }
    Ok(())
}

fn within(found: &Value, wanted: &Value, place: &str) -> Result<(), String> {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            for (name, wanted) in wanted {
                within(
                    found.get(name).unwrap_or(&Value::Null),
                    wanted,
                    &format!("{place}.{name}"),
                )?;
            }
            Ok(())
        }
        (Value::Array(found), Value::Array(wanted)) if found.len() == wanted.len() => {
            for (at, (found, wanted)) in found.iter().zip(wanted).enumerate() {
                within(found, wanted, &format!("{place}[{at}]"))?;
            }
            Ok(())
        }
        (Value::Number(found), Value::Number(wanted)) if close(found.as_f64(), wanted.as_f64()) => Ok(()),
        // Arguments are a JSON text here, and an object where the vendor sends one.
        (Value::String(found), Value::Object(_)) if place.ends_with(".arguments") => {
            let found: Value = serde_json::from_str(found).map_err(|error| format!("{place}: {error}"))?;
            within(&found, wanted, "arguments")
        }
        // Nothing said.
        (Value::Null, Value::String(text)) if text.is_empty() => Ok(()),
        (Value::String(text), Value::Null) if text.is_empty() => Ok(()),
        (Value::Array(none), Value::Null) if none.is_empty() => Ok(()),
        (Value::Null, Value::Array(none)) if none.is_empty() => Ok(()),
        // A job's name, whatever it is made of.
        (Value::String(found), Value::Number(wanted)) if *found == wanted.to_string() => Ok(()),
        (found, wanted) if found == wanted => Ok(()),
        (found, wanted) => Err(format!("{place} is {}, wanted {}", clipped(found), clipped(wanted))),
    }
}

fn usage(counts: &Counts) -> Value {
    json!({
        "input_tokens": counts.input,
        "output_tokens": counts.output,
        "total_tokens": counts.total,
        "cached_input_tokens": counts.cached_input,
        "cache_write_input_tokens": counts.cache_write_input,
        "reasoning_tokens": counts.reasoning,
    })
}

fn finish(finish: Option<&Finish>, out: &mut Map<String, Value>) {
    let Some(finish) = finish else { return };
    out.insert("finish_reason".to_owned(), json!(finish.word));
    out.insert(
        "finish".to_owned(),
        json!(resource_gateway::domain::chat::finish_word(finish)),
    );
    // The responses API's word for the same.
    let status = match finish.reason {
        FinishReason::Length | FinishReason::ContentFilter => "incomplete",
        FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Other => "completed",
    };
    out.insert("status".to_owned(), json!(status));
}

/// A whole answer of a chat.
pub(crate) fn of_reply(reply: &ChatReply) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("id".to_owned(), json!(reply.id));
    out.insert("model".to_owned(), json!(reply.model));
    out.insert("usage".to_owned(), reply.counts.as_ref().map_or(Value::Null, usage));
    let Some(choice) = reply.choices.first() else {
        return out;
    };
    out.insert("text".to_owned(), json!(choice.text));
    out.insert("refusal".to_owned(), json!(choice.refusal));
    let thoughts = choice.thoughts.iter().filter_map(|thought| match thought {
        Thought::Text { text, .. } => Some(text.as_ref()),
        Thought::Redacted(_) => None,
    });
    out.insert("reasoning_text".to_owned(), json!(thoughts.collect::<String>()));
    let calls = choice.tool_calls.iter();
    let calls = calls.map(|call| json!({"id": call.id, "name": call.name, "arguments": call.arguments}));
    out.insert("tool_calls".to_owned(), calls.collect());
    finish(choice.finish.as_ref(), &mut out);
    out
}

/// A streamed answer of a chat.
pub(crate) fn of_events(streamed: &Streamed) -> Map<String, Value> {
    let mut reply = ChatReply::default();
    let mut deltas = Vec::new();
    let (mut text, mut reasoning, mut refusal) = (String::new(), String::new(), String::new());
    let mut calls: Vec<(u32, Value, String)> = Vec::new();
    let mut end = None;
    for event in &streamed.events {
        match event {
            ChatEvent::Head { id, model } => {
                reply.id = reply.id.take().or_else(|| id.clone());
                reply.model = reply.model.take().or_else(|| model.clone());
            }
            ChatEvent::Text { choice: 0, text: more } => {
                text.push_str(more);
                deltas.push(more.clone());
            }
            ChatEvent::Reasoning { choice: 0, text: more } => reasoning.push_str(more),
            ChatEvent::Refusal { choice: 0, text: more } => refusal.push_str(more),
            ChatEvent::ToolCall {
                choice: 0,
                call,
                id,
                name,
                ..
            } => {
                calls.push((*call, json!({"id": id, "name": name}), String::new()));
            }
            ChatEvent::Arguments {
                choice: 0,
                call,
                fragment,
            } => {
                if let Some((_, _, arguments)) = calls.iter_mut().find(|(known, ..)| known == call) {
                    arguments.push_str(fragment);
                }
            }
            ChatEvent::Finish { choice: 0, finish } => end = Some(finish.clone()),
            ChatEvent::Counts(counts) => {
                reply.counts = Some(reply.counts.unwrap_or_default().merged(*counts));
            }
            _ => {}
        }
    }
    let mut out = of_reply(&reply);
    out.insert("text".to_owned(), json!(text));
    out.insert("text_deltas".to_owned(), json!(deltas));
    out.insert("reasoning_text".to_owned(), json!(reasoning));
    out.insert("refusal".to_owned(), json!(refusal));
    // Clients put them where their numbers say, whichever began first.
    calls.sort_by_key(|(number, ..)| *number);
    let calls = calls.into_iter().map(|(_, mut call, arguments)| {
        // Nothing is an empty object.
        let arguments = if arguments.is_empty() {
            "{}".to_owned()
        } else {
            arguments
        };
        set(&mut call, "arguments", json!(arguments));
        call
    });
    out.insert("tool_calls".to_owned(), calls.collect());
    finish(end.as_ref(), &mut out);
    if let StreamEnd::Failed(fault) = &streamed.end {
        let error = json!({"class": fault.class.label(), "code": fault.words.code, "message": fault.words.message, "after_text": text});
        out.insert("stream_error".to_owned(), error);
        out.insert("status".to_owned(), json!("failed"));
    }
    out
}

/// A failure.
pub(crate) fn of_fault(fault: &Fault, fixture: &Fixture) -> Map<String, Value> {
    let wait = fault.hints.wait(fixture.at().as_seconds());
    let error = json!({
        // What came under a status of success has no other.
        "status": fault.status.or(fixture.response().ok().map(|response| response.status)),
        "class": fault.class.label(),
        "code": fault.words.code,
        "type": fault.words.kind(),
        "message": fault.words.message,
        "param": fault.words.param,
        "request_id": fault.words.request_id(),
        "retryable": fault.is_retryable(),
        "retry_after_s": wait.map(|wait| wait.as_secs_f64()),
    });
    let mut out = Map::from_iter([
        ("error".to_owned(), error),
        ("images".to_owned(), json!([])),
        ("status".to_owned(), json!("failed")),
    ]);
    match fault.class {
        FaultClass::Transport => {}
        FaultClass::NotFound => drop(out.insert("job_status".to_owned(), json!("unknown"))),
        _ => drop(out.insert("job_status".to_owned(), json!("failed"))),
    }
    out
}

/// A job that is not done.
pub(crate) fn of_step(step: &Step) -> Map<String, Value> {
    let mut out = step.state.as_object().cloned().unwrap_or_default();
    out.insert("images".to_owned(), json!([]));
    out
}

/// An answer that is no chat.
pub(crate) fn of_answer(decoded: Decoded) -> Result<Map<String, Value>, String> {
    let counted = decoded.usage;
    let (body, content_type) = decoded.answer.into_body();
    let mut out = Map::new();
    out.insert("content_type".to_owned(), json!(content_type));
    if !content_type.starts_with("application/json") {
        let text = std::str::from_utf8(&body)
            .ok()
            .filter(|_| !["audio/", "image/"].iter().any(|kind| content_type.starts_with(kind)));
        out.insert("audio_base64".to_owned(), json!(STANDARD.encode(&body)));
        out.extend(text.map(|text| ("text".to_owned(), json!(text))));
        return Ok(out);
    }
    let mut answer: Map<String, Value> = serde_json::from_slice(&body).map_err(|error| error.to_string())?;
    if let Some(usage) = answer.remove("usage") {
        let number = |names: [&str; 2]| names.iter().find_map(|name| usage.get(*name)).cloned();
        let usage = json!({
            "input_tokens": number(["prompt_tokens", "input_tokens"]),
            "output_tokens": number(["completion_tokens", "output_tokens"]),
            "total_tokens": number(["total_tokens", "total_tokens"]),
            "search_units": number(["search_units", "search_units"]),
        });
        out.insert("usage".to_owned(), usage);
    }
    if let Some(duration) = answer.get("duration").and_then(Value::as_f64) {
        out.insert("duration_s".to_owned(), json!(duration));
    } else if let Some(counted) = counted.filter(|counted| counted.audio_ms > 0) {
        let millis = u32::try_from(counted.audio_ms).unwrap_or(u32::MAX);
        out.insert("duration_s".to_owned(), json!(f64::from(millis) / 1000.0));
    }
    out.insert("job_status".to_owned(), json!("done"));
    out.extend(lists(&answer)?);
    for (name, value) in answer {
        out.entry(name).or_insert(value);
    }
    Ok(out)
}

/// The lists of an answer, element by element.
fn lists(answer: &Map<String, Value>) -> Result<Map<String, Value>, String> {
    let mut out = Map::new();
    let list = |name: &str| answer.get(name).and_then(Value::as_array);
    if let Some(data) = list("data") {
        let mut data: Vec<&Value> = data.iter().collect();
        data.sort_by_key(|element| element.get("index").and_then(Value::as_u64));
        if data.iter().all(|element| element.get("embedding").is_some()) {
            let vectors = data
                .iter()
                .map(|element| vector(element.get("embedding").unwrap_or(&Value::Null)));
            out.insert("vectors".to_owned(), vectors.collect::<Result<Vec<_>, _>>()?.into());
        } else {
            let image = |element: &&Value| json!({"url": element.get("url"), "base64": element.get("b64_json")});
            out.insert("images".to_owned(), data.iter().map(image).collect());
        }
    }
    if let Some(lines) = list("lines") {
        out.insert("lines".to_owned(), lines.iter().map(line).collect());
    }
    if let Some(image) = answer.get("image") {
        out.insert("image".to_owned(), rename(image.clone()));
    }
    if let Some(faces) = list("faces") {
        out.insert("faces".to_owned(), faces.iter().map(face).collect());
    }
    if let Some(results) = list("results") {
        let result = |element: &Value| {
            let mut element = element.clone();
            if let Some(score) = element.get("relevance_score").cloned() {
                set(&mut element, "score", score);
            }
            if let (Some(categories), Some(scores)) = (
                element.get("categories").cloned(),
                element.get("category_scores").cloned(),
            ) {
                let flagged = categories
                    .as_object()
                    .into_iter()
                    .flatten()
                    .filter(|(_, flagged)| **flagged == json!(true));
                let flagged = flagged.map(|(name, _)| json!(name)).collect();
                set(&mut element, "flagged_categories", flagged);
                set(&mut element, "scores", scores);
            }
            element
        };
        out.insert("results".to_owned(), results.iter().map(result).collect());
        // One text was judged.
        if let [only] = results.as_slice() {
            for name in ["flagged", "verdict", "reasons"] {
                out.extend(only.get(name).map(|value| (name.to_owned(), value.clone())));
            }
        }
    }
    Ok(out)
}

fn vector(embedding: &Value) -> Result<Value, String> {
    let Value::String(text) = embedding else {
        return Ok(embedding.clone());
    };
    let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
    let numbers = bytes.chunks_exact(4).map(|bytes| {
        let bytes: [u8; 4] = bytes.try_into().unwrap_or_default();
        json!(f64::from(f32::from_le_bytes(bytes)))
    });
    Ok(numbers.collect())
}

/// Sets a member of what is an object.
fn set(value: &mut Value, name: &str, to: Value) {
    if let Some(members) = value.as_object_mut() {
        members.insert(name.to_owned(), to);
    }
}

fn line(line: &Value) -> Value {
    let mut line = line.clone();
    let around = line.get("box").cloned();
    let around = around.unwrap_or_else(|| bounds(line.get("polygon").unwrap_or(&Value::Null)));
    set(&mut line, "box", rename(around));
    line
}

/// The box around a polygon.
fn bounds(polygon: &Value) -> Value {
    let along = |axis: usize| -> Option<(f64, f64)> {
        let corners = polygon
            .as_array()?
            .iter()
            .filter_map(|corner| corner.get(axis)?.as_f64());
        corners.fold(None, |bounds, at| match bounds {
            None => Some((at, at)),
            Some((least, most)) => Some((f64::min(least, at), f64::max(most, at))),
        })
    };
    match (along(0), along(1)) {
        (Some(x), Some(y)) => json!({"x": x.0, "y": y.0, "width": x.1 - x.0, "height": y.1 - y.0}),
        _ => Value::Null,
    }
}

fn face(face: &Value) -> Value {
    let mut face = face.clone();
    let around = face.get("box").cloned().unwrap_or(Value::Null);
    set(&mut face, "box", rename(around));
    if let Some(attributes) = face.get("attributes").and_then(Value::as_object).cloned() {
        for (name, value) in attributes {
            set(&mut face, &name, value);
        }
    }
    face
}

fn rename(mut bounds: Value) -> Value {
    if let Some(members) = bounds.as_object_mut() {
        for (long, short) in [("width", "w"), ("height", "h")] {
            if let Some(value) = members.remove(long) {
                members.insert(short.to_owned(), value);
            }
        }
    }
    bounds
}
