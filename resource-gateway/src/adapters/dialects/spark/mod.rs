//! iFlytek's Spark over its WebSocket: one frame asks, and the answer comes in frames whether it is wanted whole or in pieces. The
//! vendor's HTTP mode is one of OpenAI's shape.
//!
//! The route's model is the vendor's `domain`, which also decides the path; the option `version` names another one (`v3.5`). Members
//! that OpenAI's format does not have stand beside the domain by their own names.

mod stream;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use http::HeaderMap;
use serde_json::{Map, Value};

use self::{
    stream::SparkStream,
    wire::{Called, Caller, Frame, Function, Parameter, Payload, Request, Said, Settings, Texts},
};
use super::{collected, error_object, support, writing};
use crate::{
    domain::{
        chat::{ChatReply, ChatRequest, Message, Role, user_within},
        fault::{Fault, PublicError},
    },
    ports::{
        chat::{ChatDialect, ChunkDecoder, Support},
        codec::{EncodeError, Encoded, Received, StreamEnd, Target, has_media_type},
        transport::{Dialogue, SocketMessage},
    },
};

/// Chat.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spark;

/// The vendor's option for a path that its model does not tell.
pub const VERSION: &str = "version";

const SUPPORT: Support = Support {
    tools: true,
    // It never wants more than one function called.
    parallel_tool_calls: true,
    top_k: true,
    user: true,
    second_names: &[("domain", "model")],
    ..Support::NONE
};

/// Where each of the vendor's models is.
const PATHS: [(&str, &str); 6] = [
    ("lite", "/v1.1/chat"),
    ("generalv3", "/v3.1/chat"),
    ("pro-128k", "/chat/pro-128k"),
    ("generalv3.5", "/v3.5/chat"),
    ("max-32k", "/chat/max-32k"),
    ("4.0Ultra", "/v4.0/chat"),
];
/// A `uid` is not longer.
const MAX_UID_CHARS: usize = 32;

impl ChatDialect for Spark {
    fn path(&self) -> &'static str {
        ""
    }

    fn support(&self) -> Support {
        SUPPORT
    }

    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let place = place(target)?;
        let asked = written(request, target)?;
        let first = SocketMessage::Text(writing::written(&asked, writing::room_for(request)));
        Ok(Encoded::socket(
            place,
            Dialogue {
                turns: VecDeque::from([vec![first]]),
                is_last,
            },
        ))
    }

    fn decode(&self, reply: &Received<'_>) -> Result<ChatReply, Fault> {
        // A server that opens no WebSocket answers as servers do.
        if !self.is_stream(reply.headers) {
            return Err(error_object::in_place_of_an_answer(&reply.body));
        }
        let (mut stream, mut events) = (SparkStream::default(), Vec::new());
        let end = stream.push(reply.body.clone(), &mut events);
        match end.unwrap_or_else(|| stream.finish(&mut events)) {
            StreamEnd::Complete => Ok(collected::collect(events)),
            StreamEnd::Failed(fault) => Err(fault),
        }
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        let told: Value = serde_json::from_slice(body).unwrap_or_default();
        let fault = error_object::decode(status, headers, body);
        // A handshake is refused in words without an envelope: a wrong signature, a clock that is five minutes off.
        match told.get("message").and_then(Value::as_str) {
            Some(_) => Fault {
                words: error_object::words_of(&told),
                ..fault
            },
            None => fault,
        }
    }

    fn is_stream(&self, headers: &HeaderMap) -> bool {
        has_media_type(headers, "application/x-ndjson")
    }

    fn stream(&self, _: &HeaderMap) -> Box<dyn ChunkDecoder> {
        Box::<SparkStream>::default()
    }
}

fn is_last(frame: &[u8]) -> bool {
    // What is no frame is none of an answer, and nothing good comes behind it.
    serde_json::from_slice::<Frame>(frame).map_or(true, |frame| frame.is_last())
}

fn place(target: Target<'_>) -> Result<String, PublicError> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if let Some(version) = target.option(VERSION).filter(|version| version.bytes().all(legal)) {
        return Ok(format!("/{version}/chat"));
    }
    let known = PATHS.iter().find(|(domain, _)| *domain == target.model);
    let path = known.map(|(_, path)| (*path).to_owned());
    path.ok_or_else(|| {
        let message =
            "It is not known where the provider has this interface's model: its option 'version' has to say it.";
        PublicError::invalid(Some("model"), "unsupported_value", message)
    })
}

fn written<'a>(request: &'a ChatRequest<'_>, target: Target<'a>) -> Result<Request<'a>, PublicError> {
    let uid = request.user.as_deref().map(|user| user_within(user, MAX_UID_CHARS));
    let mut more = Map::new();
    let numbers = [
        ("temperature", &request.temperature),
        ("top_p", &request.top_p),
        ("top_k", &request.top_k),
    ];
    for (name, number) in numbers {
        more.extend(number.clone().map(|number| (name.to_owned(), number.into())));
    }
    more.extend(request.max_tokens.map(|most| ("max_tokens".to_owned(), most.into())));
    // What was said in OpenAI's words stays.
    for (name, value) in &request.options {
        more.entry(name).or_insert_with(|| value.clone());
    }
    let messages = request.messages.iter().enumerate();
    let functions = request.tools.iter().map(|tool| Function {
        name: &tool.name,
        description: tool.description.as_deref(),
        parameters: tool.parameters,
    });
    Ok(Request {
        header: Caller {
            app_id: target.vendor.credential.app_id.as_deref(),
            uid,
        },
        parameter: Parameter {
            chat: Settings {
                domain: target.model,
                more,
            },
        },
        payload: Payload {
            message: Texts {
                text: messages.map(said).collect::<Result<_, _>>()?,
            },
            functions: (!request.tools.is_empty()).then(|| Texts {
                text: functions.collect(),
            }),
        },
    })
}

fn said<'a>((at, message): (usize, &'a Message<'_>)) -> Result<Said<'a>, PublicError> {
    let function_call = match message.tool_calls.as_slice() {
        [] => None,
        [call] => Some(Called {
            name: &call.name,
            arguments: &call.arguments,
        }),
        _ => return Err(support::unsupported(&format!("messages[{at}].tool_calls[1]"))),
    };
    Ok(Said {
        role: match message.role {
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        },
        content: message.content.text("\n"),
        function_call,
    })
}
