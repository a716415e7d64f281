//! Ollama: its messages are almost the callers' own, its settings stand in `options`.

use resource_gateway::domain::{chat::named_call, interface::Capability, vendor::Vendor};
use serde_json::{Map, Value, json};

use super::openai;
use crate::suite::{Errand, Fixture, Suite};

pub(crate) fn play(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let path = fixture
        .request()
        .get("path")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut vendor = openai::vendor(fixture, "ollama")?;
    let params = fixture.params();
    let mut errand = match path {
        "/api/tags" => return suite.models(fixture, vendor, None),
        "/api/embed" => embeddings(vendor, &params),
        "/api/generate" => {
            vendor.options.insert("api".to_owned(), "generate".to_owned());
            chat(vendor, &params, prompt(&params))
        }
        _ => chat(vendor, &params, messages(&params)),
    };
    errand.tolerances = tolerances;
    suite.call(fixture, errand)
}

/// The SDK sends a list of no tools; `null` is as good as nothing.
fn tolerances(body: &mut Value) {
    let Some(members) = body.as_object_mut() else { return };
    members.retain(|name, value| !value.is_null() && (name != "tools" || *value != json!([])));
}

fn model(params: &Value) -> &str {
    params.get("model").and_then(Value::as_str).unwrap_or_default()
}

fn members(params: &Value) -> impl Iterator<Item = (&String, &Value)> {
    let members = params.as_object().into_iter().flatten();
    members.filter(|(_, value)| !value.is_null())
}

fn embeddings(vendor: Vendor, params: &Value) -> Errand {
    let body = members(params).filter(|(name, _)| *name != "model");
    let body: Map<_, _> = body.map(|(name, value)| (name.clone(), value.clone())).collect();
    Errand::json(vendor, Capability::Embeddings, model(params), body.into())
}

fn picture(image: &Value) -> Value {
    let data = image.get("base64").unwrap_or(image).as_str().unwrap_or_default();
    json!({"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{data}")}})
}

/// A text, with the pictures that go with it.
fn content(text: Option<&Value>, images: Option<&Value>) -> Value {
    let images = images.and_then(Value::as_array).into_iter().flatten();
    let images: Vec<_> = images.map(picture).collect();
    match (text, images.as_slice()) {
        (None, []) => Value::Null,
        (Some(text), []) => text.clone(),
        (text, images) => {
            let text = text.map(|text| json!({"type": "text", "text": text}));
            text.into_iter().chain(images.iter().cloned()).collect()
        }
    }
}

/// Of a prompt and what is said before it.
fn prompt(params: &Value) -> Vec<Value> {
    let system = params.get("system").filter(|system| !system.is_null());
    let system = system.map(|system| json!({"role": "system", "content": system}));
    let asked = content(params.get("prompt"), params.get("images"));
    system
        .into_iter()
        .chain([json!({"role": "user", "content": asked})])
        .collect()
}

fn messages(params: &Value) -> Vec<Value> {
    let mut calls = Vec::new();
    let messages = params.get("messages").and_then(Value::as_array).into_iter().flatten();
    messages.map(|message| self::message(message, &mut calls)).collect()
}

/// Callers have a name for every call; answers find theirs by the name of the function.
fn message(message: &Value, calls: &mut Vec<(Value, String)>) -> Value {
    let mut out = Map::new();
    for (name, value) in members(message) {
        match name.as_str() {
            "content" | "images" => {}
            "thinking" => drop(out.insert("reasoning_content".to_owned(), value.clone())),
            "tool_name" => {
                let waits = calls.iter().position(|(name, _)| name == value);
                if let Some((_, id)) = waits.map(|at| calls.remove(at)) {
                    out.insert("tool_call_id".to_owned(), json!(id));
                }
                out.insert("name".to_owned(), value.clone());
            }
            "tool_calls" => {
                let all = value.as_array().into_iter().flatten().map(|call| {
                    let name = call.pointer("/function/name").cloned().unwrap_or_default();
                    let arguments = call.pointer("/function/arguments").cloned().unwrap_or(json!({}));
                    let id = named_call(1, u32::try_from(calls.len()).unwrap_or(0));
                    calls.push((name.clone(), id.clone()));
                    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments.to_string()}})
                });
                let all: Vec<_> = all.collect();
                out.insert("tool_calls".to_owned(), all.into());
            }
            name => drop(out.insert(name.to_owned(), value.clone())),
        }
    }
    let said = message.get("content").filter(|content| !content.is_null());
    let said = content(said, message.get("images"));
    if !said.is_null() {
        out.insert("content".to_owned(), said);
    }
    out.into()
}

fn chat(vendor: Vendor, params: &Value, messages: Vec<Value>) -> Errand {
    let mut body = Map::from_iter([("messages".to_owned(), messages.into())]);
    for (name, value) in members(params) {
        match (name.as_str(), value) {
            ("options", Value::Object(options)) => settings(options, &mut body),
            ("format", Value::String(word)) if word == "json" => {
                body.insert("response_format".to_owned(), json!({"type": "json_object"}));
            }
            // Read before, or no format at all.
            ("model" | "messages" | "prompt" | "system" | "images", _) | ("format", Value::String(_)) => {}
            ("format", schema) => {
                let format = json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}});
                body.insert("response_format".to_owned(), format);
            }
            ("think", Value::String(degree)) => drop(body.insert("reasoning_effort".to_owned(), json!(degree))),
            ("think", on) => {
                let word = if *on == Value::Bool(true) {
                    "enabled"
                } else {
                    "disabled"
                };
                body.insert("thinking".to_owned(), json!({"type": word}));
            }
            (name, value) => drop(body.insert(name.to_owned(), value.clone())),
        }
    }
    Errand::json(vendor, Capability::Chat, model(params), body.into())
}

/// Settings that callers have words for, and those that are the vendor's.
fn settings(options: &Map<String, Value>, body: &mut Map<String, Value>) {
    let mut others = Map::new();
    for (name, value) in options.iter().filter(|(_, value)| !value.is_null()) {
        match name.as_str() {
            "temperature" | "top_p" | "top_k" | "seed" | "presence_penalty" | "frequency_penalty" => {
                body.insert(name.clone(), value.clone());
            }
            "stop" if value.is_array() => drop(body.insert(name.clone(), value.clone())),
            // Below zero it means something else than a bound.
            "num_predict" if value.is_u64() => drop(body.insert("max_tokens".to_owned(), value.clone())),
            _ => drop(others.insert(name.clone(), value.clone())),
        }
    }
    if !others.is_empty() {
        body.insert("options".to_owned(), others.into());
    }
}
