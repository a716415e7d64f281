//! `POST /api/embed`.

use http::HeaderMap;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{
    adapters::dialects::{
        error_object,
        vectors::{self, Input, Wanted},
    },
    domain::{call::Call, fault::Fault},
    ports::codec::{Codec, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target},
};

/// Vectors. Members that are not neutral stand in the request: `truncate`, `keep_alive`, `options`.
#[derive(Debug, Clone, Copy, Default)]
pub struct OllamaEmbeddings;

#[derive(Deserialize)]
struct Reply {
    embeddings: Vec<Box<RawValue>>,
    #[serde(default)]
    prompt_eval_count: Option<Value>,
}

impl Codec for OllamaEmbeddings {
    fn path(&self) -> &'static str {
        "/api/embed"
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        let body = call.body();
        let wanted = Wanted::read(&body)?;
        let mut request = wanted.more;
        request.insert("model".to_owned(), json!(target.model));
        let input = match &wanted.input {
            Input::One(text) => json!(text),
            Input::Many(texts) => json!(texts),
        };
        request.insert("input".to_owned(), input);
        if let Some(dimensions) = wanted.dimensions {
            request.insert("dimensions".to_owned(), dimensions.into());
        }
        Ok(Encoded::json(&Value::Object(request)))
    }

    fn decode(&self, call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let read: Reply =
            serde_json::from_slice(&reply.body).map_err(|_| error_object::in_place_of_an_answer(&reply.body))?;
        let tokens = read.prompt_eval_count.and_then(|count| count.as_u64());
        Ok(vectors::answer(call, &read.embeddings, reply.model, tokens)?.into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        error_object::decode(status, headers, body)
    }

    fn stream(&self, _: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}
