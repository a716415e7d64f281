//! `POST /embed`.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::{faults, wire::Units};
use crate::{
    adapters::dialects::vectors::{self, Wanted},
    domain::{call::Call, fault::Fault},
    ports::codec::{Codec, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target},
};

/// Vectors. Members that are not neutral stand in the request: `input_type`, `embedding_types`, `truncate`.
#[derive(Debug, Clone, Copy, Default)]
pub struct CohereEmbeddings;

#[derive(Deserialize)]
struct Reply {
    embeddings: ByType,
    #[serde(default)]
    pub(super) meta: Option<Meta>,
}

/// One of them is there; of several the one that callers know.
#[derive(Deserialize)]
struct ByType {
    #[serde(default)]
    float: Option<Vec<Box<RawValue>>>,
    #[serde(default)]
    int8: Option<Vec<Box<RawValue>>>,
    #[serde(default)]
    uint8: Option<Vec<Box<RawValue>>>,
    #[serde(default)]
    binary: Option<Vec<Box<RawValue>>>,
    #[serde(default)]
    ubinary: Option<Vec<Box<RawValue>>>,
    #[serde(default)]
    base64: Option<Vec<Box<RawValue>>>,
}

#[derive(Deserialize)]
pub(super) struct Meta {
    #[serde(default)]
    pub(super) billed_units: Option<Units>,
}

impl Codec for CohereEmbeddings {
    fn path(&self) -> &'static str {
        "/embed"
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let body = call.body();
        let wanted = Wanted::read(&body)?;
        let texts = json!(wanted.texts());
        let mut request = wanted.more;
        request.insert("model".to_owned(), json!(target.model));
        request.insert("texts".to_owned(), texts);
        if let Some(dimensions) = wanted.dimensions {
            request.insert("output_dimension".to_owned(), dimensions.into());
        }
        // Both have to be said. Who does not say wants to find things later.
        request.entry("input_type").or_insert_with(|| json!("search_document"));
        request.entry("embedding_types").or_insert_with(|| json!(["float"]));
        Ok(Encoded::json(&Value::Object(request)))
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let fault = || faults::in_place_of_an_answer(&reply.body);
        let read: Reply = serde_json::from_slice(&reply.body).map_err(|_| fault())?;
        let ByType {
            float,
            int8,
            uint8,
            binary,
            ubinary,
            base64,
        } = read.embeddings;
        let vectors = [float, int8, uint8, binary, ubinary, base64]
            .into_iter()
            .flatten()
            .next();
        let tokens = read.meta.and_then(|meta| meta.billed_units?.input);
        Ok(vectors::answer(call, &vectors.ok_or_else(fault)?, reply.model, tokens)?.into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}
