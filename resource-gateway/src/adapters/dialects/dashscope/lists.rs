//! Vectors of texts, and documents in the order of their relevance.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Wanted, faults, read, wrong};
use crate::{
    adapters::dialects::{
        reading::{count, if_object, word},
        vectors::{self, Numbered},
    },
    domain::{
        answer::{Answer, Ranked, Ranking},
        call::Call,
        fault::{Fault, PublicError},
    },
    ports::codec::{
        Codec, Decoded, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target, TokenUsage,
    },
};

const EMBEDDINGS: &str = "/api/v1/services/embeddings/text-embedding/text-embedding";
const RERANK: &str = "/api/v1/services/rerank/text-rerank/text-rerank";

/// Vectors of texts. How many at once is for the vendor to say: each of its models takes another number.
#[derive(Debug, Clone, Copy, Default)]
pub struct DashScopeEmbeddings;

#[derive(Default, Clone, Copy, Deserialize)]
struct Tokens {
    #[serde(default, deserialize_with = "count")]
    total_tokens: Option<u64>,
}

impl Tokens {
    fn usage(self) -> Option<TokenUsage> {
        self.total_tokens.map(|input| TokenUsage {
            input,
            ..TokenUsage::default()
        })
    }

    fn told(self) -> Option<Value> {
        self.total_tokens
            .map(|tokens| json!({"prompt_tokens": tokens, "total_tokens": tokens}))
    }
}

#[derive(Deserialize)]
struct Vectors {
    output: VectorsOutput,
    #[serde(default, deserialize_with = "if_object")]
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct VectorsOutput {
    embeddings: Vec<Numbered>,
}

/// Whether the caller wants bytes or numbers is between the two of us.
fn check_encoding(members: &Map<String, Value>) -> Result<(), PublicError> {
    match members.get("encoding_format").unwrap_or(&Value::Null) {
        Value::Null => Ok(()),
        Value::String(format) if format == "float" || format == "base64" => Ok(()),
        _ => Err(wrong("encoding_format", "must be float or base64")),
    }
}

impl Codec for DashScopeEmbeddings {
    fn path(&self) -> &'static str {
        ""
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut wanted = Wanted::read(call, target)?;
        check_encoding(&wanted.members)?;
        wanted.take("encoding_format");
        wanted.leave_out(&["user"])?;
        let texts = match wanted.take("input").unwrap_or_default() {
            Value::String(text) => json!([text]),
            Value::Array(texts) if texts.iter().all(Value::is_string) => Value::Array(texts),
            // Tokens of another vendor's model.
            _ => return Err(wrong("input", "must be a text or an array of texts for this provider").into()),
        };
        if let Some(dimensions) = wanted.take("dimensions") {
            wanted.members.insert("dimension".to_owned(), dimensions);
        }
        Ok(wanted.into_request(target.model, EMBEDDINGS, &json!({"texts": texts})))
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let found: Vectors = read(&reply.body)?;
        let vectors = vectors::in_order(found.output.embeddings);
        let tokens = found.usage.and_then(|usage| usage.total_tokens);
        Ok(vectors::answer(call, &vectors, reply.model, tokens)?.into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

/// Documents in the order of their relevance.
#[derive(Debug, Clone, Copy, Default)]
pub struct DashScopeRerank;

#[derive(Deserialize)]
struct Ranks {
    #[serde(default, deserialize_with = "word")]
    request_id: Option<String>,
    output: RanksOutput,
    #[serde(default, deserialize_with = "if_object")]
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct RanksOutput {
    results: Vec<Ranked>,
}

impl Codec for DashScopeRerank {
    fn path(&self) -> &'static str {
        ""
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut wanted = Wanted::read(call, target)?;
        // The name of others for the same.
        if let Some(most) = wanted.take("top_k") {
            wanted.members.entry("top_n").or_insert(most);
        }
        let (query, mut documents) = (wanted.take("query"), wanted.take("documents"));
        for document in documents.iter_mut().filter_map(Value::as_array_mut).flatten() {
            if let Some(text) = document
                .get_mut("text")
                .filter(|text| text.is_string())
                .map(Value::take)
            {
                *document = text;
            }
        }
        let input = json!({"query": query, "documents": documents});
        Ok(wanted.into_request(target.model, RERANK, &input))
    }

    fn decode(&self, _call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let found: Ranks = read(&reply.body)?;
        let tokens = found.usage.unwrap_or_default();
        let mut more = Map::from_iter([("model".to_owned(), json!(reply.model))]);
        more.extend(found.request_id.map(|id| ("id".to_owned(), json!(id))));
        more.extend(tokens.told().map(|usage| ("usage".to_owned(), usage)));
        let answer = Answer::Ranking(Ranking {
            results: found.output.results,
            filtered: None,
            more,
        });
        Ok(Decoded {
            usage: tokens.usage(),
            ..Decoded::of(answer)
        }
        .into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}
