//! `POST /models/{model}:batchEmbedContents`, for one text as well.

use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use super::{JSON, faults, place, resource};
use crate::{
    adapters::dialects::{
        support,
        vectors::{self, Wanted},
        writing::written,
    },
    domain::{call::Call, fault::Fault},
    ports::codec::{Codec, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target},
};

/// Vectors. Members that are not neutral are the vendor's for each text: `taskType`, `title`.
#[derive(Debug, Clone, Copy, Default)]
pub struct GeminiEmbeddings;

/// Members that are written here, in both of the vendor's spellings: said twice, the caller's would be the last.
const OURS: [&str; 3] = ["content", "outputDimensionality", "output_dimensionality"];

#[derive(Serialize)]
struct Request<'a> {
    requests: Vec<One<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct One<'a> {
    model: &'a str,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u64>,
    #[serde(flatten)]
    more: &'a Map<String, Value>,
}

#[derive(Serialize)]
struct Content<'a> {
    parts: [Text<'a>; 1],
}

#[derive(Serialize)]
struct Text<'a> {
    text: &'a str,
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    embeddings: Vec<Vector>,
    /// Of an answer to a single text.
    #[serde(default)]
    embedding: Option<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    values: Box<RawValue>,
}

impl Codec for GeminiEmbeddings {
    fn path(&self) -> &'static str {
        ""
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let body = call.body();
        let mut wanted = Wanted::read(&body)?;
        for name in OURS {
            if wanted.more.remove(name).is_some() {
                return Err(support::unsupported(name).into());
            }
        }
        let model = resource(target.model);
        let requests = wanted.texts().iter().map(|text| One {
            model: &model,
            content: Content { parts: [Text { text }] },
            output_dimensionality: wanted.dimensions,
            more: &wanted.more,
        });
        let request = Request {
            requests: requests.collect(),
        };
        let body = written(&request, body.len() + 128 * request.requests.len());
        Ok(Encoded::of(JSON, body).at(Method::POST, place(target.model, "batchEmbedContents")))
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let fault = || faults::in_place_of_an_answer(&reply.body);
        let read: Reply = serde_json::from_slice(&reply.body).map_err(|_| fault())?;
        let vectors = read.embeddings.into_iter().chain(read.embedding);
        let vectors: Vec<_> = vectors.map(|vector| vector.values).collect();
        if vectors.is_empty() {
            return Err(fault());
        }
        // Nothing is said of tokens.
        Ok(vectors::answer(call, &vectors, reply.model, None)?.into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}
