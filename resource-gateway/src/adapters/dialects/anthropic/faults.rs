//! `{"type": "error", "error": {type, message}}`.

use http::HeaderMap;
use serde::Deserialize;

use super::error_object::hints_of;
use crate::domain::fault::{Fault, FaultClass, RetryHints, VendorWords};

/// A vendor's message is passed on up to here.
const MAX_MESSAGE_CHARS: usize = 1000;
/// In the message of a 400 that no change of the request would mend.
const NO_BALANCE: &str = "credit balance is too low";

#[derive(Deserialize)]
struct Envelope {
    error: Error,
}

#[derive(Deserialize, Default)]
struct Error {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// An answer with a status of failure.
pub(super) fn decode(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    let error = serde_json::from_slice::<Envelope>(body).map(|envelope| envelope.error);
    let error = error.unwrap_or_default();
    Fault {
        class: class(&error).unwrap_or_else(|| FaultClass::of_status(status)),
        status: Some(status),
        hints: hints_of(headers),
        words: words(error),
        ended: false,
    }
}

/// An error object that came under a status of success, as a whole or in the middle of a stream.
pub(super) fn in_band(error: &str) -> Fault {
    let error: Error = serde_json::from_str(error).unwrap_or_default();
    Fault {
        class: class(&error).unwrap_or(FaultClass::ServerError),
        status: None,
        hints: RetryHints::default(),
        words: words(error),
        ended: false,
    }
}

fn class(error: &Error) -> Option<FaultClass> {
    let says = |text: &str| error.message.as_deref().is_some_and(|message| message.contains(text));
    Some(match error.kind.as_deref()? {
        "invalid_request_error" if says(NO_BALANCE) => FaultClass::QuotaExceeded,
        "invalid_request_error" | "request_too_large" => FaultClass::InvalidRequest,
        "authentication_error" => FaultClass::Authentication,
        "billing_error" => FaultClass::QuotaExceeded,
        "permission_error" => FaultClass::Permission,
        "not_found_error" => FaultClass::NotFound,
        "rate_limit_error" => FaultClass::RateLimit,
        "api_error" => FaultClass::ServerError,
        "timeout_error" => FaultClass::Timeout,
        "overloaded_error" => FaultClass::Overloaded,
        _ => return None,
    })
}

fn words(error: Error) -> VendorWords {
    let message = error.message.filter(|message| !message.trim().is_empty());
    let is_code =
        |code: &String| code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    VendorWords {
        message: message.map(|message| message.chars().take(MAX_MESSAGE_CHARS).collect::<String>().into()),
        param: None,
        code: error.kind.filter(is_code).map(Into::into),
    }
}
