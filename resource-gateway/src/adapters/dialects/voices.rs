//! The formats in which callers get their answers.

use bytes::Bytes;

use super::{anthropic, openai::render, responses, translated::EventWriter};
use crate::domain::{
    call::{Call, Voice},
    chat::ChatReply,
};

/// A whole answer in the caller's format. `model`, `at` and `seed` stand in for what the vendor did not say.
pub(super) fn whole(call: &Call, answer: &ChatReply, model: &str, at: i64, seed: u64) -> Bytes {
    match call.voice() {
        Voice::OpenAi => answer.to_openai(model, at, seed).to_string().into(),
        Voice::Anthropic => anthropic::render::message(answer, model, seed).to_string().into(),
        Voice::Responses => responses::render::response(answer, model, at, seed).to_string().into(),
    }
}

/// Writes a streamed answer in the caller's format.
pub(super) fn writer(call: &Call, model: &str, at: i64, seed: u64) -> Box<dyn EventWriter> {
    match call.voice() {
        Voice::OpenAi => Box::new(render::Chunks::new(model, at, seed, call.include_usage)),
        Voice::Anthropic => Box::new(anthropic::render::Messages::new(model, seed)),
        Voice::Responses => Box::new(responses::render::Responses::new(model, at, seed)),
    }
}
