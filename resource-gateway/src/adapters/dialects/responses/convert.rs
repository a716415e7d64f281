//! From neutral words to those of Responses.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{
    ENCRYPTED, PROBABILITIES,
    wire::{self, Content, Input, Item, Request, TextConfig},
};
use crate::domain::{
    chat::{
        self, ChatRequest, Message, Part, PartKind, Role, Schema, Source, Thought, ToolChoice, ToolUse, made_up_id,
        proofs, user_within,
    },
    fault::PublicError,
};

/// Fewer tokens are refused. Some callers ask for one to see whether anybody answers.
const LEAST_OUTPUT: u64 = 16;
/// Longer names of persons are said to be refused.
const MAX_USER_CHARS: usize = 64;
/// Members that are written here, whatever a caller sends by the vendor's own names: nobody gets around what was read and ruled.
const OURS: [&str; 7] = [
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "reasoning",
    "safety_identifier",
    "text",
];
/// Members by which a call would reach what other calls with the same key have left at the vendor, or leave something there itself.
const KEPT: [&str; 4] = ["background", "conversation", "previous_response_id", "prompt"];
/// Thinking up to so many tokens is little, and up to so many not much.
const LITTLE: u64 = 4096;
const SOME: u64 = 16384;

type Wrong = PublicError;

/// The request.
pub(super) fn request<'a>(from: &'a ChatRequest<'_>, model: &'a str) -> Result<Request<'a>, Wrong> {
    check(&from.options)?;
    let (instructions, messages) = instructions(&from.messages);
    let reasoning = reasoning(from.reasoning.as_ref());
    let mut more = from.openai.clone();
    more.remove("store");
    let verbosity = more.remove("verbosity");
    more.extend(from.options.clone());
    let mut include = Vec::new();
    // Only models that think know the word.
    if reasoning
        .as_ref()
        .is_some_and(|reasoning| reasoning.effort != Some("none"))
    {
        include.push(ENCRYPTED);
    }
    let probabilities = from.logprobs == Some(true) || from.top_logprobs.is_some();
    if probabilities {
        include.push(PROBABILITIES);
    }
    let format = from.format.as_ref().map(format);
    Ok(Request {
        model,
        instructions,
        input: input(messages)?,
        max_output_tokens: from.max_tokens.map(|most| most.max(LEAST_OUTPUT)),
        temperature: from.temperature.as_ref(),
        top_p: from.top_p.as_ref(),
        top_logprobs: from.top_logprobs,
        tools: from.tools.iter().map(tool).collect(),
        tool_choice: from.tool_choice.as_ref().map(tool_choice),
        parallel_tool_calls: from.parallel_tool_calls,
        text: (format.is_some() || verbosity.is_some()).then_some(TextConfig { format, verbosity }),
        reasoning,
        include,
        user: from.user.as_deref().map(|user| user_within(user, MAX_USER_CHARS)),
        // Whoever shares the vendor's key could read it.
        store: false,
        stream: from.stream,
        more,
    })
}

fn check(options: &Map<String, Value>) -> Result<(), Wrong> {
    for name in options.keys().map(String::as_str) {
        if OURS.contains(&name) {
            let message = format!("The field '{name}' has another name here.");
            return Err(PublicError::invalid(Some(name), "invalid_value", message));
        }
        if KEPT.contains(&name) {
            let message = format!("The field '{name}' cannot be used here: the gateway keeps no responses.");
            return Err(PublicError::invalid(Some(name), "unsupported_parameter", message));
        }
    }
    Ok(())
}

/// What instructs before anybody has spoken, and the messages behind it.
fn instructions<'m, 'a>(messages: &'m [Message<'a>]) -> (Option<&'m str>, &'m [Message<'a>]) {
    match messages {
        [first, rest @ ..] if first.role.instructs() && !rest.is_empty() => match only_text(&first.content) {
            Some(text) => (Some(text), rest),
            None => (None, messages),
        },
        _ => (None, messages),
    }
}

/// The text of a content that is one.
fn only_text<'m>(content: &'m chat::Content<'_>) -> Option<&'m str> {
    match content {
        chat::Content::Text(text) => Some(text),
        chat::Content::Parts(parts) => match parts.as_slice() {
            [
                Part {
                    kind: PartKind::Text(text),
                    ..
                },
            ] => Some(text),
            _ => None,
        },
        chat::Content::None => None,
    }
}

fn input<'a>(messages: &'a [Message<'_>]) -> Result<Input<'a>, Wrong> {
    if let [only] = messages
        && only.role == Role::User
        && let chat::Content::Text(text) = &only.content
    {
        return Ok(Input::Text(text));
    }
    let mut items = Vec::with_capacity(messages.len());
    for (at, message) in messages.iter().enumerate() {
        match message.role {
            Role::System | Role::Developer | Role::User => items.push(Item::Message {
                role: message.role.as_str(),
                content: content(&message.content),
            }),
            Role::Tool => items.push(output(message, at)?),
            Role::Assistant => said(message, &mut items),
        }
    }
    Ok(Input::Items(items))
}

fn content<'a>(from: &'a chat::Content<'_>) -> Content<'a> {
    match from {
        chat::Content::None => Content::Text(""),
        chat::Content::Text(text) => Content::Text(text),
        chat::Content::Parts(parts) => Content::Parts(parts.iter().filter_map(part).collect()),
    }
}

fn part<'a>(part: &'a Part<'_>) -> Option<wire::Part<'a>> {
    Some(match &part.kind {
        PartKind::Text(text) => wire::Part::InputText { text },
        PartKind::Image { source, detail } => wire::Part::InputImage {
            image_url: source.to_url(),
            detail: detail.as_deref(),
        },
        PartKind::Document { source, name } => {
            let (file_data, file_url) = match source {
                Source::Base64 { .. } => (Some(source.to_url()), None),
                Source::Url { url, .. } => (None, Some(url.as_ref())),
            };
            wire::Part::InputFile {
                filename: name.as_deref(),
                file_data,
                file_url,
            }
        }
        // Refused before: there is no sound here.
        PartKind::Audio { .. } => return None,
    })
}

/// What a tool answered.
fn output<'a>(message: &'a Message<'_>, at: usize) -> Result<Item<'a>, Wrong> {
    let call_id = message.tool_call_id.as_deref().ok_or_else(|| {
        let field = format!("messages[{at}].tool_call_id");
        let message = format!("The field '{field}' is required.");
        PublicError::invalid(Some(&field), "missing_required_parameter", message)
    })?;
    let output = match only_text(&message.content) {
        Some(text) => Content::Text(text),
        None => content(&message.content),
    };
    Ok(Item::FunctionCallOutput { call_id, output })
}

/// What the assistant said: thoughts, text, calls.
fn said<'a>(message: &'a Message<'_>, items: &mut Vec<Item<'a>>) {
    items.extend(message.thoughts.iter().filter_map(thought));
    let refusal = message.refusal.as_deref().filter(|refusal| !refusal.is_empty());
    let content = match (&message.content, refusal) {
        (chat::Content::None, None) => None,
        (chat::Content::Text(text), None) if text.is_empty() => None,
        (chat::Content::Text(text), None) => Some(Content::Text(text)),
        (content, refusal) => {
            let parts = said_parts(content).into_iter();
            let parts = parts.chain(refusal.map(|refusal| wire::Part::Refusal { refusal }));
            Some(Content::Parts(parts.collect()))
        }
    };
    // The vendor wants to see that nothing was said only where nothing was called either.
    let content = content.or_else(|| message.tool_calls.is_empty().then_some(Content::Text("")));
    items.extend(content.map(|content| Item::Message {
        role: "assistant",
        content,
    }));
    items.extend(message.tool_calls.iter().enumerate().map(call));
}

fn said_parts<'a>(content: &'a chat::Content<'_>) -> Vec<wire::Part<'a>> {
    match content {
        chat::Content::None => Vec::new(),
        chat::Content::Text(text) if text.is_empty() => Vec::new(),
        chat::Content::Text(text) => vec![wire::Part::OutputText { text }],
        chat::Content::Parts(parts) => {
            let text = |part: &'a Part<'_>| match &part.kind {
                PartKind::Text(text) => Some(wire::Part::OutputText { text }),
                // Nobody's models answer with them here.
                PartKind::Image { .. } | PartKind::Audio { .. } | PartKind::Document { .. } => None,
            };
            parts.iter().filter_map(text).collect()
        }
    }
}

/// Only what this vendor has thought itself, and can prove, may come back.
fn thought<'a>(thought: &'a Thought<'_>) -> Option<Item<'a>> {
    let (text, proof) = match thought {
        Thought::Text { text, signature } => (Some(text.as_ref()), signature.as_deref()?),
        Thought::Redacted(proof) => (None, proof.as_ref()),
    };
    let text = text.filter(|text| !text.is_empty());
    Some(Item::Reasoning {
        summary: text.map(|text| wire::Part::SummaryText { text }).into_iter().collect(),
        encrypted_content: proofs::for_responses(proof)?,
    })
}

fn call<'a>((at, call): (usize, &'a ToolUse<'_>)) -> Item<'a> {
    let id = call.id.as_deref();
    Item::FunctionCall {
        call_id: id.map_or_else(|| made_up_id(at).into(), Cow::Borrowed),
        name: &call.name,
        arguments: match call.arguments.trim() {
            "" => "{}",
            _ => &call.arguments,
        },
    }
}

fn tool<'a>(tool: &'a chat::Tool<'_>) -> wire::Tool<'a> {
    let none = Schema::of(r#"{"type":"object","properties":{}}"#);
    wire::Tool {
        kind: "function",
        name: &tool.name,
        description: tool.description.as_deref(),
        parameters: tool.parameters.unwrap_or(none),
        // Strict is what they are in this format if nobody says otherwise, and what they are not in the others.
        strict: tool.strict.unwrap_or(false),
    }
}

fn tool_choice<'a>(choice: &'a ToolChoice<'_>) -> wire::ToolChoice<'a> {
    match choice {
        ToolChoice::Auto => wire::ToolChoice::Word("auto"),
        ToolChoice::None => wire::ToolChoice::Word("none"),
        ToolChoice::Required => wire::ToolChoice::Word("required"),
        ToolChoice::Named(name) => wire::ToolChoice::Function { kind: "function", name },
    }
}

fn format<'a>(format: &'a chat::Format<'_>) -> wire::Format<'a> {
    match format {
        chat::Format::Text => wire::Format::Text,
        chat::Format::JsonObject => wire::Format::JsonObject,
        chat::Format::JsonSchema {
            name,
            description,
            schema,
            strict,
        } => wire::Format::JsonSchema {
            name,
            description: description.as_deref(),
            schema,
            strict: *strict,
        },
    }
}

/// How hard to think. Callers of other formats say how long, or only that it shall.
fn reasoning<'a>(from: Option<&'a chat::Reasoning<'_>>) -> Option<wire::Reasoning<'a>> {
    let from = from?;
    let effort = match (from.effort.as_deref(), from.thinks(), from.budget) {
        (Some(effort), ..) => Some(effort),
        // Most models cannot be told not to.
        (None, None | Some(false), _) => None,
        (None, _, Some(..=LITTLE)) => Some("low"),
        (None, _, Some(..=SOME)) | (None, Some(true), None) => Some("medium"),
        (None, _, Some(_)) => Some("high"),
    };
    let shown = from.display.as_deref() == Some("summarized");
    let summary = shown.then_some("auto");
    (effort.is_some() || shown).then_some(wire::Reasoning { effort, summary })
}
