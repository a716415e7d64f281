//! The gateway's own shapes as a wire format: what callers send for pictures and documents, sent on as it is. Vendors that speak
//! it need no translation; those that do not have dialects of their own.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error_object;
use crate::{
    domain::{
        answer::{Answer, Faces, Labels, Ocr, Ranking},
        call::Call,
        fault::Fault,
    },
    ports::codec::{
        Codec, Decoded, EncodeError, Encoded, NoStream, Opening, Outcome, Received, StreamDecoder, Target, TokenUsage,
    },
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// One capability: where it lies, and what an answer becomes.
#[derive(Debug, Clone, Copy)]
pub struct Normalised {
    path: &'static str,
    read: fn(&Bytes) -> Result<Read, serde_json::Error>,
    images: u64,
}

/// An answer that was read.
#[derive(Debug)]
struct Read {
    answer: Answer,
    usage: Option<Value>,
}

impl Normalised {
    /// `POST /ocr`.
    pub const OCR: Self = Self {
        path: "/ocr",
        images: 1,
        read: |body| {
            let ocr: Ocr = serde_json::from_slice(body)?;
            Ok(Read {
                usage: ocr.usage.clone(),
                answer: Answer::Ocr(ocr),
            })
        },
    };
    /// `POST /images/labels`.
    pub const LABELS: Self = Self {
        path: "/images/labels",
        images: 1,
        read: |body| {
            let labels: Labels = serde_json::from_slice(body)?;
            Ok(of_more(&labels.more.clone(), Answer::Labels(labels)))
        },
    };
    /// `POST /faces/detect`.
    pub const FACES: Self = Self {
        path: "/faces/detect",
        images: 1,
        read: |body| {
            let faces: Faces = serde_json::from_slice(body)?;
            Ok(of_more(&faces.more.clone(), Answer::Faces(faces)))
        },
    };
    /// `POST /rerank`.
    pub const RERANK: Self = Self {
        path: "/rerank",
        images: 0,
        read: |body| {
            let ranking: Ranking = serde_json::from_slice(body)?;
            Ok(of_more(&ranking.more.clone(), Answer::Ranking(ranking)))
        },
    };
}

fn of_more(more: &Map<String, Value>, answer: Answer) -> Read {
    Read {
        answer,
        usage: more.get("usage").cloned(),
    }
}

/// `usage` of such an answer.
#[derive(Default, Deserialize)]
struct Usage {
    #[serde(default, alias = "prompt_tokens")]
    input_tokens: u64,
    #[serde(default, alias = "completion_tokens")]
    output_tokens: u64,
}

impl Codec for Normalised {
    fn path(&self) -> &'static str {
        self.path
    }

    fn encode(&self, call: &Call, target: Target<'_>) -> Result<Encoded, EncodeError> {
        Ok(Encoded {
            content_type: JSON,
            accept: JSON,
            body: call.for_vendor(target.model),
            dialogue: None,
            place: None,
            dropped: Vec::new(),
            ends_elsewhere: false,
        })
    }

    fn decode(&self, _call: &Call, reply: Received<'_>) -> Result<Outcome, Fault> {
        let read = (self.read)(&reply.body).map_err(|_| error_object::in_place_of_an_answer(&reply.body))?;
        let usage = read.usage.and_then(|usage| Usage::deserialize(usage).ok());
        Ok(Decoded {
            usage: (usage.is_some() || self.images > 0).then(|| {
                let usage = usage.unwrap_or_default();
                TokenUsage {
                    input: usage.input_tokens,
                    output: usage.output_tokens,
                    images: self.images,
                    ..TokenUsage::default()
                }
            }),
            ..Decoded::of(read.answer)
        }
        .into())
    }

    fn decode_fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        error_object::decode(status, headers, body)
    }

    fn stream(&self, _call: &Call, _: Opening<'_>) -> Box<dyn StreamDecoder> {
        Box::new(NoStream)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{decoded, received, target};
    use super::*;
    use crate::domain::{confidence::Confidence, fault::FaultClass, interface::Capability, vendor::Vendor};
    use serde_json::json;

    fn call() -> Call {
        let body = r#"{"model":"m","image":{"base64":"x"},"min_confidence":0.5}"#;
        Call::read(Capability::Ocr, body.into(), None).unwrap()
    }

    fn decode(codec: Normalised, body: &Value) -> Result<Decoded, Fault> {
        let headers = HeaderMap::new();
        codec.decode(&call(), received(&headers, body.to_string())).map(decoded)
    }

    #[test]
    fn a_request_goes_on_without_what_is_between_the_caller_and_us() {
        let vendor = Vendor::named("v", "sandbox");
        let encoded = Normalised::OCR.encode(&call(), target(&vendor)).unwrap();
        assert_eq!(encoded.body.concat(), br#"{"model":"up","image":{"base64":"x"}}"#);
    }

    #[test]
    fn answers_are_read_and_counted() {
        let ocr =
            json!({"text": "four", "lines": [{"text": "four", "confidence": 0.4}], "usage": {"output_tokens": 3}});
        let mut decoded = decode(Normalised::OCR, &ocr).unwrap();
        assert_eq!(decoded.usage.map(|usage| usage.output), Some(3));
        assert_eq!(decoded.usage.map(|usage| usage.images), Some(1));
        assert_eq!(decoded.answer.hold_to(Confidence::new(0.5).unwrap()), 1);
        let ranking = json!({"results": [{"index": 0, "relevance_score": 0.5}], "usage": {"prompt_tokens": 7}});
        let decoded = decode(Normalised::RERANK, &ranking).unwrap();
        assert_eq!(decoded.usage.map(|usage| (usage.input, usage.images)), Some((7, 0)));
        let labels = decode(Normalised::LABELS, &json!({"labels": []})).unwrap();
        assert_eq!(labels.usage.map(|usage| (usage.input, usage.images)), Some((0, 1)));
    }

    #[test]
    fn what_is_no_answer_is_a_fault() {
        for body in [json!({}), json!([]), json!({"faces": [{"confidence": "high"}]})] {
            assert_eq!(
                decode(Normalised::FACES, &body).unwrap_err().class,
                FaultClass::InvalidReply
            );
        }
        let error = json!({"error": {"message": "no", "code": "x"}});
        assert_eq!(
            decode(Normalised::FACES, &error).unwrap_err().class,
            FaultClass::ServerError
        );
        let fault = Normalised::OCR.decode_fault(400, &HeaderMap::new(), error.to_string().as_bytes());
        assert_eq!(
            (fault.class, fault.words.code.as_deref()),
            (FaultClass::InvalidRequest, Some("x"))
        );
    }
}
