//! `GET /models`.

use serde::Deserialize;

use super::{error_object, read};
use crate::{
    domain::fault::{Fault, FaultClass},
    ports::codec::{Encoded, ModelList, Models},
};

/// OpenAI's list of models.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAiModels;

#[derive(Deserialize)]
struct List {
    data: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
}

impl ModelList for OpenAiModels {
    fn path(&self) -> &'static str {
        "/models"
    }

    fn encode(&self, _: Option<u32>) -> Encoded {
        Encoded::get("")
    }

    fn decode(&self, body: &[u8]) -> Result<Models, Fault> {
        read(body).map_err(|fault| match fault.class {
            FaultClass::InvalidReply => error_object::in_place_of_an_answer(body),
            _ => fault,
        })?;
        let list: List = serde_json::from_slice(body).map_err(|_| Fault::of(FaultClass::InvalidReply))?;
        Ok(Models::all(list.data.into_iter().map(|model| model.id).collect()))
    }
}
