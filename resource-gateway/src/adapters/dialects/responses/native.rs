//! Responses for callers who speak that format themselves: their bytes pass, and so do the answer's.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;

use super::{PATH, error_object, read_reply, stream::Reader};
use crate::{
    adapters::dialects::{passing::Passing, translated::whole},
    domain::{
        call::Call,
        chat::proofs,
        fault::Fault,
        json_object::{Edit, JsonObject, elements},
    },
    ports::codec::{Codec, EncodeError, Encoded, Opening, Outcome, Received, StreamDecoder, Target},
};

/// `POST /responses`, word for word but for the model's name and for what would be kept.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OpenAiResponses;

impl Codec for OpenAiResponses {
    fn path(&self) -> &'static str {
        PATH
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let json = HeaderValue::from_static("application/json");
        let body = call.verbatim_with(target.model, keeping_nothing).unwrap_or_default();
        let encoded = Encoded {
            body,
            ..Encoded::of(json, Bytes::new())
        };
        Ok(if call.stream { encoded.streaming() } else { encoded })
    }

    fn decode(&self, _: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let answer = read_reply(&reply.body)?;
        Ok(whole(&answer, reply.body))
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        error_object::decode(status, headers, body)
    }

    fn stream(&self, _: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(Passing::<Reader>::default())
    }
}

/// What has to be otherwise than the caller wrote it. Where nothing is said the vendor keeps what it answers, and finds thoughts by
/// their name among what it kept, whoever had asked for them: those that do not hold their own content are left out.
fn keeping_nothing(request: &JsonObject<'_>) -> Vec<Edit> {
    let mut edits = Vec::new();
    let says_no = request
        .get("store")
        .is_ok_and(|store| store.is_some_and(|store| store.value == "false"));
    if !says_no {
        edits.extend(request.set("store", "false"));
    }
    if let Ok(Some(input)) = request.get("input")
        && let Ok(items) = elements(input.value)
    {
        let whole: Vec<&str> = items.iter().copied().filter(|item| !is_a_reference(item)).collect();
        if whole.len() < items.len() {
            edits.push(Edit {
                range: input.range.clone(),
                with: format!("[{}]", whole.join(",")),
            });
        }
    }
    edits
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(default, rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    encrypted_content: Option<Cow<'a, str>>,
}

/// Whether an item is a thought that only its vendor could know, or that is another vendor's.
fn is_a_reference(item: &str) -> bool {
    serde_json::from_str::<Item<'_>>(item).is_ok_and(|item| {
        let is_thought = item.kind.is_some_and(|kind| kind == "reasoning");
        let is_others = |kept: &str| kept.is_empty() || proofs::is_others(kept);
        is_thought && item.encrypted_content.as_deref().is_none_or(is_others)
    })
}
