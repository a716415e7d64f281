//! `GetEmbedding` of Hunyuan.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{HUNYUAN, PATH, faults, read, support, wire::Usage};
use crate::{
    adapters::dialects::{
        reading::if_object,
        vectors::{self, Numbered},
    },
    domain::{
        call::Call,
        fault::{Fault, PublicError},
    },
    ports::codec::{Codec, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target},
};

/// Texts at once.
const MOST: usize = 50;

/// Vectors of texts. The vendor has one model for it and no name for that.
#[derive(Debug, Clone, Copy, Default)]
pub struct TencentEmbeddings;

#[derive(Deserialize)]
struct Wanted {
    input: Value,
    #[serde(default)]
    encoding_format: Option<String>,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

fn parse(call: &Call) -> Result<Wanted, PublicError> {
    serde_json::from_slice(&call.body()).map_err(|_| wrong("encoding_format", "must be float or base64"))
}

fn wrong(field: &str, why: &str) -> PublicError {
    PublicError::invalid(Some(field), "invalid_value", format!("The field '{field}' {why}."))
}

impl Codec for TencentEmbeddings {
    fn path(&self) -> &'static str {
        PATH
    }

    fn home(&self) -> Option<&'static str> {
        Some(HUNYUAN.home)
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let mut wanted = parse(call)?;
        if !matches!(wanted.encoding_format.as_deref(), None | Some("float" | "base64")) {
            return Err(wrong("encoding_format", "must be float or base64").into());
        }
        let mut dropped = Vec::new();
        wanted.rest.remove("model");
        for field in ["dimensions", "user"] {
            if wanted.rest.remove(field).is_some_and(|value| !value.is_null()) {
                support::cannot(field, target.when_unsupported, &mut dropped)?;
            }
        }
        let member = match &wanted.input {
            Value::String(_) => "Input",
            Value::Array(texts) if texts.len() > MOST => {
                return Err(wrong(
                    "input",
                    "holds more than 50 texts, which the provider does not take at once",
                )
                .into());
            }
            Value::Array(texts) if texts.iter().all(Value::is_string) => "InputList",
            // Tokens of another vendor's model.
            _ => return Err(support::unsupported("input").into()),
        };
        for name in ["Input", "InputList"] {
            wanted.rest.remove(name);
        }
        wanted.rest.insert(member.to_owned(), wanted.input);
        let encoded = HUNYUAN.call("GetEmbedding", &wanted.rest);
        Ok(Encoded { dropped, ..encoded })
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let found: Vectors = read(&reply.body)?;
        let tokens = found.usage.and_then(|usage| usage.prompt.or(usage.total));
        Ok(vectors::answer(call, &vectors::in_order(found.data), reply.model, tokens)?.into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        faults::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Vectors {
    data: Vec<Numbered>,
    #[serde(default, deserialize_with = "if_object")]
    usage: Option<Usage>,
}
