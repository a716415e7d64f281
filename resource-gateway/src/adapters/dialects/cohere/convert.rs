//! Neutral chat as Cohere's objects, and back.

use serde_json::{Map, Value, json};

use super::super::support::named_tool;
use super::wire::{Content, Document, Image, Message, Part, Reply, Request, SaidCall};
use crate::domain::{
    chat::{
        self, ChatReply, ChatRequest, Choice, Counts, Finish, FinishReason, Format, PartKind, Reasoning, Role, Thought,
        Tool, ToolChoice, ToolUse,
    },
    fault::{Fault, FaultClass, PublicError},
};

/// Writes a request.
pub(super) fn request<'a>(request: &'a ChatRequest<'_>, model: &'a str) -> Result<Request<'a>, PublicError> {
    let mut beside = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            beside.insert(name.to_owned(), value);
        }
    };
    let numbers = [
        ("temperature", &request.temperature),
        ("p", &request.top_p),
        ("k", &request.top_k),
        ("seed", &request.seed),
        ("presence_penalty", &request.presence_penalty),
        ("frequency_penalty", &request.frequency_penalty),
    ];
    for (name, number) in numbers {
        set(name, number.clone().map(Value::Number));
    }
    set("max_tokens", request.max_tokens.map(Value::from));
    set(
        "stop_sequences",
        (!request.stop.is_empty()).then(|| json!(request.stop)),
    );
    set("response_format", request.format.as_ref().map(format));
    set("thinking", request.reasoning.as_ref().and_then(thinking));
    // There is no word for one tool of several: it is the only one that is offered.
    let (tools, choice): (Vec<&Tool<'_>>, _) = match &request.tool_choice {
        Some(ToolChoice::Named(name)) => (vec![named_tool(request, name)?], Some("REQUIRED")),
        Some(ToolChoice::Required) => (request.tools.iter().collect(), Some("REQUIRED")),
        Some(ToolChoice::None) => (request.tools.iter().collect(), Some("NONE")),
        Some(ToolChoice::Auto) | None => (request.tools.iter().collect(), None),
    };
    set("tool_choice", choice.map(Value::from));
    // One word for all of them.
    let strict = tools.iter().any(|tool| tool.strict == Some(true));
    set("strict_tools", strict.then_some(Value::Bool(true)));
    set(
        "tools",
        (!tools.is_empty()).then(|| tools.into_iter().map(tool).collect()),
    );
    // What was said in OpenAI's words stays.
    for (name, value) in &request.options {
        beside.entry(name).or_insert_with(|| value.clone());
    }
    Ok(Request {
        model,
        stream: request.stream,
        messages: request.messages.iter().map(message).collect(),
        beside,
    })
}

fn message<'a>(message: &'a chat::Message<'_>) -> Message<'a> {
    let thoughts = message.thoughts.iter().filter_map(|thought| match thought {
        Thought::Text { text, .. } => Some(text.as_ref()),
        Thought::Redacted(_) => None,
    });
    let plan: String = thoughts.collect();
    let content = match &message.content {
        chat::Content::None => message.refusal.as_deref().map(Content::Text),
        chat::Content::Text(text) => Some(Content::Text(text)),
        chat::Content::Parts(parts) => {
            let parts = parts.iter().filter_map(|each| part(&each.kind, message.role));
            Some(Content::Parts(parts.collect()))
        }
    };
    Message {
        role: match message.role {
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        },
        content,
        // What it thought before it called goes back with the calls; other thoughts have no place.
        tool_plan: Some(plan).filter(|plan| !plan.is_empty() && !message.tool_calls.is_empty()),
        tool_calls: message.tool_calls.iter().map(tool_call).collect(),
        tool_call_id: message.tool_call_id.as_deref(),
    }
}

/// Parts of a tool's answer are documents, of which each can be cited. Sound and files were refused before.
fn part<'a>(part: &'a PartKind<'_>, role: Role) -> Option<Part<'a>> {
    match part {
        PartKind::Text(text) if role == Role::Tool => {
            let data: Value = serde_json::from_str(text).unwrap_or_default();
            let data = if data.is_object() { data } else { json!(text) };
            Some(Part::Document {
                document: Document { data },
            })
        }
        PartKind::Text(text) => Some(Part::Text { text }),
        PartKind::Image { source, detail } => Some(Part::ImageUrl {
            image_url: Image {
                url: source.to_url(),
                detail: detail.as_deref(),
            },
        }),
        PartKind::Audio { .. } | PartKind::Document { .. } => None,
    }
}

fn tool_call(call: &ToolUse<'_>) -> Value {
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
}

fn tool(tool: &Tool<'_>) -> Value {
    let mut function = Map::from_iter([("name".to_owned(), json!(tool.name))]);
    if let Some(description) = &tool.description {
        function.insert("description".to_owned(), json!(description));
    }
    if let Some(parameters) = &tool.parameters {
        function.insert("parameters".to_owned(), parameters.value());
    }
    json!({"type": "function", "function": function})
}

fn format(format: &Format<'_>) -> Value {
    match format {
        Format::Text => json!({"type": "text"}),
        Format::JsonObject => json!({"type": "json_object"}),
        Format::JsonSchema { schema, .. } => json!({"type": "json_object", "json_schema": schema}),
    }
}

/// It thinks or it does not; degrees have no words.
fn thinking(reasoning: &Reasoning<'_>) -> Option<Value> {
    let off = reasoning.enabled == Some(false) || reasoning.effort.as_deref() == Some("none");
    match (off, reasoning.budget) {
        (true, _) => Some(json!({"type": "disabled"})),
        (false, Some(budget)) => Some(json!({"type": "enabled", "token_budget": budget})),
        (false, None) => {
            let on = reasoning.enabled.is_some() || reasoning.effort.is_some();
            on.then(|| json!({"type": "enabled"}))
        }
    }
}

/// Reads a whole answer.
pub(super) fn reply(reply: Reply) -> ChatReply {
    let said = reply.message;
    let mut choice = Choice {
        finish: reply.finish_reason.map(|word| finish(&word)),
        tool_calls: said.tool_calls.unwrap_or_default().into_iter().map(tool_use).collect(),
        ..Choice::default()
    };
    let mut thought = said.tool_plan.unwrap_or_default();
    for part in said.content.unwrap_or_default() {
        thought.push_str(part.thinking.as_deref().unwrap_or_default());
        if let Some(text) = part.text {
            choice.text.get_or_insert_default().push_str(&text);
        }
    }
    if !thought.is_empty() {
        choice.thoughts.push(Thought::Text {
            text: thought.into(),
            signature: None,
        });
    }
    ChatReply {
        id: reply.id,
        model: None,
        created: None,
        choices: vec![choice],
        counts: reply.usage.map(Counts::from),
    }
}

fn tool_use(call: SaidCall) -> ToolUse<'static> {
    let function = call.function.unwrap_or_default();
    ToolUse {
        id: call.id.filter(|id| !id.is_empty()).map(Into::into),
        name: function.name.unwrap_or_default().into(),
        arguments: function.arguments.unwrap_or_default().into(),
        signature: None,
    }
}

pub(super) fn finish(word: &str) -> Finish {
    let reason = match word {
        "COMPLETE" | "STOP_SEQUENCE" => FinishReason::Stop,
        "MAX_TOKENS" => FinishReason::Length,
        "TOOL_CALL" => FinishReason::ToolCalls,
        _ => FinishReason::Other,
    };
    Finish::new(word, reason)
}

/// The answer is none.
pub(super) fn unreadable() -> Fault {
    Fault::of(FaultClass::InvalidReply)
}
