//! `GET /models`.

use serde::Deserialize;

use super::faults;
use crate::{
    domain::fault::Fault,
    ports::codec::{Encoded, ModelList},
};

/// The list of models, of which one page is asked for. Their names have the collection in front, as requests may have it, too.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct GeminiModels;

#[derive(Deserialize)]
struct List {
    models: Vec<Model>,
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

    fn decode(&self, body: &[u8]) -> Result<Vec<String>, Fault> {
        let list: List = serde_json::from_slice(body).map_err(|_| faults::in_place_of_an_answer(body))?;
        Ok(list.models.into_iter().map(|model| model.name).collect())
    }
}
