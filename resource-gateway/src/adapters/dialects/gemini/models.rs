//! `GET /models`.

use serde::Deserialize;

use super::faults;
use crate::{
    adapters::dialects::reading::word,
    domain::fault::Fault,
    ports::codec::{Encoded, ModelList, Models},
};

/// The list of models, of which one page is asked for. Their names have the collection in front, as requests may have it, too.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GeminiModels;

#[derive(Deserialize)]
struct List {
    #[serde(default)]
    models: Vec<Model>,
    /// Of the next page.
    #[serde(default, rename = "nextPageToken", deserialize_with = "word")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
}

impl ModelList for GeminiModels {
    fn path(&self) -> &'static str {
        "/models"
    }

    fn encode(&self, limit: Option<u32>) -> Encoded {
        Encoded::get(limit.map(|limit| format!("?pageSize={limit}")).unwrap_or_default())
    }

    fn decode(&self, body: &[u8]) -> Result<Models, Fault> {
        let list: List = serde_json::from_slice(body).map_err(|_| faults::in_place_of_an_answer(body))?;
        Ok(Models {
            names: list.models.into_iter().map(|model| model.name).collect(),
            truncated: list.next.is_some_and(|next| !next.is_empty()),
        })
    }
}
