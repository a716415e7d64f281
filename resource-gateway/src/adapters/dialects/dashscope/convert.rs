//! Chat between the neutral words and the vendor's.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::wire;
use crate::{
    adapters::dialects::reading::in_order,
    domain::{
        chat::{
            ChatReply, ChatRequest, Choice, Content, Counts, Finish, FinishReason, Format, Message, Part, PartKind,
            Role, Schema, Source, Thought, ToolChoice, ToolUse, made_up_id,
        },
        fault::{Fault, FaultClass},
    },
};

/// A request for the vendor. Pictures are borrowed from the caller's own bytes.
#[derive(Serialize)]
pub(super) struct Request<'r> {
    model: &'r str,
    input: Input<'r>,
    parameters: Map<String, Value>,
    #[serde(skip)]
    multimodal: bool,
}

#[derive(Serialize)]
struct Input<'r> {
    messages: Vec<Said<'r>>,
}

#[derive(Serialize)]
struct Said<'r> {
    role: &'static str,
    content: Contents<'r>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<&'r str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Value>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Contents<'r> {
    Text(Cow<'r, str>),
    Parts(Vec<SaidPart<'r>>),
}

/// An object with one member.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum SaidPart<'r> {
    Text(&'r str),
    Image(Link<'r>),
    Audio(Link<'r>),
}

/// A URL, with the bytes in it if they are there (RFC 2397); put together where it is written.
enum Link<'r> {
    Url(&'r str),
    Data { media_type: Cow<'r, str>, data: &'r str },
}

impl Serialize for Link<'_> {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Url(url) => to.serialize_str(url),
            Self::Data { media_type, data } => to.collect_str(&format_args!("data:{media_type};base64,{data}")),
        }
    }
}

impl<'r> Request<'r> {
    pub(super) fn of(request: &'r ChatRequest<'_>, model: &'r str) -> Self {
        let multimodal = request.messages.iter().any(|message| !message.content.is_text_only());
        Self {
            model,
            input: Input {
                messages: request
                    .messages
                    .iter()
                    .map(|message| said(message, multimodal))
                    .collect(),
            },
            parameters: parameters(request, multimodal),
            multimodal,
        }
    }

    pub(super) fn is_multimodal(&self) -> bool {
        self.multimodal
    }
}

fn said<'r>(message: &'r Message<'_>, multimodal: bool) -> Said<'r> {
    let content = match (&message.content, multimodal) {
        (content, false) => Contents::Text(content.text("\n")),
        (Content::None, true) => Contents::Parts(Vec::new()),
        (Content::Text(text), true) => Contents::Parts(vec![SaidPart::Text(text)]),
        (Content::Parts(parts), true) => Contents::Parts(parts.iter().filter_map(part).collect()),
    };
    let calls = message.tool_calls.iter().enumerate();
    Said {
        role: match message.role {
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        },
        content,
        name: message.name.as_deref(),
        tool_call_id: message.tool_call_id.as_deref(),
        tool_calls: calls
            .map(|(at, call)| {
                let id = call.id.as_ref().map_or_else(|| made_up_id(at), ToString::to_string);
                let function = json!({"name": call.name, "arguments": call.arguments});
                json!({"index": at, "id": id, "type": "function", "function": function})
            })
            .collect(),
    }
}

/// Documents were refused before.
fn part<'r>(part: &'r Part<'_>) -> Option<SaidPart<'r>> {
    Some(match &part.kind {
        PartKind::Text(text) => SaidPart::Text(text),
        PartKind::Image { source, .. } => SaidPart::Image(match source {
            Source::Url { url, .. } => Link::Url(url),
            Source::Base64 { media_type, data } => Link::Data {
                media_type: Cow::Borrowed(media_type),
                data,
            },
        }),
        PartKind::Audio { data, format } => SaidPart::Audio(Link::Data {
            media_type: Cow::Owned(format!("audio/{format}")),
            data,
        }),
        PartKind::Document { .. } => return None,
    })
}

fn parameters(request: &ChatRequest<'_>, multimodal: bool) -> Map<String, Value> {
    let mut out = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            out.insert(name.to_owned(), value);
        }
    };
    let numbers = [
        ("temperature", &request.temperature),
        ("top_p", &request.top_p),
        ("top_k", &request.top_k),
        ("presence_penalty", &request.presence_penalty),
        ("seed", &request.seed),
    ];
    for (name, number) in numbers {
        set(name, number.clone().map(Value::Number));
    }
    let counts = [
        ("max_tokens", request.max_tokens),
        ("n", request.n),
        ("top_logprobs", request.top_logprobs),
    ];
    for (name, count) in counts {
        set(name, count.map(Value::from));
    }
    set("logprobs", request.logprobs.map(Value::from));
    set("parallel_tool_calls", request.parallel_tool_calls.map(Value::from));
    set("stop", (!request.stop.is_empty()).then(|| json!(request.stop)));
    set("response_format", request.format.as_ref().and_then(format));
    let tools = request.tools.iter().map(|tool| {
        let mut function = json!({"name": tool.name});
        let members = [
            ("description", tool.description.as_ref().map(|text| json!(text))),
            ("parameters", tool.parameters.map(Schema::value)),
        ];
        for (name, value) in members {
            if let (Some(value), Some(function)) = (value, function.as_object_mut()) {
                function.insert(name.to_owned(), value);
            }
        }
        json!({"type": "function", "function": function})
    });
    set("tools", (!request.tools.is_empty()).then(|| tools.collect()));
    set("tool_choice", request.tool_choice.as_ref().map(tool_choice));
    if let Some(reasoning) = &request.reasoning {
        let effort = reasoning.effort.as_deref().map(|effort| effort != "none");
        set("enable_thinking", reasoning.enabled.or(effort).map(Value::from));
        set("thinking_budget", reasoning.budget.map(Value::from));
    }
    // With pictures there is no other form of answers.
    set("result_format", (!multimodal).then(|| json!("message")));
    // What came before is not told again with each event.
    set("incremental_output", request.stream.then_some(Value::Bool(true)));
    // What was said in OpenAI's words stays.
    for (name, value) in &request.options {
        out.entry(name).or_insert_with(|| value.clone());
    }
    out
}

fn format(format: &Format<'_>) -> Option<Value> {
    match format {
        Format::Text => None,
        Format::JsonObject => Some(json!({"type": "json_object"})),
        Format::JsonSchema {
            name,
            description,
            schema,
            strict,
        } => {
            let members = [
                ("name", Some(json!(name))),
                ("description", description.as_ref().map(|text| json!(text))),
                ("schema", Some(schema.clone())),
                ("strict", strict.map(Value::from)),
            ];
            let members = members
                .into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?)));
            Some(json!({"type": "json_schema", "json_schema": members.collect::<Map<_, _>>()}))
        }
    }
}

fn tool_choice(choice: &ToolChoice<'_>) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
    }
}

/// A whole answer.
pub(super) fn reply(read: wire::Reply) -> Result<ChatReply, Fault> {
    let invalid = || Fault::of(FaultClass::InvalidReply);
    let output = read.output.ok_or_else(invalid)?;
    let choices = match (output.choices, output.text) {
        (Some(choices), _) => in_order(choices, |choice| choice.index).map(choice).collect(),
        (None, Some(text)) => vec![Choice {
            text: Some(text),
            finish: finish(output.finish_reason.as_deref()),
            ..Choice::default()
        }],
        (None, None) => return Err(invalid()),
    };
    Ok(ChatReply {
        id: read.request_id,
        model: None,
        created: None,
        choices,
        counts: read.usage.map(Counts::from),
    })
}

fn choice(read: wire::Choice) -> Choice {
    let said = read.message.unwrap_or_default();
    let thought = said.reasoning_content.filter(|text| !text.is_empty());
    let calls = said.tool_calls.unwrap_or_default().into_iter();
    Choice {
        text: said.content.as_ref().map(wire::text_of),
        thoughts: thought
            .map(|text| Thought::Text {
                text: text.into(),
                signature: None,
            })
            .into_iter()
            .collect(),
        refusal: None,
        tool_calls: calls
            .map(|call| {
                let function = call.function.unwrap_or_default();
                ToolUse {
                    id: call.id.filter(|id| !id.is_empty()).map(Into::into),
                    name: function.name.unwrap_or_default().into(),
                    arguments: function.arguments.unwrap_or_default().into(),
                    signature: None,
                }
            })
            .collect(),
        finish: finish(read.finish_reason.as_deref()),
        logprobs: read.logprobs.filter(|logprobs| !logprobs.is_null()),
    }
}

/// The end, unless it is still to come: until then the reason is the text `null`.
pub(super) fn finish(word: Option<&str>) -> Option<Finish> {
    let reason = match word? {
        "" | "null" => return None,
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "tool_calls" => FinishReason::ToolCalls,
        "content_filter" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    };
    Some(Finish::new(word.unwrap_or_default(), reason))
}

impl From<wire::Usage> for Counts {
    fn from(usage: wire::Usage) -> Self {
        Self {
            input: usage.input_tokens,
            output: usage.output_tokens,
            total: usage.total_tokens,
            cached_input: usage.prompt_tokens_details.and_then(|details| details.cached_tokens),
            reasoning: usage.output_tokens_details.and_then(|details| details.reasoning_tokens),
            ..Self::default()
        }
    }
}
