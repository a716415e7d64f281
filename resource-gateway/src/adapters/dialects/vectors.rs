//! Embeddings as OpenAI writes them, for vendors that have a format of their own.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use super::reading::count;
use crate::{
    domain::{
        answer::Answer,
        call::Call,
        fault::{Fault, FaultClass, PublicError},
    },
    ports::codec::{Decoded, TokenUsage},
};

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted<'a> {
    #[serde(borrow)]
    pub(super) input: Input<'a>,
    #[serde(default)]
    pub(super) dimensions: Option<u64>,
    #[serde(default)]
    #[expect(
        dead_code,
        reason = "it is read so that another one is refused; the answer looks at it by itself"
    )]
    encoding_format: Option<Encoding>,
    /// Members that are the vendor's, by its own names.
    #[serde(flatten)]
    pub(super) more: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Input<'a> {
    One(#[serde(borrow)] Cow<'a, str>),
    Many(#[serde(borrow)] Vec<Cow<'a, str>>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    Float,
    Base64,
}

/// Members that no vendor gets: they are between the caller and the gateway, or OpenAI's bookkeeping.
const NOT_THE_MODELS: [&str; 2] = ["model", "user"];

impl<'a> Wanted<'a> {
    /// # Errors
    /// The input is no text, or the encoding is one that there is not.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, PublicError> {
        let mut wanted: Self = serde_json::from_slice(body).map_err(|_| {
            let message = "For the provider behind this model 'input' must be a text or a list of texts, 'dimensions' \
                a number and 'encoding_format' float or base64.";
            PublicError::invalid(Some("input"), "unsupported_by_provider", message)
        })?;
        for name in NOT_THE_MODELS {
            wanted.more.remove(name);
        }
        Ok(wanted)
    }

    pub(super) fn texts(&self) -> &[Cow<'a, str>] {
        self.input.texts()
    }
}

/// What an answer has to suit. The rest was for the vendor to judge, and is no reason to lose what it answered.
#[derive(Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    input: Input<'a>,
    #[serde(default)]
    encoding_format: Option<Encoding>,
}

impl<'a> Input<'a> {
    fn texts(&self) -> &[Cow<'a, str>] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts) => texts,
        }
    }
}

/// A vendor's answer as OpenAI writes it. The vectors are passed on digit by digit, in the order of the input, unless base64 is
/// wanted, for which OpenAI's own libraries ask.
///
/// # Errors
/// There are more or fewer vectors than texts, or one of them is none.
pub(super) fn answer(
    call: &Call,
    vectors: &[Box<RawValue>],
    model: &str,
    tokens: Option<u64>,
) -> Result<Decoded, Fault> {
    let unreadable = || Fault::of(FaultClass::InvalidReply);
    let body = call.body();
    let asked: Asked<'_> = serde_json::from_slice(&body).map_err(|_| unreadable())?;
    let is_vector = |vector: &RawValue| vector.get().starts_with(['[', '"']);
    if asked.input.texts().len() != vectors.len() || !vectors.iter().all(|vector| is_vector(vector)) {
        return Err(unreadable());
    }
    let mut out = Vec::with_capacity(vectors.iter().map(|vector| vector.get().len() + 64).sum());
    out.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
    for (at, vector) in vectors.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(format!("{{\"object\":\"embedding\",\"index\":{at},\"embedding\":").as_bytes());
        match asked.encoding_format {
            Some(Encoding::Base64) => out.extend_from_slice(&packed(vector).ok_or_else(unreadable)?),
            Some(Encoding::Float) | None => out.extend_from_slice(vector.get().as_bytes()),
        }
        out.push(b'}');
    }
    out.extend_from_slice(format!("],\"model\":{}", json!(model)).as_bytes());
    if let Some(tokens) = tokens {
        let usage = json!({"prompt_tokens": tokens, "total_tokens": tokens});
        out.extend_from_slice(format!(",\"usage\":{usage}").as_bytes());
    }
    out.push(b'}');
    Ok(Decoded {
        usage: tokens.map(|input| TokenUsage {
            input,
            ..TokenUsage::default()
        }),
        ..Decoded::of(Answer::json(Bytes::from(out)))
    })
}

/// A vector with its place among the texts, as some vendors number them.
#[derive(Deserialize)]
pub(super) struct Numbered {
    #[serde(default, alias = "Index", alias = "text_index", deserialize_with = "count")]
    pub(super) index: Option<u64>,
    #[serde(alias = "Embedding")]
    pub(super) embedding: Box<RawValue>,
}

/// The vectors in the order of their texts; those without a number stay where they are.
pub(super) fn in_order(mut vectors: Vec<Numbered>) -> Vec<Box<RawValue>> {
    vectors.sort_by_key(|vector| vector.index.unwrap_or(0));
    vectors.into_iter().map(|vector| vector.embedding).collect()
}

/// Base64 of small floats, the lowest byte first, as a JSON string. What is base64 already stays.
fn packed(vector: &RawValue) -> Option<Vec<u8>> {
    if vector.get().starts_with('"') {
        return Some(vector.get().as_bytes().to_vec());
    }
    let numbers: Vec<f32> = serde_json::from_str(vector.get()).ok()?;
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Some(format!("\"{}\"", STANDARD.encode(bytes)).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::interface::Capability;

    fn call(more: &Value) -> Call {
        let mut body = json!({"model": "m", "input": ["a", "b\n"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Call::read(Capability::Embeddings, body.to_string().into(), None).unwrap()
    }

    fn answered(call: &Call, vectors: &[&str]) -> Result<Value, FaultClass> {
        let vectors: Vec<_> = vectors
            .iter()
            .map(|vector| RawValue::from_string((*vector).to_owned()).unwrap())
            .collect();
        let decoded = answer(call, &vectors, "up", Some(7)).map_err(|fault| fault.class)?;
        assert_eq!(decoded.usage.map(|usage| usage.input), Some(7));
        Ok(serde_json::from_slice(&decoded.answer.into_body().0).unwrap())
    }

    #[test]
    fn vectors_keep_their_digits_and_their_order() {
        let call = call(&json!({}));
        let body = answered(&call, &["[0.25,-0.5,1e-3]", "[1.0]"]).unwrap();
        assert_eq!(
            body,
            json!({"object": "list", "model": "up", "usage": {"prompt_tokens": 7, "total_tokens": 7}, "data": [
                {"object": "embedding", "index": 0, "embedding": [0.25, -0.5, 1e-3]},
                {"object": "embedding", "index": 1, "embedding": [1.0]}]})
        );
    }

    #[test]
    fn base64_is_of_small_floats() {
        let call = call(&json!({"encoding_format": "base64"}));
        let body = answered(&call, &["[0.25,-0.5]", "\"eA==\""]).unwrap();
        assert_eq!(body["data"][0]["embedding"], "AACAPgAAAL8=");
        assert_eq!(body["data"][1]["embedding"], "eA==");
        assert_eq!(answered(&call, &["[0.25]", "[\"x\"]"]), Err(FaultClass::InvalidReply));
    }

    #[test]
    fn a_vector_that_belongs_to_no_text_is_no_answer() {
        let call = call(&json!({}));
        assert_eq!(answered(&call, &["[1]"]), Err(FaultClass::InvalidReply));
        assert_eq!(answered(&call, &["[1]", "[2]", "[3]"]), Err(FaultClass::InvalidReply));
        assert_eq!(answered(&call, &["[1]", "null"]), Err(FaultClass::InvalidReply));
    }

    #[test]
    fn what_is_not_neutral_is_the_vendors() {
        let body = br#"{"model":"m","user":"u","input":"a","dimensions":3,"encoding_format":"float","taskType":"X"}"#;
        let wanted = Wanted::read(body).unwrap();
        assert_eq!((wanted.texts().len(), wanted.dimensions), (1, Some(3)));
        assert_eq!(Value::Object(wanted.more), json!({"taskType": "X"}));
        for body in [
            r#"{"model":"m","input":[1,2]}"#,
            r#"{"model":"m","input":[[1]]}"#,
            r#"{"model":"m","input":"a","encoding_format":"int8"}"#,
        ] {
            assert_eq!(Wanted::read(body.as_bytes()).unwrap_err().status, 400, "{body}");
        }
    }
}
