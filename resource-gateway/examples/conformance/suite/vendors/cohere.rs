//! Cohere: the callers' words under names of its own.

use resource_gateway::domain::{interface::Capability, vendor::Vendor};
use serde_json::{Map, Value, json};

use super::openai;
use crate::suite::{Errand, Fixture, Suite};

pub(crate) fn play(fixture: &Fixture, suite: &Suite) -> Result<(), String> {
    let path = fixture
        .request()
        .get("path")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let vendor = openai::vendor(fixture, "cohere")?;
    let params = fixture.params();
    let errand = match path {
        "/v2/chat" => renamed(vendor, Capability::Chat, &params, chat),
        "/v2/embed" => renamed(vendor, Capability::Embeddings, &params, |name, value| match name {
            "texts" => ("input".to_owned(), value.clone()),
            "output_dimension" => ("dimensions".to_owned(), value.clone()),
            name => (name.to_owned(), value.clone()),
        }),
        "/v2/rerank" => renamed(vendor, Capability::Rerank, &params, |name, value| {
            (name.to_owned(), value.clone())
        }),
        path => return Err(format!("nothing is known of {path}")),
    };
    suite.call(fixture, errand)
}

fn renamed(
    vendor: Vendor,
    capability: Capability,
    params: &Value,
    rename: impl Fn(&str, &Value) -> (String, Value),
) -> Errand {
    let model = params.get("model").and_then(Value::as_str).unwrap_or_default();
    let members = params.as_object().into_iter().flatten();
    let members = members.filter(|(name, value)| *name != "model" && !value.is_null());
    let body: Map<_, _> = members.map(|(name, value)| rename(name, value)).collect();
    Errand::json(vendor, capability, model, body.into())
}

fn chat(name: &str, value: &Value) -> (String, Value) {
    let (name, value) = match name {
        "p" => ("top_p", value.clone()),
        "k" => ("top_k", value.clone()),
        "stop_sequences" => ("stop", value.clone()),
        "messages" => ("messages", messages(value)),
        "response_format" => ("response_format", format(value)),
        "tool_choice" => (name, json!(value.as_str().unwrap_or_default().to_ascii_lowercase())),
        "thinking" => ("thinking", thinking(value)),
        name => (name, value.clone()),
    };
    (name.to_owned(), value)
}

fn format(format: &Value) -> Value {
    match format.get("json_schema").or_else(|| format.get("schema")) {
        Some(schema) => json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}),
        None => format.clone(),
    }
}

fn thinking(thinking: &Value) -> Value {
    match thinking.get("token_budget") {
        Some(budget) => json!({"type": thinking.get("type"), "budget_tokens": budget}),
        None => thinking.clone(),
    }
}

fn messages(messages: &Value) -> Value {
    let messages = messages.as_array().into_iter().flatten();
    messages.map(message).collect()
}

fn message(message: &Value) -> Value {
    let members = message.as_object().into_iter().flatten();
    let members = members.filter(|(_, value)| !value.is_null());
    let members = members.map(|(name, value)| match (name.as_str(), value) {
        ("tool_plan", plan) => ("reasoning_content".to_owned(), plan.clone()),
        ("content", Value::Array(parts)) => (name.clone(), parts.iter().map(part).collect()),
        _ => (name.clone(), value.clone()),
    });
    Value::Object(members.collect())
}

/// Documents that a tool found are texts for a caller.
fn part(part: &Value) -> Value {
    match part.pointer("/document/data") {
        Some(Value::String(text)) => json!({"type": "text", "text": text}),
        Some(data) => json!({"type": "text", "text": data.to_string()}),
        None => part.clone(),
    }
}
