//! `POST /models/{model}:countTokens`.

use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::Map;

use super::{JSON, convert, faults, place, resource, wire, wire::Content};
use crate::{
    adapters::dialects::writing,
    domain::{chat::ChatRequest, fault::Fault},
    ports::{
        chat::TokenCount,
        codec::{EncodeError, Encoded, Target},
    },
};

/// Counts what a request has for input.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GeminiCount;

/// Only what is said, or the whole request where there is more to count.
#[derive(Serialize)]
#[serde(rename_all = "camelCase", untagged)]
enum Counted<'a> {
    Said {
        contents: Vec<Content<'a>>,
    },
    #[serde(rename_all = "camelCase")]
    All {
        generate_content_request: Box<All<'a>>,
    },
}

#[derive(Serialize)]
struct All<'a> {
    model: String,
    #[serde(flatten)]
    request: wire::Request<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reply {
    total_tokens: u64,
}

impl TokenCount for GeminiCount {
    fn encode(&self, request: &ChatRequest<'_>, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut written = convert::request(request, target.fetched)?;
        // How it answers is not counted.
        written.generation_config = Map::new();
        let more = written.system_instruction.is_some() || !written.tools.is_empty() || !written.beside.is_empty();
        let counted = match more {
            false => Counted::Said {
                contents: written.contents,
            },
            true => Counted::All {
                generate_content_request: Box::new(All {
                    model: resource(target.model),
                    request: written,
                }),
            },
        };
        let body = writing::written(&counted, writing::room_for(request));
        Ok(Encoded::of(JSON, body).at(Method::POST, place(target.model, "countTokens")))
    }

    fn decode(&self, body: &[u8]) -> Result<u64, Fault> {
        let reply: Reply = serde_json::from_slice(body).map_err(|_| faults::in_place_of_an_answer(body))?;
        Ok(reply.total_tokens)
    }
}
