//! Embeddings by InvokeModel: each family of models has a format of its own.

use http::{HeaderMap, Method};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use super::{HOME, JSON, convert::unreadable, errors, place};
use crate::{
    adapters::dialects::{
        reading::count,
        vectors::{self, Wanted},
    },
    domain::{
        call::Call,
        fault::{Fault, PublicError},
    },
    ports::codec::{
        Ask, Codec, EncodeError, Encoded, NoStream, Opening, Outcome, Received, Step, StreamDecoder, Target,
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

fn refused(param: &str, message: impl Into<Box<str>>) -> EncodeError {
    EncodeError::Refused(PublicError::invalid(Some(param), "unsupported_by_provider", message))
}

/// The request for what follows after so many texts.
fn request(wanted: &Wanted<'_>, family: Family, model: &str, done: usize) -> Option<Encoded> {
    // Other members are the model's, by its own names.
    let mut body = wanted.more.clone();
    match family {
        Family::Titan => {
            body.insert("inputText".to_owned(), json!(wanted.texts().get(done)?));
            if let Some(dimensions) = wanted.dimensions {
                body.insert("dimensions".to_owned(), json!(dimensions));
            }
        }
        Family::Cohere => {
            body.insert("texts".to_owned(), json!(wanted.texts()));
            if let Some(dimensions) = wanted.dimensions {
                body.insert("output_dimension".to_owned(), json!(dimensions));
            }
            // The model must be told; who does not say wants to find things later.
            body.entry("input_type").or_insert_with(|| json!("search_document"));
        }
    }
    let body = Value::Object(body).to_string();
    Some(Encoded::of(JSON, body.into()).at(Method::POST, place(model, OPERATION)))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TitanReply {
    embedding: Box<RawValue>,
    #[serde(default, deserialize_with = "count")]
    input_text_token_count: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct CohereReply<'a> {
    #[serde(borrow)]
    embeddings: &'a RawValue,
}

/// By type where the caller named types.
#[derive(Debug, Deserialize)]
struct Typed {
    float: Vec<Box<RawValue>>,
}

impl CohereReply<'_> {
    fn vectors(&self) -> serde_json::Result<Vec<Box<RawValue>>> {
        match serde_json::from_str(self.embeddings.get()) {
            Ok(Typed { float }) => Ok(float),
            Err(_) => serde_json::from_str(self.embeddings.get()),
        }
    }
}

/// What came with the steps before: vectors as they were written, which nobody has to read again with each step.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Done<'a> {
    #[serde(borrow)]
    vectors: Vec<&'a str>,
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
        let body = call.body();
        let wanted = Wanted::read(&body)?;
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
        request(&wanted, family, target.model, 0).ok_or_else(|| refused("input", "'input' is empty."))
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        match Family::of(reply.model).ok_or_else(unreadable)? {
            Family::Titan => decode_titan(call, &reply),
            Family::Cohere => {
                let read = serde_json::from_slice::<CohereReply<'_>>(&reply.body).and_then(|read| read.vectors());
                let vectors = read.map_err(|_| errors::in_place_of_an_answer(&reply.body))?;
                Ok(vectors::answer(call, &vectors, reply.model, tokens_in(reply.headers))?.into())
            }
        }
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        errors::decode(status, headers, body)
    }

    fn stream(&self, _: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

/// One vector more, and the next text as long as there is one.
fn decode_titan(call: &Call, reply: &Received<'_>) -> Result<Outcome, Fault> {
    let read: TitanReply =
        serde_json::from_slice(&reply.body).map_err(|_| errors::in_place_of_an_answer(&reply.body))?;
    let mut done: Done<'_> = match reply.state {
        Value::Null => Done::default(),
        state => Done::deserialize(state).map_err(|_| unreadable())?,
    };
    done.vectors.push(read.embedding.get());
    if let Some(more) = read.input_text_token_count.or_else(|| tokens_in(reply.headers)) {
        done.tokens = Some(done.tokens.unwrap_or(0).saturating_add(more));
    }
    let body = call.body();
    // What it was asked with was judged before the first text, and only its texts are needed once they are through.
    let wanted = Wanted::read(&body).map_err(|_| unreadable())?;
    if let Some(next) = request(&wanted, Family::Titan, reply.model, done.vectors.len()) {
        return Ok(Outcome::Next(Box::new(Step {
            ask: Ask::Vendor(next),
            after: std::time::Duration::ZERO,
            state: serde_json::to_value(&done).map_err(|_| unreadable())?,
            cancel: None,
        })));
    }
    let vectors = done
        .vectors
        .iter()
        .map(|vector| RawValue::from_string((*vector).to_owned()));
    let vectors: Vec<_> = vectors.collect::<Result<_, _>>().map_err(|_| unreadable())?;
    Ok(vectors::answer(call, &vectors, reply.model, done.tokens)?.into())
}

fn tokens_in(headers: &HeaderMap) -> Option<u64> {
    headers.get(INPUT_TOKENS)?.to_str().ok()?.parse().ok()
}
