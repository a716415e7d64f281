//! OpenAI's Responses: what callers of that format get, a dialect for vendors that speak it, and a codec that passes on what callers
//! who speak it say.
//!
//! Members that nobody here knows stand at the top level of a request. Nothing is kept at the vendor, and no call reaches what others
//! have left there: its key is shared by everybody who may use the interface.

mod convert;
mod faults;
mod native;
pub mod render;
mod stream;
mod wire;

#[cfg(test)]
mod tests;

use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};

use self::native::OpenAiResponses;
use super::{
    error_object,
    events::InEvents,
    openai::OpenAiModels,
    support::{silence_unsaid, unsupported},
    writing::{room_for, written},
};
use crate::{
    domain::{
        call::{Call, Voice},
        chat::{ChatReply, ChatRequest, Choice, Finish, FinishReason, Thought, ToolUse, proofs},
        fault::{Fault, FaultClass},
        interface::WhenUnsupported,
    },
    ports::{
        chat::{ChatDialect, ChunkDecoder, Images, Support},
        codec::{Codec, EncodeError, Encoded, ModelList, Received, Target},
    },
};

/// `POST /responses`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ResponsesDialect;

const PATH: &str = "/responses";

/// The option of vendors that have both formats, and what it can be.
pub const API: &str = "api";
pub const CHAT: &str = "chat";
pub const RESPONSES: &str = "responses";
pub const APIS: [&str; 2] = [CHAT, RESPONSES];
/// Between two parts of a summary.
const BETWEEN_PARTS: &str = "\n\n";

/// What is asked for so that a model can go on with its thoughts although nobody keeps them.
const ENCRYPTED: &str = "reasoning.encrypted_content";
/// Asks for the probabilities of what is said.
const PROBABILITIES: &str = "message.output_text.logprobs";

const SUPPORT: Support = Support {
    tools: true,
    tool_choice: true,
    parallel_tool_calls: true,
    images: Images::Any,
    documents: true,
    json_object: true,
    json_schema: true,
    logprobs: true,
    user: true,
    reasoning: true,
    display: true,
    strict: true,
    detail: true,
    openai: &[
        "metadata",
        "prompt_cache_key",
        "prompt_cache_retention",
        "service_tier",
        "store",
        "verbosity",
    ],
    ..Support::NONE
};

impl ChatDialect for ResponsesDialect {
    fn path(&self) -> &'static str {
        PATH
    }

    fn support(&self) -> Support {
        SUPPORT
    }

    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut body = convert::request(request, target.model)?;
        let mut dropped = Vec::new();
        let mut cannot = |field: &str| match target.when_unsupported {
            WhenUnsupported::Drop => {
                dropped.push(field.to_owned());
                Ok(())
            }
            WhenUnsupported::Refuse => Err(unsupported(field)),
        };
        let unsaid = silence_unsaid(request.reasoning.as_ref());
        if request.openai.get("store") == Some(&Value::Bool(true)) {
            cannot("store")?;
        }
        // Events of text in neutral words have no place for them.
        if request.stream && body.include.contains(&PROBABILITIES) {
            cannot("logprobs")?;
            body.top_logprobs = None;
            body.include.retain(|name| *name != PROBABILITIES);
        }
        let text = written(&body, room_for(request));
        let encoded = Encoded::of(HeaderValue::from_static("application/json"), text);
        dropped.extend(unsaid);
        let encoded = Encoded { dropped, ..encoded };
        Ok(if request.stream { encoded.streaming() } else { encoded })
    }

    fn decode(&self, reply: &Received<'_>) -> Result<ChatReply, Fault> {
        read_reply(&reply.body)
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        error_object::decode(status, headers, body)
    }

    fn stream(&self, _: &HeaderMap) -> Box<dyn ChunkDecoder> {
        Box::new(InEvents::<stream::Reader>::default())
    }

    fn models(&self) -> Option<&dyn ModelList> {
        Some(&OpenAiModels)
    }

    fn native(&self, call: &Call) -> Option<&dyn Codec> {
        // What rules have changed is no longer what the caller said, so it is written anew.
        (call.voice() == Voice::Responses && call.is_verbatim()).then_some(&OpenAiResponses)
    }
}

/// Reads a whole answer.
fn read_reply(body: &[u8]) -> Result<ChatReply, Fault> {
    let mut response: wire::Response<'_> =
        serde_json::from_slice(body).map_err(|_| error_object::in_place_of_an_answer(body))?;
    if let Some(fault) = faults::of_response(&response) {
        return Err(fault);
    }
    let unreadable = || Fault::of(FaultClass::InvalidReply);
    if response.output.is_none() {
        return Err(unreadable());
    }
    let items = response.items().map_err(|_| unreadable())?;
    let mut choice = Choice::default();
    let mut probabilities = Vec::new();
    for (_, item) in items {
        match item.kind.as_str() {
            "message" => read_message(item, &mut choice, &mut probabilities),
            "reasoning" => choice.thoughts.extend(read_thought(item)),
            "function_call" => choice.tool_calls.push(ToolUse {
                arguments: item.arguments().into(),
                id: item.call_id.filter(|id| !id.is_empty()).map(Into::into),
                name: item.name.unwrap_or_default().into(),
                signature: None,
            }),
            _ => {}
        }
    }
    if !probabilities.is_empty() {
        choice.logprobs = Some(json!({"content": probabilities, "refusal": null}));
    }
    choice.finish = finish(&response, !choice.tool_calls.is_empty());
    if choice.finish.is_none() {
        // It is not over, and nobody will ask again.
        return Err(unreadable());
    }
    let (counts, created) = (response.counts(), response.created_at());
    Ok(ChatReply {
        id: response.id,
        model: response.model,
        created: created.and_then(seconds),
        choices: vec![choice],
        counts,
    })
}

fn read_message(item: wire::OutputItem, choice: &mut Choice, probabilities: &mut Vec<Value>) {
    for part in item.content.unwrap_or_default() {
        match part.kind.as_str() {
            "output_text" => {
                let text = part.text.unwrap_or_default();
                choice.text.get_or_insert_default().push_str(&text);
                probabilities.extend(part.logprobs.unwrap_or_default());
            }
            "refusal" => {
                let refusal = part.refusal.unwrap_or_default();
                choice.refusal.get_or_insert_default().push_str(&refusal);
            }
            _ => {}
        }
    }
}

fn read_thought(item: wire::OutputItem) -> Option<Thought<'static>> {
    let text = thought_text(&item);
    let proof = item.encrypted_content.filter(|proof| !proof.is_empty());
    let proof = proof.map(|proof| proofs::of_responses(&proof).into());
    match (text.is_empty(), proof) {
        (true, proof) => proof.map(Thought::Redacted),
        (false, signature) => Some(Thought::Text {
            text: text.into(),
            signature,
        }),
    }
}

/// The summary, or what was thought itself where a server shows that.
fn thought_text(item: &wire::OutputItem) -> String {
    let parts = item.summary.iter().chain(&item.content).flatten();
    let texts: Vec<&str> = parts.filter_map(|part| part.text.as_deref()).collect();
    texts.join(BETWEEN_PARTS)
}

/// Why an answer ended; `None` when it has not.
fn finish(response: &wire::Response<'_>, calls: bool) -> Option<Finish> {
    match response.status.as_deref() {
        Some("completed") if calls => Some(Finish::new("completed", FinishReason::ToolCalls)),
        Some("completed") => Some(Finish::new("completed", FinishReason::Stop)),
        Some("incomplete") => {
            let details = response.incomplete_details.as_ref();
            let word = details
                .and_then(|details| details.reason.as_deref())
                .unwrap_or("incomplete");
            let reason = match word {
                "max_output_tokens" | "max_tokens" => FinishReason::Length,
                "content_filter" => FinishReason::ContentFilter,
                _ => FinishReason::Other,
            };
            Some(Finish::new(word, reason))
        }
        _ => None,
    }
}

/// Whole seconds of a time that some servers write with a fraction.
#[expect(clippy::cast_possible_truncation, reason = "checked to be within range")]
fn seconds(at: f64) -> Option<i64> {
    (0.0..1e15).contains(&at).then_some(at as i64)
}
