//! `GET /v1/models`.

use http::HeaderValue;
use serde::Deserialize;

use super::{NEWER, VERSION_HEADER, faults, wire};
use crate::{
    adapters::dialects::reading::if_readable,
    domain::fault::{Fault, FaultClass},
    ports::codec::{Encoded, ModelList, Models},
};

/// Anthropic's list of models.
#[derive(Debug, Clone, Copy, Default)]
pub struct AnthropicModels;

#[derive(Deserialize)]
struct List {
    data: Vec<Model>,
    #[serde(default, deserialize_with = "if_readable")]
    has_more: Option<bool>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

impl ModelList for AnthropicModels {
    fn path(&self) -> &'static str {
        "/v1/models"
    }

    fn encode(&self, limit: Option<u32>) -> Encoded {
        let query = limit.map(|limit| format!("?limit={limit}")).unwrap_or_default();
        Encoded::get(query).with(VERSION_HEADER, HeaderValue::from_static(NEWER))
    }

    fn decode(&self, body: &[u8]) -> Result<Models, Fault> {
        let list: List = serde_json::from_slice(body).map_err(|_| in_place_of_an_answer(body))?;
        Ok(Models {
            names: list.data.into_iter().map(|model| model.id).collect(),
            truncated: list.has_more == Some(true),
        })
    }
}

fn in_place_of_an_answer(body: &[u8]) -> Fault {
    let message: Option<wire::Message<'_>> = serde_json::from_slice(body).ok();
    let error = message.and_then(|message| message.error);
    error.map_or_else(
        || Fault::of(FaultClass::InvalidReply),
        |error| faults::in_band(error.get()),
    )
}
