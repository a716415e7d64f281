//! Embeddings by InvokeModel: each family of models has a format of its own.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{HOME, JSON, convert::unreadable, errors, place};
use crate::{
    adapters::dialects::reading::count,
    domain::{
        answer::Answer,
        call::Call,
        fault::{Fault, PublicError},
    },
    ports::codec::{
        Ask, Codec, Decoded, EncodeError, Encoded, NoStream, Opening, Outcome, Received, Step, StreamDecoder, Target,
        TokenUsage,
    },
};

const OPERATION: &str = "invoke";
/// What the vendor counted stands in the head of the answer, whatever the family.
const INPUT_TOKENS: &str = "x-amzn-bedrock-input-token-count";
/// Titan reads one text a call, one call after the other. Cohere reads as many at once.
const MOST_TEXTS: usize = 96;

/// `POST /model/{model}/invoke` of models that make vectors: Amazon's Titan and Cohere's.
#[derive(Debug, Clone, Copy, Default)]
pub struct BedrockEmbeddings;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Titan,
    Cohere,
}

impl Family {
    /// By the model's name, which may have a region in front or be an ARN.
    fn of(model: &str) -> Option<Self> {
        let is = |family: &str| model.contains(family);
        match (is("amazon.titan-embed-text"), is("cohere.embed")) {
            (true, _) => Some(Self::Titan),
            (_, true) => Some(Self::Cohere),
            _ => None,
        }
    }
}

/// What the caller asks for, in OpenAI's words. Other members are the model's, by its own names.
#[derive(Debug, Deserialize)]
struct Wanted {
    input: Input,
    #[serde(default)]
    dimensions: Option<u32>,
    #[serde(default)]
    encoding_format: Option<String>,
    #[serde(flatten)]
    more: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
}

/// Members that are between the caller and the gateway.
const NOT_THE_MODELS: [&str; 2] = ["model", "user"];

fn refused(param: &str, message: impl Into<Box<str>>) -> EncodeError {
    EncodeError::Refused(PublicError::invalid(Some(param), "unsupported_by_provider", message))
}

impl Wanted {
    fn read(body: &[u8]) -> Result<Self, EncodeError> {
        let message = "'input' must be a text or a list of texts for the provider behind this model.";
        let mut wanted: Self = serde_json::from_slice(body).map_err(|_| refused("input", message))?;
        for name in NOT_THE_MODELS {
            wanted.more.remove(name);
        }
        match wanted.encoding_format.as_deref() {
            None | Some("float" | "base64") => Ok(wanted),
            Some(_) => Err(refused("encoding_format", "'encoding_format' must be float or base64.")),
        }
    }

    fn texts(&self) -> &[String] {
        match &self.input {
            Input::One(text) => std::slice::from_ref(text),
            Input::Many(texts) => texts,
        }
    }

    /// The request for what follows after so many texts.
    fn request(&self, family: Family, model: &str, done: usize) -> Option<Encoded> {
        let mut body = self.more.clone();
        match family {
            Family::Titan => {
                body.insert("inputText".to_owned(), json!(self.texts().get(done)?));
                if let Some(dimensions) = self.dimensions {
                    body.insert("dimensions".to_owned(), json!(dimensions));
                }
            }
            Family::Cohere => {
                body.insert("texts".to_owned(), json!(self.texts()));
                if let Some(dimensions) = self.dimensions {
                    body.insert("output_dimension".to_owned(), json!(dimensions));
                }
                // The model must be told; who does not say wants to find things later.
                body.entry("input_type").or_insert_with(|| json!("search_document"));
            }
        }
        let body = Value::Object(body).to_string();
        Some(Encoded::of(JSON, body.into()).at(Method::POST, place(model, OPERATION)))
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TitanReply {
    embedding: Vec<f64>,
    #[serde(default, deserialize_with = "count")]
    input_text_token_count: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct CohereReply {
    embeddings: CohereVectors,
}

/// By type where the caller named types.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum CohereVectors {
    Plain(Vec<Vec<f64>>),
    Typed { float: Vec<Vec<f64>> },
}

/// What came with the steps before.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Done {
    vectors: Vec<Vec<f64>>,
    tokens: Option<u64>,
}

impl Codec for BedrockEmbeddings {
    fn path(&self) -> &'static str {
        ""
    }

    fn home(&self) -> Option<&'static str> {
        Some(HOME)
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let wanted = Wanted::read(&call.body())?;
        let family = Family::of(target.model).ok_or_else(|| {
            refused(
                "model",
                "The provider's model makes no vectors in a format that is known here.",
            )
        })?;
        if wanted.texts().len() > MOST_TEXTS {
            let message =
                format!("'input' must not have more than {MOST_TEXTS} texts for the provider behind this model.");
            return Err(refused("input", message));
        }
        wanted
            .request(family, target.model, 0)
            .ok_or_else(|| refused("input", "'input' is empty."))
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let fault = || errors::in_place_of_an_answer(&reply.body);
        let wanted = Wanted::read(&call.body()).map_err(|_| unreadable())?;
        let family = Family::of(reply.model).ok_or_else(unreadable)?;
        let mut done: Done = match reply.state {
            Value::Null => Done::default(),
            state => Done::deserialize(state).map_err(|_| unreadable())?,
        };
        let (vectors, counted) = match family {
            Family::Titan => {
                let read: TitanReply = serde_json::from_slice(&reply.body).map_err(|_| fault())?;
                (vec![read.embedding], read.input_text_token_count)
            }
            Family::Cohere => {
                let read: CohereReply = serde_json::from_slice(&reply.body).map_err(|_| fault())?;
                let (CohereVectors::Plain(vectors) | CohereVectors::Typed { float: vectors }) = read.embeddings;
                (vectors, None)
            }
        };
        done.vectors.extend(vectors);
        if let Some(more) = counted.or_else(|| tokens_in(reply.headers)) {
            done.tokens = Some(done.tokens.unwrap_or(0).saturating_add(more));
        }
        let missing = wanted.texts().len().saturating_sub(done.vectors.len());
        match family {
            Family::Titan if missing > 0 => {
                let next = wanted.request(family, reply.model, done.vectors.len());
                let state = serde_json::to_value(&done).map_err(|_| unreadable())?;
                Ok(Outcome::Next(Box::new(Step {
                    ask: Ask::Vendor(next.ok_or_else(unreadable)?),
                    after: std::time::Duration::ZERO,
                    state,
                    cancel: None,
                })))
            }
            _ if done.vectors.len() == wanted.texts().len() => Ok(answer(&wanted, &done, reply.model).into()),
            // A vector that belongs to no text, or a text without.
            _ => Err(unreadable()),
        }
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        errors::decode(status, headers, body)
    }

    fn stream(&self, _: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

fn tokens_in(headers: &HeaderMap) -> Option<u64> {
    headers.get(INPUT_TOKENS)?.to_str().ok()?.parse().ok()
}

/// The vectors as OpenAI writes them: its own libraries ask for base64 of small floats.
fn answer(wanted: &Wanted, done: &Done, model: &str) -> Decoded {
    let is_base64 = wanted.encoding_format.as_deref() == Some("base64");
    let vector = |vector: &Vec<f64>| match is_base64 {
        true => json!(STANDARD.encode(little_floats(vector))),
        false => json!(vector),
    };
    let data = done.vectors.iter().enumerate();
    let data = data.map(|(at, found)| json!({"object": "embedding", "index": at, "embedding": vector(found)}));
    let mut body = json!({"object": "list", "data": data.collect::<Vec<_>>(), "model": model});
    if let (Some(tokens), Some(body)) = (done.tokens, body.as_object_mut()) {
        body.insert(
            "usage".to_owned(),
            json!({"prompt_tokens": tokens, "total_tokens": tokens}),
        );
    }
    Decoded {
        usage: done.tokens.map(|input| TokenUsage {
            input,
            ..TokenUsage::default()
        }),
        ..Decoded::of(Answer::json(Bytes::from(body.to_string())))
    }
}

/// Four bytes each, the lowest first.
fn little_floats(vector: &[f64]) -> Vec<u8> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the format has small floats, and so have the models"
    )]
    let small = vector.iter().flat_map(|number| (*number as f32).to_le_bytes());
    small.collect()
}
