//! `ChatCompletions` of Hunyuan: requests, and whole answers.

use std::borrow::Cow;

use http::HeaderMap;

use super::{
    HUNYUAN, PATH, faults, read,
    stream::Reader,
    support,
    wire::{Called, ErrorMsg, Function, Link, Message, Part, Reply, ReplyChoice, Request, Tool, ToolCall, Url, Usage},
};
use crate::{
    adapters::dialects::{events::InEvents, reading::in_order},
    domain::{
        chat::{
            self, ChatReply, ChatRequest, Choice, Content, Counts, Finish, FinishReason, PartKind, Reasoning, Role,
            Schema, Source, Thought, ToolChoice, ToolUse, made_up_id,
        },
        fault::{Fault, FaultClass, PublicError},
    },
    ports::{
        chat::{ChatDialect, ChunkDecoder, Images, Support},
        codec::{EncodeError, Encoded, Received, Target},
    },
};

/// Hunyuan.
#[derive(Debug, Clone, Copy, Default)]
pub struct TencentChat;

const SUPPORT: Support = Support {
    tools: true,
    tool_choice: true,
    images: Images::Any,
    seed: true,
    stop: usize::MAX,
    reasoning: true,
    second_names: &[
        ("Model", "model"),
        ("Messages", "messages"),
        ("Stream", "stream"),
        ("Temperature", "temperature"),
        ("TopP", "top_p"),
        ("Seed", "seed"),
        ("Stop", "stop"),
        ("Tools", "tools"),
        ("ToolChoice", "tool_choice"),
        ("CustomTool", "tool_choice"),
        ("EnableThinking", "thinking"),
    ],
    ..Support::NONE
};

impl ChatDialect for TencentChat {
    fn path(&self) -> &'static str {
        PATH
    }

    fn home(&self) -> Option<&'static str> {
        Some(HUNYUAN.home)
    }

    fn support(&self) -> Support {
        SUPPORT
    }

    /// There is no member for it, and unknown ones are refused there.
    fn bounds_output(&self) -> bool {
        false
    }

    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut dropped = Vec::new();
        let (tool_choice, custom_tool) = match choose(request)? {
            Chosen::Word(word) => (word, None),
            Chosen::Tool(tool) => (Some("custom"), Some(told(tool))),
            Chosen::CannotSay => {
                support::cannot("tool_choice", target.when_unsupported, &mut dropped)?;
                (None, None)
            }
        };
        let body = Request {
            options: &request.options,
            model: target.model,
            messages: messages(request),
            stream: request.stream,
            temperature: request.temperature.as_ref(),
            top_p: request.top_p.as_ref(),
            seed: request.seed.as_ref(),
            stop: &request.stop,
            tools: request.tools.iter().map(told).collect(),
            tool_choice,
            custom_tool,
            enable_thinking: request.reasoning.as_ref().and_then(Reasoning::thinks),
        };
        let encoded = HUNYUAN.call("ChatCompletions", &body);
        let encoded = if request.stream { encoded.streaming() } else { encoded };
        dropped.extend(request.reasoning.as_ref().map(support::degrees).unwrap_or_default());
        Ok(Encoded { dropped, ..encoded })
    }

    fn decode(&self, reply: &Received<'_>) -> Result<ChatReply, Fault> {
        let reply: Reply = read(&reply.body)?;
        if let Some(error) = &reply.error_msg {
            return Err(late(error));
        }
        let choices = reply.choices.ok_or_else(|| Fault::of(FaultClass::InvalidReply))?;
        let choices = in_order(choices, |choice| choice.index);
        Ok(ChatReply {
            id: reply.id.filter(|id| !id.is_empty()),
            model: None,
            created: reply.created,
            choices: choices.map(choice).collect(),
            counts: reply.usage.map(Counts::from),
        })
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _: &HeaderMap) -> Box<dyn ChunkDecoder> {
        Box::new(InEvents::<Reader>::default())
    }
}

enum Chosen<'r> {
    Word(Option<&'static str>),
    Tool(&'r chat::Tool<'r>),
    /// That some tool has to be called, whichever.
    CannotSay,
}

fn choose<'r>(request: &'r ChatRequest<'r>) -> Result<Chosen<'r>, PublicError> {
    Ok(match &request.tool_choice {
        None => Chosen::Word(None),
        Some(ToolChoice::Auto) => Chosen::Word(Some("auto")),
        Some(ToolChoice::None) => Chosen::Word(Some("none")),
        // Of one tool "some" is that one.
        Some(ToolChoice::Required) => match request.tools.as_slice() {
            [only] => Chosen::Tool(only),
            _ => Chosen::CannotSay,
        },
        Some(ToolChoice::Named(name)) => Chosen::Tool(support::named_tool(request, name)?),
    })
}

fn told<'r>(tool: &'r chat::Tool<'_>) -> Tool<'r> {
    let parameters = tool.parameters.map(Schema::text);
    Tool {
        r#type: "function",
        function: Function {
            name: &tool.name,
            parameters: parameters.unwrap_or(r#"{"type":"object","properties":{}}"#),
            description: tool.description.as_deref(),
        },
    }
}

/// Only the first message may instruct, so all that instructs stands there.
fn messages<'r>(request: &'r ChatRequest<'_>) -> Vec<Message<'r>> {
    let (instructing, talking): (Vec<_>, Vec<_>) =
        request.messages.iter().partition(|message| message.role.instructs());
    let system = match instructing.as_slice() {
        [] => None,
        [only] => Some(only.content.text("\n")),
        several => {
            let texts: Vec<_> = several.iter().map(|message| message.content.text("\n")).collect();
            Some(Cow::Owned(texts.join("\n\n")))
        }
    };
    let system = system.map(|text| Message {
        role: "system",
        content: Some(text),
        contents: Vec::new(),
        tool_calls: Vec::new(),
        tool_call_id: None,
    });
    system.into_iter().chain(talking.into_iter().map(message)).collect()
}

fn message<'r>(message: &'r chat::Message<'_>) -> Message<'r> {
    let (content, contents) = match &message.content {
        Content::None => (None, Vec::new()),
        // Models that see nothing take no list.
        content if content.is_text_only() => (Some(content.text("\n")), Vec::new()),
        Content::Text(text) => (Some(Cow::Borrowed(text.as_ref())), Vec::new()),
        Content::Parts(parts) => (None, parts.iter().filter_map(|part| piece(&part.kind)).collect()),
    };
    let calls = message.tool_calls.iter().enumerate();
    Message {
        role: match message.role {
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        },
        content,
        contents,
        tool_calls: calls.map(|(at, call)| called(at, call)).collect(),
        tool_call_id: message.tool_call_id.as_deref(),
    }
}

/// Nothing else than texts and pictures gets here.
fn piece<'r>(kind: &'r PartKind<'_>) -> Option<Part<'r>> {
    Some(match kind {
        PartKind::Text(text) => Part::Text { text },
        PartKind::Image { source, .. } => Part::ImageUrl {
            image_url: Link {
                url: match source {
                    Source::Url { url, .. } => Url::Plain(url),
                    Source::Base64 { media_type, data } => Url::Data {
                        media_type,
                        base64: data,
                    },
                },
            },
        },
        PartKind::Audio { .. } | PartKind::Document { .. } => return None,
    })
}

fn called<'r>(at: usize, call: &'r ToolUse<'_>) -> ToolCall<'r> {
    ToolCall {
        id: match &call.id {
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(made_up_id(at)),
        },
        r#type: "function",
        function: Called {
            name: &call.name,
            arguments: &call.arguments,
        },
    }
}

fn choice(read: ReplyChoice) -> Choice {
    let said = read.message.or(read.delta).unwrap_or_default();
    let calls = said.tool_calls.unwrap_or_default().into_iter().map(|call| {
        let function = call.function.unwrap_or_default();
        ToolUse {
            id: call.id.filter(|id| !id.is_empty()).map(Into::into),
            name: function.name.unwrap_or_default().into(),
            arguments: function.arguments.unwrap_or_default().into(),
            signature: None,
        }
    });
    let thought = said.reasoning_content.filter(|text| !text.is_empty());
    Choice {
        text: said.content,
        thoughts: thought
            .map(|text| Thought::Text {
                text: text.into(),
                signature: None,
            })
            .into_iter()
            .collect(),
        tool_calls: calls.collect(),
        finish: read.finish_reason.filter(|word| !word.is_empty()).map(finish),
        ..Choice::default()
    }
}

pub(super) fn finish(word: String) -> Finish {
    let reason = match word.as_str() {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "tool_calls" => FinishReason::ToolCalls,
        "sensitive" => FinishReason::ContentFilter,
        _ => FinishReason::Other,
    };
    Finish::new(word, reason)
}

impl From<Usage> for Counts {
    fn from(usage: Usage) -> Self {
        Self {
            input: usage.prompt,
            output: usage.completion,
            total: usage.total,
            ..Self::default()
        }
    }
}

/// A failure after the answer began: its codes are of no table.
pub(super) fn late(error: &ErrorMsg) -> Fault {
    let code = error.code.as_ref().map(|code| match code {
        serde_json::Value::String(code) => code.clone(),
        code => code.to_string(),
    });
    let message = error.msg.as_deref().unwrap_or_default();
    faults::told(FaultClass::ServerError, code.as_deref(), message)
}
