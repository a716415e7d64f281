//! `POST /rerank`.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{embeddings::Meta, faults};
use crate::{
    domain::{
        answer::{Answer, Ranking},
        call::Call,
        fault::{Fault, PublicError},
    },
    ports::codec::{Codec, Decoded, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target},
};

/// Documents in order. Answers are in the shape that rerankers have in common, which is this vendor's.
#[derive(Debug, Clone, Copy, Default)]
pub struct CohereRerank;

/// What is asked for.
#[derive(Deserialize)]
struct Wanted {
    query: String,
    documents: Vec<Document>,
    /// Whether the answer shows the documents, which is not for the vendor to do.
    #[serde(default)]
    return_documents: Option<bool>,
    /// The vendor's own: `top_n`, `max_tokens_per_doc`.
    #[serde(flatten)]
    more: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Text(String),
    Object { text: String },
}

impl Document {
    fn text(&self) -> &str {
        let (Self::Text(text) | Self::Object { text }) = self;
        text
    }
}

/// Members that are between the caller and the gateway.
const NOT_THE_MODELS: [&str; 2] = ["model", "min_confidence"];

impl Wanted {
    fn read(body: &[u8]) -> Result<Self, PublicError> {
        let mut wanted: Self = serde_json::from_slice(body).map_err(|_| {
            let message = "'query' must be a text, and 'documents' texts or objects with a 'text'.";
            PublicError::invalid(Some("documents"), "unsupported_by_provider", message)
        })?;
        for name in NOT_THE_MODELS {
            wanted.more.remove(name);
        }
        // The name of others for the same.
        if let Some(most) = wanted.more.remove("top_k") {
            wanted.more.entry("top_n").or_insert(most);
        }
        Ok(wanted)
    }
}

impl Codec for CohereRerank {
    fn path(&self) -> &'static str {
        "/rerank"
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let wanted = Wanted::read(&call.body())?;
        let texts: Vec<&str> = wanted.documents.iter().map(Document::text).collect();
        let texts = json!(texts);
        let mut request = wanted.more;
        request.insert("model".to_owned(), json!(target.model));
        request.insert("query".to_owned(), json!(wanted.query));
        request.insert("documents".to_owned(), texts);
        Ok(Encoded::json(&Value::Object(request)))
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let fault = || faults::in_place_of_an_answer(&reply.body);
        let mut ranking: Ranking = serde_json::from_slice(&reply.body).map_err(|_| fault())?;
        let meta = ranking.more.get("meta").and_then(|meta| Meta::deserialize(meta).ok());
        let units = meta.and_then(|meta| meta.billed_units?.searches);
        if let Some(units) = units {
            ranking.more.insert("usage".to_owned(), json!({"search_units": units}));
        }
        let wanted = Wanted::read(&call.body()).map_err(|_| fault())?;
        if wanted.return_documents == Some(true) {
            for ranked in &mut ranking.results {
                let document = usize::try_from(ranked.index).ok();
                let document = document.and_then(|at| wanted.documents.get(at));
                if let Some(document) = document {
                    let shown = json!({"text": document.text()});
                    ranked.more.insert("document".to_owned(), shown);
                }
            }
        }
        Ok(Decoded::of(Answer::Ranking(ranking)).into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}
