//! Neutral chat as Template's objects, and back.

use serde_json::{Map, Value};

use super::wire::{Message, Reply, Request};
use crate::domain::chat::{ChatReply, ChatRequest, Choice, Counts, Finish, FinishReason, Role};

/// Writes a request.
pub(super) fn request<'a>(request: &'a ChatRequest<'_>, model: &'a str) -> Request<'a> {
    let mut beside = Map::new();
    let numbers = [("temperature", &request.temperature), ("top_p", &request.top_p)];
    for (name, number) in numbers {
        if let Some(number) = number {
            beside.insert(name.to_owned(), Value::Number(number.clone()));
        }
    }
    if let Some(most) = request.max_tokens {
        beside.insert("max_tokens".to_owned(), most.into());
    }
    // What was said in neutral words, and may have been ruled, goes before the vendor's own names for it.
    for (name, value) in &request.options {
        beside.entry(name).or_insert_with(|| value.clone());
    }
    let messages = request.messages.iter().map(|message| Message {
        role: match message.role {
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        },
        text: message.content.text("\n"),
    });
    Request {
        model,
        stream: request.stream,
        messages: messages.collect(),
        beside,
    }
}

/// Reads a whole answer.
pub(super) fn reply(reply: Reply) -> ChatReply {
    ChatReply {
        id: reply.id,
        model: None,
        created: None,
        choices: vec![Choice {
            text: Some(reply.text),
            finish: reply.end.map(|word| finish(&word)),
            ..Choice::default()
        }],
        counts: reply.used.map(Counts::from),
    }
}

/// The vendor's words for the end of an answer.
pub(super) fn finish(word: &str) -> Finish {
    let reason = match word {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        _ => FinishReason::Other,
    };
    Finish::new(word, reason)
}
