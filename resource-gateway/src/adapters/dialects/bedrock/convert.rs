//! Between neutral chat and Converse.

use bytes::Bytes;
use serde_json::{Map, Value, json, value::RawValue};

use super::{errors, wire};
use crate::{
    adapters::dialects::{call_ids, writing::Arguments},
    domain::{
        chat::{
            ChatReply, ChatRequest, Choice, Content, Counts, Finish, FinishReason, Message, Part, PartKind, Reasoning,
            Role, Said, Schema, Source, Thought, Tool, ToolChoice, ToolUse, made_up_id, proofs,
        },
        fault::{Fault, FaultClass, PublicError},
        interface::WhenUnsupported,
    },
    ports::codec::Target,
};

/// What is made of other fields here, and may not be said twice.
const OWN: [&str; 4] = ["messages", "system", "inferenceConfig", "toolConfig"];
/// What only some families of models know.
pub(super) const MODEL_FIELDS: &str = "additionalModelRequestFields";
/// Who asked, for the vendor's logs.
const METADATA: &str = "requestMetadata";

/// The body of a request, and the fields that the model cannot obey.
pub(super) fn encode(request: &ChatRequest<'_>, target: Target<'_>) -> Result<(Bytes, Vec<String>), PublicError> {
    let mut dropped = Vec::new();
    let body = wire::Request {
        messages: turns(request)?,
        system: system(request)?,
        inference_config: wire::InferenceConfig {
            max_tokens: request.max_tokens,
            temperature: request.temperature.as_ref(),
            top_p: request.top_p.as_ref(),
            stop_sequences: request.stop.iter().map(AsRef::as_ref).collect(),
        },
        tool_config: tools(request)?,
        more: more(request, target, &mut dropped)?,
    };
    let mut written = Vec::with_capacity(weight(request));
    serde_json::to_writer(&mut written, &body).map_err(|_| invalid("", "The request cannot be written as JSON."))?;
    Ok((written.into(), dropped))
}

/// About how long the body gets: a picture is not copied again and again while it grows.
fn weight(request: &ChatRequest<'_>) -> usize {
    let part = |part: &Part<'_>| match &part.kind {
        PartKind::Text(text) => text.len() + 64,
        PartKind::Image { source, .. } | PartKind::Document { source, .. } => match source {
            Source::Base64 { data, .. } => data.len() + 128,
            Source::Url { .. } => 0,
        },
        PartKind::Audio { .. } => 0,
    };
    let message = |message: &Message<'_>| match &message.content {
        Content::None => 64,
        Content::Text(text) => text.len() + 64,
        Content::Parts(parts) => parts.iter().map(part).sum(),
    };
    request.messages.iter().map(message).sum::<usize>() + 1024
}

fn invalid(param: &str, message: impl Into<Box<str>>) -> PublicError {
    PublicError::invalid(
        Some(param).filter(|param| !param.is_empty()),
        "invalid_request",
        message,
    )
}

fn unsupported(field: &str) -> PublicError {
    let message = format!("The provider behind this model cannot obey the field '{field}'.");
    PublicError::invalid(Some(field), "unsupported_by_provider", message)
}

/// What instructs the model stands apart, wherever it stood in the conversation.
fn system<'r>(request: &'r ChatRequest<'_>) -> Result<Vec<wire::Block<'r>>, PublicError> {
    let mut blocks = Vec::new();
    for (at, message) in request.messages.iter().enumerate() {
        if !message.role.instructs() {
            continue;
        }
        if !message.content.is_text_only() {
            return Err(unsupported(&format!("messages[{at}].content")));
        }
        push_content(&mut blocks, &message.content, at, &mut Documents::default())?;
    }
    Ok(blocks)
}

/// Turns of user and assistant, one after the other: what follows in the same role is one turn, and tools answer in the user's.
fn turns<'r>(request: &'r ChatRequest<'_>) -> Result<Vec<wire::Turn<'r>>, PublicError> {
    let mut turns: Vec<wire::Turn<'r>> = Vec::new();
    let mut documents = Documents::default();
    for (at, message) in request.messages.iter().enumerate() {
        let (role, blocks) = match message.role {
            Role::System | Role::Developer => continue,
            Role::User => {
                let mut blocks = Vec::new();
                push_content(&mut blocks, &message.content, at, &mut documents)?;
                ("user", blocks)
            }
            Role::Tool => ("user", tool_result(message, at, &mut documents)?),
            Role::Assistant => ("assistant", assistant(message, at, &mut documents)?),
        };
        match turns.last_mut() {
            _ if blocks.is_empty() => {}
            Some(turn) if turn.role == role => turn.content.extend(blocks),
            _ => turns.push(wire::Turn { role, content: blocks }),
        }
    }
    Ok(turns)
}

fn assistant<'r>(
    message: &'r Message<'_>,
    at: usize,
    documents: &mut Documents,
) -> Result<Vec<wire::Block<'r>>, PublicError> {
    let mut blocks = Vec::new();
    for said in message.blocks() {
        match said {
            Said::Thought(thought) => blocks.extend(reasoning(thought)),
            Said::Text(text) => blocks.extend(text_block(text)),
            Said::Part(part_at, part) => push_part(&mut blocks, part, (at, part_at), documents)?,
            Said::Call(call_at, call) => blocks.push(wire::Block::ToolUse {
                tool_use_id: match call.id.as_deref() {
                    Some(id) => call_ids::fit(id).into_owned(),
                    None => made_up_id(call_at),
                },
                name: &call.name,
                input: Arguments::of(&call.arguments),
            }),
        }
    }
    Ok(blocks)
}

/// Thinking goes back with the proof that it is the model's own. Without one it is another model's, and the vendor refuses it.
fn reasoning<'r>(thought: &'r Thought<'_>) -> Option<wire::Block<'r>> {
    Some(wire::Block::ReasoningContent(match thought {
        Thought::Text { text, signature } => wire::Reasoning::ReasoningText {
            text,
            signature: signature.as_deref().and_then(proofs::unmarked)?,
        },
        Thought::Redacted(data) => wire::Reasoning::RedactedContent(proofs::unmarked(data)?),
    }))
}

/// A result, and behind it the mark up to which the vendor may keep what was said: there is no place for one within.
fn tool_result<'r>(
    message: &'r Message<'_>,
    at: usize,
    documents: &mut Documents,
) -> Result<Vec<wire::Block<'r>>, PublicError> {
    let id = message.tool_call_id.as_deref().ok_or_else(|| {
        let path = format!("messages[{at}].tool_call_id");
        invalid(&path, format!("'{path}' is missing."))
    })?;
    let mut content = Vec::new();
    match &message.content {
        // One text that is an object goes as one; whoever wants it as text says so by a part.
        Content::Text(text) if text.trim_start().starts_with('{') && object(text).is_some() => {
            content.extend(object(text).map(wire::Block::Json));
        }
        other => push_content(&mut content, other, at, documents)?,
    }
    let blocks = content.len();
    content.retain(|block| !matches!(block, wire::Block::CachePoint(_)));
    let marked = message.cache.is_some() || content.len() < blocks;
    let result = wire::Block::ToolResult {
        tool_use_id: call_ids::fit(id).into_owned(),
        content,
        status: if message.is_error { "error" } else { "success" },
    };
    let mark = marked.then_some(wire::Block::CachePoint(wire::CachePoint::DEFAULT));
    Ok(std::iter::once(result).chain(mark).collect())
}

/// The text of a JSON object as it stands; nothing stands for an empty one.
fn object(text: &str) -> Option<&RawValue> {
    let text = match text.trim() {
        "" => "{}",
        text => text,
    };
    let object: &RawValue = serde_json::from_str(text).ok()?;
    object.get().starts_with('{').then_some(object)
}

/// The names that documents of a request have: each needs one of its own.
#[derive(Default)]
struct Documents(Vec<String>);

impl Documents {
    /// Letters, digits, single spaces, hyphens, parentheses and brackets are all that a name may have.
    fn name(&mut self, given: Option<&str>) -> String {
        let fit = |c: char| match c {
            c if c.is_ascii_alphanumeric() => c,
            '-' | '(' | ')' | '[' | ']' => c,
            _ => ' ',
        };
        let plain: String = given.unwrap_or_default().chars().take(100).map(fit).collect();
        let words: Vec<_> = plain.split_ascii_whitespace().collect();
        let plain = match words.is_empty() {
            true => "document".to_owned(),
            false => words.join(" "),
        };
        let taken = self.0.iter().filter(|known| **known == plain).count();
        self.0.push(plain.clone());
        match taken {
            0 => plain,
            more => format!("{plain} ({})", more + 1),
        }
    }
}

fn push_content<'r>(
    blocks: &mut Vec<wire::Block<'r>>,
    content: &'r Content<'_>,
    at: usize,
    documents: &mut Documents,
) -> Result<(), PublicError> {
    match content {
        Content::None => {}
        Content::Text(text) => blocks.extend(text_block(text)),
        Content::Parts(parts) => {
            for (part_at, part) in parts.iter().enumerate() {
                push_part(blocks, part, (at, part_at), documents)?;
            }
        }
    }
    Ok(())
}

/// The vendor refuses texts that are blank, and they say nothing.
fn text_block(text: &str) -> Option<wire::Block<'_>> {
    Some(text).filter(|text| !text.trim().is_empty()).map(wire::Block::Text)
}

fn push_part<'r>(
    blocks: &mut Vec<wire::Block<'r>>,
    part: &'r Part<'_>,
    (at, part_at): (usize, usize),
    documents: &mut Documents,
) -> Result<(), PublicError> {
    let cannot = || unsupported(&format!("messages[{at}].content[{part_at}]"));
    match &part.kind {
        PartKind::Text(text) => blocks.extend(text_block(text)),
        PartKind::Image { source, .. } => {
            let (format, source) = bytes_of(source, image_format).ok_or_else(cannot)?;
            blocks.push(wire::Block::Image(wire::Media { format, source }));
        }
        PartKind::Document { source, name } => {
            let (format, source) = bytes_of(source, document_format).ok_or_else(cannot)?;
            let name = documents.name(name.as_deref());
            blocks.push(wire::Block::Document(wire::Document { format, name, source }));
        }
        PartKind::Audio { .. } => return Err(cannot()),
    }
    if part.cache.is_some() && !blocks.is_empty() {
        blocks.push(wire::Block::CachePoint(wire::CachePoint::DEFAULT));
    }
    Ok(())
}

/// Bytes and the vendor's word for their format.
fn bytes_of<'r>(
    source: &'r Source<'_>,
    format: impl FnOnce(&str) -> Option<&'static str>,
) -> Option<(&'static str, wire::Bytes<'r>)> {
    match source {
        Source::Base64 { media_type, data } => Some((format(media_type)?, wire::Bytes { bytes: data })),
        // What lies behind it was fetched before; nothing else gets here.
        Source::Url { .. } => None,
    }
}

fn image_format(media_type: &str) -> Option<&'static str> {
    Some(match media_type.to_ascii_lowercase().as_str() {
        "image/png" => "png",
        "image/jpeg" | "image/jpg" => "jpeg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        _ => return None,
    })
}

fn document_format(media_type: &str) -> Option<&'static str> {
    Some(match media_type.to_ascii_lowercase().as_str() {
        "application/pdf" => "pdf",
        "text/csv" => "csv",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        "text/html" => "html",
        "text/plain" => "txt",
        "text/markdown" => "md",
        _ => return None,
    })
}

fn tools<'r>(request: &'r ChatRequest<'_>) -> Result<Option<wire::ToolConfig<'r>>, PublicError> {
    // Where some were called before, the vendor wants to know them.
    let used = |message: &Message<'_>| message.role == Role::Tool || !message.tool_calls.is_empty();
    let used = || request.messages.iter().any(used);
    let tool_choice = match &request.tool_choice {
        None => None,
        Some(ToolChoice::Auto) => Some(wire::Choice::Auto {}),
        Some(ToolChoice::Required) => Some(wire::Choice::Any {}),
        Some(ToolChoice::Named(name)) => Some(wire::Choice::Tool { name }),
        Some(ToolChoice::None) => {
            // There is no word for it: tools that must not be called are not told of.
            return match used() {
                true => Err(unsupported("tool_choice")),
                false => Ok(None),
            };
        }
    };
    if request.tools.is_empty() {
        let message = "The provider behind this model has to know the tools that were called: 'tools' is empty.";
        return match used() {
            true => Err(PublicError::invalid(Some("tools"), "unsupported_by_provider", message)),
            false => Ok(None),
        };
    }
    Ok(Some(wire::ToolConfig {
        tools: request.tools.iter().flat_map(tool).collect(),
        tool_choice,
    }))
}

fn tool<'r>(tool: &'r Tool<'_>) -> impl Iterator<Item = wire::ToolEntry<'r>> {
    // A tool without parameters has a schema all the same.
    let none = Schema::of(r#"{"type":"object","properties":{}}"#);
    let spec = wire::ToolEntry::ToolSpec {
        name: &tool.name,
        description: tool.description.as_deref().filter(|text| !text.is_empty()),
        input_schema: wire::Schema {
            json: tool.parameters.unwrap_or(none),
        },
    };
    let cache = tool.cache.as_ref();
    let cache = cache.map(|_| wire::ToolEntry::CachePoint(wire::CachePoint::DEFAULT));
    std::iter::once(spec).chain(cache)
}

/// The caller's members by the vendor's names, and what is said by way of them.
fn more(
    request: &ChatRequest<'_>,
    target: Target<'_>,
    dropped: &mut Vec<String>,
) -> Result<Map<String, Value>, PublicError> {
    if let Some(name) = request.options.keys().find(|name| OWN.contains(&name.as_str())) {
        let message = format!("The field '{name}' is made of other fields for the provider behind this model.");
        return Err(invalid(name, message));
    }
    let mut more = request.options.clone();
    let mut cannot = |field: &str| match target.when_unsupported {
        WhenUnsupported::Drop => {
            dropped.push(field.to_owned());
            Ok(())
        }
        WhenUnsupported::Refuse => Err(unsupported(field)),
    };
    if let Some(user) = &request.user {
        // The values that the vendor takes for marks on its logs.
        let legal = |c: char| c.is_ascii_alphanumeric() || " :_@$#=/+,-.".contains(c);
        match user.len() <= 256 && user.chars().all(legal) {
            true => member(&mut more, METADATA)?.insert("user".to_owned(), json!(user)),
            false => cannot("user").map(|()| None)?,
        };
    }
    let family = Family::of(target.model);
    if let Some(top_k) = &request.top_k {
        let fields = member(&mut more, MODEL_FIELDS)?;
        match family {
            Family::Nova => fields.insert("inferenceConfig".to_owned(), json!({"topK": top_k})),
            Family::Claude | Family::OpenAi | Family::Other => fields.insert("top_k".to_owned(), json!(top_k)),
        };
    }
    if let Some(reasoning) = &request.reasoning {
        match thinking(reasoning, request.max_tokens, family) {
            Thinking::Unsaid => {}
            Thinking::Said(name, value) => {
                member(&mut more, MODEL_FIELDS)?.insert(name.to_owned(), value);
                if reasoning.display.is_some() && !matches!(family, Family::Claude) {
                    cannot("thinking.display")?;
                }
            }
            Thinking::Unknown => cannot("reasoning")?,
        }
    }
    Ok(more)
}

/// An object among the members, empty unless the caller gave one.
fn member<'m>(more: &'m mut Map<String, Value>, name: &str) -> Result<&'m mut Map<String, Value>, PublicError> {
    let value = more.entry(name).or_insert_with(|| json!({}));
    value
        .as_object_mut()
        .ok_or_else(|| invalid(name, format!("'{name}' must be an object.")))
}

/// Whose model it is: what is not within Converse has other names with each.
#[derive(Clone, Copy)]
enum Family {
    Claude,
    Nova,
    OpenAi,
    Other,
}

impl Family {
    /// By the model's name, which may have a region in front or be an ARN.
    fn of(model: &str) -> Self {
        let is = |family: &str| model.contains(family);
        if is("anthropic.") {
            Self::Claude
        } else if is("amazon.nova") {
            Self::Nova
        } else if is("openai.") {
            Self::OpenAi
        } else {
            Self::Other
        }
    }
}

enum Thinking {
    /// The model does so by itself.
    Unsaid,
    Said(&'static str, Value),
    Unknown,
}

fn thinking(reasoning: &Reasoning<'_>, max_tokens: Option<u64>, family: Family) -> Thinking {
    let effort = reasoning.effort.as_deref();
    if reasoning.enabled == Some(false) || effort == Some("none") {
        return Thinking::Unsaid;
    }
    match (family, effort) {
        (Family::Claude, _) => {
            let budget = reasoning.budget.unwrap_or_else(|| {
                let wanted = match effort {
                    Some("minimal" | "low") => 1024,
                    Some("medium") | None => 4096,
                    Some(_) => 16_384,
                };
                // It is a part of the output, and 1024 is the least that there is.
                max_tokens.map_or(wanted, |most| wanted.min(most.saturating_sub(1)).max(1024))
            });
            let mut thinking = json!({"type": "enabled", "budget_tokens": budget});
            if let (Some(display), Some(members)) = (&reasoning.display, thinking.as_object_mut()) {
                members.insert("display".to_owned(), json!(display));
            }
            Thinking::Said("thinking", thinking)
        }
        (Family::OpenAi, Some(effort)) => Thinking::Said("reasoning_effort", json!(effort)),
        (Family::OpenAi, None) if reasoning.budget.is_none() => Thinking::Unsaid,
        (Family::OpenAi | Family::Nova | Family::Other, _) => Thinking::Unknown,
    }
}

/// Reads a whole answer.
pub(super) fn decode(body: &[u8]) -> Result<ChatReply, Fault> {
    let reply: wire::Reply<'_> = serde_json::from_slice(body).map_err(|_| errors::in_place_of_an_answer(body))?;
    let message = reply.output.and_then(|output| output.message);
    let Some(message) = message else {
        return Err(errors::in_place_of_an_answer(body));
    };
    let mut choice = Choice::default();
    for block in message.content {
        read_block(block, &mut choice);
    }
    choice.finish = reply.stop_reason.as_deref().map(finish);
    Ok(ChatReply {
        choices: vec![choice],
        counts: reply.usage.map(counts),
        ..ChatReply::default()
    })
}

fn read_block(block: wire::ReplyBlock<'_>, choice: &mut Choice) {
    let cited = block.citations_content.into_iter().flat_map(|cited| cited.content);
    for text in block.text.into_iter().chain(cited.map(|cited| cited.text)) {
        choice.text.get_or_insert_default().push_str(&text);
    }
    if let Some(call) = block.tool_use {
        choice.tool_calls.push(ToolUse {
            id: Some(call.tool_use_id.into()),
            name: call.name.into(),
            arguments: call.input.map_or("{}", RawValue::get).to_owned().into(),
            signature: None,
        });
    }
    let Some(reasoning) = block.reasoning_content else {
        return;
    };
    choice
        .thoughts
        .extend(reasoning.reasoning_text.map(|thought| Thought::Text {
            text: thought.text.into(),
            signature: thought.signature.map(Into::into),
        }));
    choice
        .thoughts
        .extend(reasoning.redacted_content.map(|data| Thought::Redacted(data.into())));
}

pub(super) fn finish(word: &str) -> Finish {
    let reason = match word {
        "end_turn" | "stop_sequence" => FinishReason::Stop,
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "tool_use" => FinishReason::ToolCalls,
        "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    };
    Finish::new(word, reason)
}

pub(super) fn counts(usage: wire::Usage) -> Counts {
    Counts {
        input: usage.input,
        output: usage.output,
        total: usage.total,
        cached_input: usage.cache_read,
        cache_write_input: usage.cache_write,
        // What went through the cache is counted beside the input.
        cached_apart: true,
        ..Counts::default()
    }
}

/// An answer that cannot be read.
pub(super) fn unreadable() -> Fault {
    Fault::of(FaultClass::InvalidReply)
}
