//! Neutral chat as Ollama's objects, and back.

use std::{borrow::Cow, collections::HashMap};

use serde_json::{Map, Value, json};

use super::wire::{Asked, Message, Reply, Request, SaidCall};
use crate::{
    adapters::dialects::support,
    domain::{
        chat::{
            self, ChatReply, ChatRequest, Choice, Content, Finish, FinishReason, Format, PartKind, Reasoning, Role,
            Source, Thought, ToolUse, arguments_object,
        },
        fault::{Fault, FaultClass, PublicError},
    },
};

/// What of the vendor's own members stands beside `options`, which has all others.
const BESIDE: [&str; 6] = ["context", "keep_alive", "shift", "suffix", "think", "truncate"];
pub(super) const OPTIONS: &str = "options";

/// Writes a request for `/api/chat`.
pub(super) fn chat<'a>(request: &'a ChatRequest<'_>, model: &'a str) -> Request<'a> {
    // Answers of tools name the function, not the call.
    let mut names: HashMap<&str, &str> = HashMap::new();
    let messages = request.messages.iter().map(|message| {
        for call in &message.tool_calls {
            if let Some(id) = &call.id {
                names.insert(id, &call.name);
            }
        }
        let called = message.tool_call_id.as_deref().and_then(|id| names.get(id).copied());
        self::message(message, called)
    });
    let asked = Asked::Chat {
        messages: messages.collect(),
        tools: request.tools.iter().map(tool).collect(),
    };
    with(request, model, asked)
}

/// Writes a request for `/api/generate`, which completes one prompt.
///
/// # Errors
/// There is more than one.
pub(super) fn generate<'a>(request: &'a ChatRequest<'_>, model: &'a str) -> Result<Request<'a>, PublicError> {
    let (mut system, mut asked) = (Vec::new(), None);
    if !request.tools.is_empty() {
        return Err(support::unsupported("tools"));
    }
    for (at, message) in request.messages.iter().enumerate() {
        match message.role {
            role if role.instructs() => system.push(message.content.text("\n")),
            Role::User if asked.is_none() => asked = Some(&message.content),
            _ => return Err(support::unsupported(&format!("messages[{at}]"))),
        }
    }
    let asked = Asked::Generate {
        prompt: asked.map(|content| content.text("\n")).unwrap_or_default(),
        system: (!system.is_empty()).then(|| system.join("\n\n")),
        images: asked.map(images).unwrap_or_default(),
    };
    Ok(with(request, model, asked))
}

fn with<'a>(request: &'a ChatRequest<'_>, model: &'a str, asked: Asked<'a>) -> Request<'a> {
    let mut options = Map::new();
    let numbers = [
        ("temperature", &request.temperature),
        ("top_p", &request.top_p),
        ("top_k", &request.top_k),
        ("seed", &request.seed),
        ("presence_penalty", &request.presence_penalty),
        ("frequency_penalty", &request.frequency_penalty),
    ];
    for (name, number) in numbers {
        if let Some(number) = number {
            options.insert(name.to_owned(), number.clone().into());
        }
    }
    if let Some(most) = request.max_tokens {
        options.insert("num_predict".to_owned(), most.into());
    }
    if !request.stop.is_empty() {
        options.insert("stop".to_owned(), json!(request.stop));
    }
    let mut beside = Map::new();
    for (name, value) in &request.options {
        match (name.as_str(), value) {
            // What was said in OpenAI's words stays.
            (OPTIONS, Value::Object(members)) => {
                for (name, value) in members {
                    options.entry(name).or_insert_with(|| value.clone());
                }
            }
            (name, value) if BESIDE.contains(&name) => drop(beside.insert(name.to_owned(), value.clone())),
            (name, value) => drop(options.entry(name).or_insert_with(|| value.clone())),
        }
    }
    let think = request.reasoning.as_ref().and_then(think);
    if think.is_some() {
        beside.remove("think");
    }
    Request {
        model,
        stream: request.stream,
        asked,
        format: request.format.as_ref().and_then(format),
        think,
        options,
        beside,
    }
}

fn message<'a>(message: &'a chat::Message<'_>, called: Option<&'a str>) -> Message<'a> {
    let content = match &message.content {
        Content::None => message.refusal.as_deref().map(Cow::Borrowed),
        content => Some(content.text("\n")),
    };
    let thoughts = message.thoughts.iter().filter_map(|thought| match thought {
        Thought::Text { text, .. } => Some(text.as_ref()),
        Thought::Redacted(_) => None,
    });
    let thinking: String = thoughts.collect();
    let is_answer = message.role == Role::Tool;
    Message {
        role: match message.role {
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        },
        content,
        images: images(&message.content),
        thinking: Some(thinking).filter(|thinking| !thinking.is_empty()),
        tool_calls: message.tool_calls.iter().map(tool_call).collect(),
        tool_name: called.or(message.name.as_deref()).filter(|_| is_answer),
    }
}

/// Pictures that are there: those behind URLs were brought before.
fn images<'a>(content: &'a Content<'_>) -> Vec<&'a str> {
    let Content::Parts(parts) = content else {
        return Vec::new();
    };
    let images = parts.iter().filter_map(|part| match &part.kind {
        PartKind::Image {
            source: Source::Base64 { data, .. },
            ..
        } => Some(data.as_ref()),
        _ => None,
    });
    images.collect()
}

fn tool_call(call: &ToolUse<'_>) -> Value {
    // Models write what is no object, and callers send it back: it is shown as it was.
    let arguments = arguments_object(&call.arguments);
    let arguments = arguments.unwrap_or_else(|| Map::from_iter([("arguments".to_owned(), json!(call.arguments))]));
    json!({"function": {"name": call.name, "arguments": arguments}})
}

fn tool(tool: &chat::Tool<'_>) -> Value {
    let mut function = Map::from_iter([("name".to_owned(), json!(tool.name))]);
    if let Some(description) = &tool.description {
        function.insert("description".to_owned(), json!(description));
    }
    if let Some(parameters) = &tool.parameters {
        function.insert("parameters".to_owned(), parameters.value());
    }
    json!({"type": "function", "function": function})
}

fn format(format: &Format<'_>) -> Option<Value> {
    match format {
        Format::Text => None,
        Format::JsonObject => Some(json!("json")),
        Format::JsonSchema { schema, .. } => Some(schema.clone()),
    }
}

/// Yes, no, or one of three degrees.
fn think(reasoning: &Reasoning<'_>) -> Option<Value> {
    match (reasoning.enabled, reasoning.effort.as_deref()) {
        (Some(false), _) | (_, Some("none")) => Some(json!(false)),
        (_, Some(effort @ ("low" | "medium" | "high"))) => Some(json!(effort)),
        (_, Some("minimal")) => Some(json!("low")),
        (_, Some(_)) => Some(json!("high")),
        (Some(true), None) => Some(json!(true)),
        (None, None) => reasoning.budget.map(|_| json!(true)),
    }
}

/// Reads a whole answer.
pub(super) fn reply(mut reply: Reply) -> Result<ChatReply, Fault> {
    let said = reply.said().ok_or_else(|| Fault::of(FaultClass::InvalidReply))?;
    let calls = said.tool_calls.unwrap_or_default();
    let thought = said.thinking.filter(|text| !text.is_empty());
    let choice = Choice {
        text: said.content,
        thoughts: thought
            .map(|text| Thought::Text {
                text: text.into(),
                signature: None,
            })
            .into_iter()
            .collect(),
        finish: Some(finish(reply.done_reason.as_deref(), !calls.is_empty())),
        tool_calls: calls.into_iter().map(tool_use).collect(),
        ..Choice::default()
    };
    Ok(ChatReply {
        id: None,
        counts: reply.counts(),
        model: reply.model,
        created: None,
        choices: vec![choice],
    })
}

pub(super) fn tool_use(call: SaidCall) -> ToolUse<'static> {
    let arguments = match call.function.arguments {
        Value::Null => "{}".to_owned(),
        Value::String(text) => text,
        object => object.to_string(),
    };
    ToolUse {
        id: call.id.filter(|id| !id.is_empty()).map(Into::into),
        name: call.function.name.into(),
        arguments: arguments.into(),
        signature: None,
    }
}

/// Calls of tools are a normal stop for the vendor, and older servers do not say why they stopped.
pub(super) fn finish(word: Option<&str>, calls: bool) -> Finish {
    let word = word.unwrap_or("stop");
    let reason = match word {
        "stop" if calls => FinishReason::ToolCalls,
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        _ => FinishReason::Other,
    };
    Finish::new(word, reason)
}
