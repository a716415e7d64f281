//! Vectors of texts, and documents in the order of their relevance.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Wanted, faults, members, read, wrong};
use crate::{
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
    #[serde(default)]
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
    #[serde(default)]
    usage: Option<Tokens>,
}

#[derive(Deserialize)]
struct VectorsOutput {
    embeddings: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    #[serde(default)]
    text_index: u64,
    embedding: Vec<f64>,
}

/// Whether the caller wants bytes instead of numbers.
fn wants_base64(members: &Map<String, Value>) -> Result<bool, PublicError> {
    match members.get("encoding_format").unwrap_or(&Value::Null) {
        Value::Null => Ok(false),
        Value::String(format) if format == "float" => Ok(false),
        Value::String(format) if format == "base64" => Ok(true),
        _ => Err(wrong("encoding_format", "must be float or base64")),
    }
}

impl Codec for DashScopeEmbeddings {
    fn path(&self) -> &'static str {
        ""
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut wanted = Wanted::read(call, target)?;
        wants_base64(&wanted.members)?;
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
        let mut found: Vectors = read(&reply.body)?;
        found.output.embeddings.sort_by_key(|vector| vector.text_index);
        let packs = members(call).is_ok_and(|members| wants_base64(&members).unwrap_or(false));
        let data = found.output.embeddings.iter().map(|vector| {
            let embedding = match packs {
                true => Value::from(packed(&vector.embedding)),
                false => json!(vector.embedding),
            };
            json!({"object": "embedding", "index": vector.text_index, "embedding": embedding})
        });
        let data: Vec<Value> = data.collect();
        let tokens = found.usage.unwrap_or_default();
        let mut answer = json!({"object": "list", "data": data, "model": reply.model});
        if let (Some(told), Some(answer)) = (tokens.told(), answer.as_object_mut()) {
            answer.insert("usage".to_owned(), told);
        }
        Ok(Decoded {
            usage: tokens.usage(),
            ..Decoded::of(Answer::json(answer.to_string().into()))
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

/// OpenAI's other form: numbers of four bytes, the lowest first, in base64.
fn packed(vector: &[f64]) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "the form has no more digits")]
    let bytes: Vec<u8> = vector
        .iter()
        .flat_map(|number| (*number as f32).to_le_bytes())
        .collect();
    STANDARD.encode(bytes)
}

/// Documents in the order of their relevance.
#[derive(Debug, Clone, Copy, Default)]
pub struct DashScopeRerank;

#[derive(Deserialize)]
struct Ranks {
    #[serde(default)]
    request_id: Option<String>,
    output: RanksOutput,
    #[serde(default)]
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
        let (query, documents) = (wanted.take("query"), wanted.take("documents"));
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
