//! Gemini's errors: `{"error": {code, message, status, details[]}}`.

use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;

use super::super::error_object;
use crate::domain::fault::{Fault, FaultClass, RetryHints, VendorWords};

/// Reads an answer with a status of failure.
pub(super) fn decode(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    let error = find(body).unwrap_or_default();
    let fault = of_error(&error, Some(status));
    Fault {
        hints: merged(error_object::hints_of(headers), fault.hints),
        ..fault
    }
}

/// Reads what came under a status of success and is no answer.
pub(super) fn in_place_of_an_answer(body: &[u8]) -> Fault {
    match find(body) {
        Some(error) => of_error(&error, None),
        None => Fault::of(FaultClass::InvalidReply),
    }
}

/// Reads an error object. Without a status of its own it came under one of success, or in the middle of a stream.
pub(super) fn of_error(error: &Value, status: Option<u16>) -> Fault {
    let in_body = error.get("code").and_then(Value::as_u64);
    let in_body = in_body.and_then(|code| u16::try_from(code).ok());
    let status = status.or(in_body.filter(|code| (400..600).contains(code)));
    let by_status = status.map_or(FaultClass::ServerError, FaultClass::of_status);
    let word = error.get("status").and_then(Value::as_str);
    let mut words = error_object::words_of(error);
    words.code = word.and_then(VendorWords::word);
    Fault {
        class: word.and_then(|word| class_of(word, error)).unwrap_or(by_status),
        status,
        words,
        hints: hints_of(error),
        ended: false,
    }
}

/// Streams that were not asked for as events come as an array of what would be events.
fn find(body: &[u8]) -> Option<Value> {
    let mut body: Value = serde_json::from_slice(body).ok()?;
    if let Value::Array(all) = &mut body {
        body = all.first_mut().map(Value::take)?;
    }
    body.get_mut("error").map(Value::take).filter(|error| !error.is_null())
}

/// That member of all details that have it.
fn details<'a>(error: &'a Value, member: &str) -> impl Iterator<Item = &'a str> {
    let details = error.get("details").and_then(Value::as_array);
    details
        .into_iter()
        .flatten()
        .filter_map(move |detail| detail.get(member)?.as_str())
}

fn class_of(word: &str, error: &Value) -> Option<FaultClass> {
    Some(match word {
        "INVALID_ARGUMENT" if details(error, "reason").any(|reason| reason == "API_KEY_INVALID") => {
            FaultClass::Authentication
        }
        "INVALID_ARGUMENT" => FaultClass::InvalidRequest,
        // The service is not offered where we are, or not without an account that pays.
        "FAILED_PRECONDITION" | "PERMISSION_DENIED" => FaultClass::Permission,
        "UNAUTHENTICATED" => FaultClass::Authentication,
        "NOT_FOUND" => FaultClass::NotFound,
        "RESOURCE_EXHAUSTED" => FaultClass::RateLimit,
        "INTERNAL" => FaultClass::ServerError,
        "UNAVAILABLE" => FaultClass::Overloaded,
        "DEADLINE_EXCEEDED" => FaultClass::Timeout,
        _ => return None,
    })
}

/// `RetryInfo`: seconds as text, with an `s` behind them.
fn hints_of(error: &Value) -> RetryHints {
    let seconds = details(error, "retryDelay").find_map(|delay| delay.strip_suffix('s')?.parse().ok());
    let Some(wait) = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) else {
        return RetryHints::default();
    };
    let fraction = wait.subsec_nanos() > 0;
    RetryHints {
        // RFC 9110 §10.2.3: the header that this becomes has whole seconds.
        retry_after: Some((wait.as_secs() + u64::from(fraction)).to_string().into()),
        retry_after_ms: fraction.then(|| (wait.as_secs_f64() * 1000.0).to_string().into()),
        should_retry: None,
    }
}

/// Headers go before the body.
fn merged(headers: RetryHints, body: RetryHints) -> RetryHints {
    match headers.retry_after.is_some() || headers.retry_after_ms.is_some() {
        true => headers,
        false => RetryHints {
            should_retry: headers.should_retry,
            ..body
        },
    }
}
