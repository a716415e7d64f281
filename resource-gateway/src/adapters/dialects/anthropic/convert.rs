//! From neutral words to Anthropic's.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};

use super::wire::{Block, BlockKind, Content, Metadata, Request, Source, Thinking, Tool, ToolChoice, Turn};
use crate::{
    adapters::dialects::{call_ids, writing::Arguments},
    domain::{
        chat::{
            self, ChatRequest, Format, Message, Part, PartKind, Reasoning, Role, Said, Schema, Thought, ToolUse,
            made_up_id, proofs,
        },
        fault::PublicError,
    },
};

/// Members that are written here, whatever a caller sends by the vendor's own names: nobody gets around what was read and ruled.
const OURS: [&str; 15] = [
    "model",
    "max_tokens",
    "system",
    "messages",
    "stop_sequences",
    "temperature",
    "top_p",
    "top_k",
    "tools",
    "tool_choice",
    "metadata",
    "thinking",
    "output_config",
    "service_tier",
    "stream",
];

type Wrong = PublicError;

/// The request. `max_tokens` is what an answer may have where the caller does not say.
pub(super) fn request<'a>(from: &'a ChatRequest<'_>, model: &'a str, max_tokens: u64) -> Result<Request<'a>, Wrong> {
    for name in from.options.keys().filter(|name| *name != "output_config") {
        if OURS.contains(&name.as_str()) {
            let message = format!("The field '{name}' has another name here.");
            return Err(PublicError::invalid(Some(name), "invalid_value", message));
        }
    }
    let (thinking, effort) = thinking(from.reasoning.as_ref());
    let budget = thinking.as_ref().and_then(|thinking| thinking.budget_tokens);
    let mut options = from.options.clone();
    let mut output_config = match options.remove("output_config") {
        Some(Value::Object(own)) => own,
        Some(Value::Null) | None => Map::new(),
        Some(_) => return Err(wrong("output_config", "must be an object")),
    };
    if let Some(effort) = effort {
        output_config.insert("effort".to_owned(), effort.into());
    }
    if let Some(Format::JsonSchema { schema, .. }) = &from.format {
        let format = json!({"type": "json_schema", "schema": schema});
        output_config.insert("format".to_owned(), format);
    }
    Ok(Request {
        model,
        // What is thought counts as output, and has to leave room for an answer.
        max_tokens: from
            .max_tokens
            .unwrap_or_else(|| max_tokens.saturating_add(budget.unwrap_or(0))),
        system: system(&from.messages)?,
        messages: turns(&from.messages)?,
        stop_sequences: &from.stop,
        temperature: from.temperature.as_ref(),
        top_p: from.top_p.as_ref(),
        top_k: from.top_k.as_ref(),
        tools: from.tools.iter().map(tool).collect(),
        tool_choice: tool_choice(from)?,
        metadata: from.user.as_ref().map(|user_id| Metadata { user_id }),
        thinking,
        output_config,
        service_tier: service_tier(from)?,
        stream: from.stream,
        options,
    })
}

/// OpenAI's `default` is what Anthropic calls by another name; the tiers that one of them has not got are refused.
fn service_tier<'a>(from: &'a ChatRequest<'_>) -> Result<Option<&'a str>, Wrong> {
    match from.openai.get("service_tier") {
        None => Ok(None),
        Some(tier) => match tier.as_str() {
            Some("default") => Ok(Some("standard_only")),
            Some(tier @ ("auto" | "standard_only")) => Ok(Some(tier)),
            _ => Err(wrong("service_tier", "can be auto or default for this provider")),
        },
    }
}

/// What thinks, and how hard it tries. A caller who only says how hard wants it to think; the vendor finds out how much.
fn thinking<'a>(reasoning: Option<&'a Reasoning<'_>>) -> (Option<Thinking<'a>>, Option<&'a str>) {
    let Some(reasoning) = reasoning else {
        return (None, None);
    };
    let effort = match reasoning.effort.as_deref() {
        // Not less than this.
        Some("minimal") => Some("low"),
        other => other,
    };
    let display = reasoning.display.as_deref();
    let of = |kind, budget_tokens| Thinking {
        kind,
        budget_tokens,
        display,
    };
    match (reasoning.enabled, reasoning.budget) {
        (Some(false), _) => (Some(of("disabled", None)), effort.filter(|effort| *effort != "none")),
        (_, Some(budget)) => (
            Some(of("enabled", Some(budget))),
            effort.filter(|effort| *effort != "none"),
        ),
        (_, None) if effort == Some("none") => (Some(of("disabled", None)), None),
        (Some(true), None) => (Some(of("adaptive", None)), effort),
        (None, None) if reasoning.open => (None, effort),
        (None, None) => (effort.map(|_| of("adaptive", None)), effort),
    }
}

/// What instructs stands apart, wherever it stood among the messages.
fn system<'a>(messages: &'a [Message<'_>]) -> Result<Option<Content<'a>>, Wrong> {
    let all: Vec<_> = (0..)
        .zip(messages)
        .filter(|(_, message)| message.role.instructs())
        .collect();
    if let [(_, only)] = all.as_slice()
        && let chat::Content::Text(text) = &only.content
    {
        return Ok((!text.is_empty()).then_some(Content::Text(text)));
    }
    let mut blocks = Vec::new();
    for (at, message) in all {
        if !message.content.is_text_only() {
            return Err(wrong(
                &format!("messages[{at}].content"),
                "can only be text for this provider",
            ));
        }
        push_content(&message.content, &mut blocks);
    }
    Ok((!blocks.is_empty()).then_some(Content::Blocks(blocks)))
}

/// Users and the assistant take turns; what tools answered is said by the user, before whatever else it says.
fn turns<'a>(messages: &'a [Message<'_>]) -> Result<Vec<Turn<'a>>, Wrong> {
    let mut turns: Vec<Turn<'a>> = Vec::with_capacity(messages.len());
    // Whether the last turn holds results of tools and nothing else yet.
    let mut answering = false;
    for (at, message) in messages.iter().enumerate() {
        match message.role {
            Role::System | Role::Developer => {}
            Role::Tool => {
                let result = tool_result(message, at)?;
                match turns.last_mut() {
                    Some(Turn {
                        content: Content::Blocks(blocks),
                        ..
                    }) if answering => blocks.push(result),
                    _ => turns.push(Turn {
                        role: "user",
                        content: Content::Blocks(vec![result]),
                    }),
                }
                answering = true;
            }
            Role::User => {
                match turns.last_mut() {
                    Some(Turn {
                        content: Content::Blocks(blocks),
                        ..
                    }) if answering => push_content(&message.content, blocks),
                    // Nothing was said.
                    _ => match content(&message.content) {
                        Some(content) => turns.push(Turn { role: "user", content }),
                        None => continue,
                    },
                }
                answering = false;
            }
            Role::Assistant => {
                let Some(content) = said(message) else { continue };
                turns.push(Turn {
                    role: "assistant",
                    content,
                });
                answering = false;
            }
        }
    }
    Ok(turns)
}

/// The vendor refuses turns in which nothing is said.
fn content<'a>(from: &'a chat::Content<'_>) -> Option<Content<'a>> {
    match from {
        chat::Content::None => None,
        chat::Content::Text(text) => (!text.is_empty()).then_some(Content::Text(text)),
        chat::Content::Parts(parts) => blocks(parts.iter().filter_map(part).collect()),
    }
}

fn blocks(blocks: Vec<Block<'_>>) -> Option<Content<'_>> {
    (!blocks.is_empty()).then_some(Content::Blocks(blocks))
}

fn push_content<'a>(from: &'a chat::Content<'_>, blocks: &mut Vec<Block<'a>>) {
    match from {
        chat::Content::None => {}
        chat::Content::Text(text) => blocks.extend(text_block(text)),
        chat::Content::Parts(parts) => blocks.extend(parts.iter().filter_map(part)),
    }
}

/// The vendor refuses blocks of empty text.
fn text_block(text: &str) -> Option<Block<'_>> {
    (!text.is_empty()).then_some(Block {
        kind: BlockKind::Text { text },
        cache_control: None,
    })
}

fn part<'a>(part: &'a Part<'_>) -> Option<Block<'a>> {
    let kind = match &part.kind {
        PartKind::Text(text) if text.is_empty() => return None,
        PartKind::Text(text) => BlockKind::Text { text },
        PartKind::Image { source: from, .. } => BlockKind::Image { source: source(from) },
        PartKind::Document { source: from, name } => BlockKind::Document {
            source: text_document(from).unwrap_or_else(|| source(from)),
            title: name.as_deref(),
        },
        // Refused before: there is no sound here.
        PartKind::Audio { .. } => return None,
    };
    Some(Block {
        kind,
        cache_control: part.cache.as_ref(),
    })
}

fn source<'a>(from: &'a chat::Source<'_>) -> Source<'a> {
    match from {
        chat::Source::Base64 { media_type, data } => Source::Base64 { media_type, data },
        chat::Source::Url { url, .. } => Source::Url { url },
    }
}

/// Documents of text are sent as text.
fn text_document<'a>(from: &chat::Source<'_>) -> Option<Source<'a>> {
    let chat::Source::Base64 { media_type, data } = from else {
        return None;
    };
    if !media_type.starts_with("text/") {
        return None;
    }
    let bytes = STANDARD.decode(data.as_bytes()).ok()?;
    Some(Source::Text {
        media_type: "text/plain",
        data: String::from_utf8(bytes).ok()?,
    })
}

fn tool_result<'a>(message: &'a Message<'_>, at: usize) -> Result<Block<'a>, Wrong> {
    let id = message.tool_call_id.as_deref();
    let tool_use_id = id.ok_or_else(|| wrong(&format!("messages[{at}].tool_call_id"), "is required"))?;
    Ok(Block {
        kind: BlockKind::ToolResult {
            tool_use_id: call_ids::fit(tool_use_id),
            content: content(&message.content),
            is_error: message.is_error,
        },
        cache_control: message.cache.as_ref(),
    })
}

/// What the assistant said, if anything.
fn said<'a>(message: &'a Message<'_>) -> Option<Content<'a>> {
    let refusal = message.refusal.as_deref().filter(|text| !text.is_empty());
    if message.thoughts.is_empty() && message.tool_calls.is_empty() && refusal.is_none() {
        return content(&message.content);
    }
    let all = message.blocks().into_iter().filter_map(|said| match said {
        Said::Thought(said) => thought(said),
        Said::Text(text) => text_block(text),
        Said::Part(_, said) => part(said),
        Said::Call(call_at, call) => Some(tool_use(call, call_at)),
    });
    blocks(all.collect())
}

/// Only what this vendor has thought itself, and can prove, may come back.
fn thought<'a>(thought: &'a Thought<'_>) -> Option<Block<'a>> {
    let kind = match thought {
        Thought::Text {
            text,
            signature: Some(signature),
        } => BlockKind::Thinking {
            thinking: text,
            signature: proofs::unmarked(signature)?,
        },
        Thought::Text { signature: None, .. } => return None,
        Thought::Redacted(data) => BlockKind::RedactedThinking {
            data: proofs::unmarked(data)?,
        },
    };
    Some(Block {
        kind,
        cache_control: None,
    })
}

fn tool_use<'a>(call: &'a ToolUse<'_>, call_at: usize) -> Block<'a> {
    let id = call.id.as_deref();
    Block {
        kind: BlockKind::ToolUse {
            id: id.map_or_else(|| made_up_id(call_at).into(), call_ids::fit),
            name: &call.name,
            input: Arguments::of(&call.arguments),
        },
        cache_control: None,
    }
}

fn tool<'a>(tool: &'a chat::Tool<'_>) -> Tool<'a> {
    Tool {
        name: &tool.name,
        description: tool.description.as_deref(),
        input_schema: tool.parameters.unwrap_or(Schema::of(r#"{"type":"object"}"#)),
        strict: tool.strict,
        cache_control: tool.cache.as_ref(),
    }
}

/// The vendor refuses a choice of nothing.
fn tool_choice<'a>(from: &'a ChatRequest<'_>) -> Result<Option<ToolChoice<'a>>, Wrong> {
    if from.tools.is_empty() {
        return match &from.tool_choice {
            // Nothing can be called anyway.
            None | Some(chat::ToolChoice::Auto | chat::ToolChoice::None) => Ok(None),
            Some(_) => Err(wrong("tool_choice", "asks for a call, and there are no tools")),
        };
    }
    let one_by_one = from.parallel_tool_calls.map(|parallel| !parallel);
    let (kind, name) = match &from.tool_choice {
        Some(chat::ToolChoice::Auto) => ("auto", None),
        Some(chat::ToolChoice::None) => ("none", None),
        Some(chat::ToolChoice::Required) => ("any", None),
        Some(chat::ToolChoice::Named(name)) => ("tool", Some(name.as_ref())),
        // There is no other place to say so.
        None if one_by_one == Some(true) => ("auto", None),
        None => return Ok(None),
    };
    Ok(Some(ToolChoice {
        kind,
        name,
        // Where none may be called there is no such member.
        disable_parallel_tool_use: one_by_one.filter(|_| kind != "none"),
    }))
}

fn wrong(field: &str, why: &str) -> Wrong {
    PublicError::invalid(Some(field), "invalid_value", format!("The field '{field}' {why}."))
}
