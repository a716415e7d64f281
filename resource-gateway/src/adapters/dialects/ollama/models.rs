//! `GET /api/tags`.

use serde::Deserialize;

use crate::{
    adapters::dialects::error_object,
    domain::fault::Fault,
    ports::codec::{Encoded, ModelList, Models},
};

/// The models that were pulled.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OllamaModels;

#[derive(Deserialize)]
struct List {
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
}

impl ModelList for OllamaModels {
    fn path(&self) -> &'static str {
        "/api/tags"
    }

    fn encode(&self, _: Option<u32>) -> Encoded {
        Encoded::get("")
    }

    fn decode(&self, body: &[u8]) -> Result<Models, Fault> {
        let list: List = serde_json::from_slice(body).map_err(|_| error_object::in_place_of_an_answer(body))?;
        Ok(Models::all(list.models.into_iter().map(|model| model.name).collect()))
    }
}
