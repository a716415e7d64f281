//! Errors as `{"error": {…}}`, which is OpenAI's shape and ours, and what servers and proxies in between send instead of them. Every
//! dialect that has such errors reads them here.

use std::borrow::Cow;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use crate::domain::fault::{Fault, FaultClass, RetryHints, Traces, VendorWords};

const MAX_PARAM_CHARS: usize = 256;

#[derive(Deserialize)]
struct Envelope {
    error: Value,
}

/// Reads an answer with a status of failure.
pub(super) fn decode(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    let error = find(body).unwrap_or_default();
    let words = words_of(&error);
    let class = class_of(status, text(&error, "type"), words.code.as_deref());
    Fault {
        class,
        status: Some(status),
        words,
        hints: hints_of(headers),
        ended: false,
    }
}

/// Reads what came under a status of success and is no answer: an error object is the vendor's failure.
pub(super) fn in_place_of_an_answer(body: &[u8]) -> Fault {
    match find(body) {
        Some(error) => of_error(&error),
        None => Fault::of(FaultClass::InvalidReply),
    }
}

/// Reads an error object that came under a status of success, or in the middle of a stream.
pub(super) fn in_band(error: &str) -> Fault {
    of_error(&serde_json::from_str(error).unwrap_or_default())
}

/// What a vendor says of trying again.
pub(super) fn hints_of(headers: &HeaderMap) -> RetryHints {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(Into::into);
    RetryHints {
        retry_after: header("retry-after"),
        retry_after_ms: header("retry-after-ms"),
        should_retry: header("x-should-retry"),
    }
}

/// The `error` of a body, unless it is `null`, which servers write into answers.
fn find(body: &[u8]) -> Option<Value> {
    let envelope: Envelope = serde_json::from_slice(body).ok()?;
    Some(envelope.error).filter(|error| !error.is_null())
}

fn of_error(error: &Value) -> Fault {
    let words = words_of(error);
    // Some servers repeat the status in `code`.
    let number = error
        .get("code")
        .and_then(Value::as_u64)
        .and_then(|code| u16::try_from(code).ok());
    let status = number.filter(|status| (400..600).contains(status));
    let by_status = status.map_or(FaultClass::ServerError, FaultClass::of_status);
    let class = class_of_words(text(error, "type"), words.code.as_deref()).unwrap_or(by_status);
    Fault {
        class,
        status,
        words,
        hints: RetryHints::default(),
        ended: false,
    }
}

fn text<'a>(error: &'a Value, member: &str) -> Option<&'a str> {
    error.get(member).and_then(Value::as_str)
}

/// The words of an error object.
pub(super) fn words_of(error: &Value) -> VendorWords {
    let message = error.get("message").unwrap_or(error);
    let message = message_of(message).unwrap_or_default();
    let word = |name: &str| text(error, name).and_then(VendorWords::word);
    VendorWords {
        // A path of members.
        param: text(error, "param").map(|param| param.chars().take(MAX_PARAM_CHARS).collect()),
        code: word("code"),
        traces: Traces::of(text(error, "type"), None),
        ..VendorWords::of_message(&message)
    }
}

/// A message: a text, what is wrong with which member, or either of them in an object.
pub(super) fn message_of(told: &Value) -> Option<Cow<'_, str>> {
    match told {
        Value::String(text) => Some(text.into()),
        Value::Array(faults) => {
            let told = faults.iter().filter_map(|fault| {
                let place = fault.get("loc").and_then(Value::as_array);
                let place = place.into_iter().flatten().map(|step| match step {
                    Value::String(name) => name.clone(),
                    other => other.to_string(),
                });
                let place: Vec<_> = place.collect();
                Some(format!("{}: {}", place.join("."), fault.get("msg")?.as_str()?))
            });
            Some(told.collect::<Vec<_>>().join("; ").into())
        }
        Value::Object(members) => ["detail", "message", "msg"]
            .iter()
            .find_map(|name| message_of(members.get(*name)?)),
        _ => None,
    }
}

fn class_of(status: u16, kind: Option<&str>, code: Option<&str>) -> FaultClass {
    let by_status = FaultClass::of_status(status);
    match (status, class_of_words(kind, code)) {
        (400, Some(FaultClass::ContentFilter)) => FaultClass::ContentFilter,
        // OpenAI says 429 for "too fast" and for "no money left" alike.
        (429, Some(class @ (FaultClass::QuotaExceeded | FaultClass::Overloaded))) => class,
        _ => by_status,
    }
}

/// What words mean that most servers of this shape have in common.
pub(super) fn class_of_words(kind: Option<&str>, code: Option<&str>) -> Option<FaultClass> {
    [code, kind].into_iter().flatten().find_map(|word| {
        Some(match word {
            "content_filter" | "content_policy_violation" => FaultClass::ContentFilter,
            "insufficient_quota" | "exceeded_current_quota_error" | "billing_hard_limit_reached" => {
                FaultClass::QuotaExceeded
            }
            "rate_limit_exceeded" | "rate_limit_reached_error" => FaultClass::RateLimit,
            "engine_overloaded_error" | "overloaded_error" | "overloaded" => FaultClass::Overloaded,
            "invalid_api_key" | "authentication_error" => FaultClass::Authentication,
            "model_not_found" => FaultClass::NotFound,
            "context_length_exceeded" | "invalid_request_error" => FaultClass::InvalidRequest,
            "server_error" | "internal_error" | "api_error" => FaultClass::ServerError,
            _ => return None,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        adapters::dialects::{normalised::Normalised, openai::OpenAiChat, testing::received},
        domain::{call::Call, interface::Capability},
        ports::codec::Codec,
    };

    /// A codec of every dialect that has error objects.
    const CODECS: [(&dyn Codec, Capability, &str); 2] = [
        (&OpenAiChat, Capability::Chat, r#"{"model":"m","messages":[]}"#),
        (
            &Normalised::RERANK,
            Capability::Rerank,
            r#"{"model":"m","query":"q","documents":["d"]}"#,
        ),
    ];

    #[test]
    fn every_dialect_reads_errors_alike() {
        for (status, error, class, code) in [
            (
                429,
                r#"{"message":"m","code":"insufficient_quota"}"#,
                FaultClass::QuotaExceeded,
                Some("insufficient_quota"),
            ),
            (
                429,
                r#"{"message":"m","type":"engine_overloaded_error"}"#,
                FaultClass::Overloaded,
                None,
            ),
            (429, r#"{"message":"m","code":429}"#, FaultClass::RateLimit, None),
            (
                400,
                r#"{"message":"m","code":1301,"param":7}"#,
                FaultClass::InvalidRequest,
                None,
            ),
            (
                400,
                r#"{"message":"m","code":"content_filter"}"#,
                FaultClass::ContentFilter,
                Some("content_filter"),
            ),
            (
                400,
                r#"{"message":"m","code":"a whole sentence"}"#,
                FaultClass::InvalidRequest,
                None,
            ),
            (400, r#""m""#, FaultClass::InvalidRequest, None),
        ] {
            let body = format!("{{\"error\":{error}}}");
            for (codec, ..) in CODECS {
                let fault = codec.decode_fault(status, &HeaderMap::new(), body.as_bytes());
                assert_eq!((fault.class, fault.status), (class, Some(status)), "{codec:?} {error}");
                assert_eq!(fault.words.message.as_deref(), Some("m"), "{codec:?} {error}");
                assert_eq!(fault.words.code.as_deref(), code, "{codec:?} {error}");
            }
        }
    }

    #[test]
    fn no_part_of_an_error_is_told_at_any_length() {
        let error = serde_json::json!({"message": "m".repeat(5000), "param": "p".repeat(5000)});
        let words = words_of(&error);
        let lengths = [words.message, words.param].map(|word| word.map(|word| word.len()));
        assert_eq!(lengths, [Some(1000), Some(256)]);
    }

    #[test]
    fn an_error_under_a_status_of_success_is_the_vendors_failure_in_every_dialect() {
        for (error, class) in [
            (
                r#"{"message":"m","code":"insufficient_quota"}"#,
                FaultClass::QuotaExceeded,
            ),
            (r#"{"message":"m","code":429}"#, FaultClass::RateLimit),
            (r#"{"message":"m","code":7}"#, FaultClass::ServerError),
            (r#""m""#, FaultClass::ServerError),
        ] {
            for (codec, capability, request) in CODECS {
                let call = Call::read(capability, request.into(), None).unwrap();
                let headers = HeaderMap::new();
                let reply = received(&headers, format!("{{\"error\":{error}}}"));
                let fault = codec.decode(&call, reply).unwrap_err();
                assert_eq!(fault.class, class, "{codec:?} {error}");
                assert_eq!(fault.words.message.as_deref(), Some("m"), "{codec:?} {error}");
                let headers = HeaderMap::new();
                let reply = received(&headers, r#"{"error":null}"#);
                assert_eq!(codec.decode(&call, reply).unwrap_err().class, FaultClass::InvalidReply);
            }
        }
    }
}
