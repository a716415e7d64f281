//! `{"type": "error", "error": {type, message}}`.

use http::HeaderMap;
use serde::Deserialize;

use super::super::{error_object::hints_of, reading::word};
use crate::domain::fault::{Fault, FaultClass, RetryHints, Traces, VendorWords};

/// In the message of a 400 that no change of the request would mend.
const NO_BALANCE: &str = "credit balance is too low";

#[derive(Deserialize, Default)]
#[serde(default)]
struct Envelope {
    error: Error,
    #[serde(default, deserialize_with = "word")]
    request_id: Option<String>,
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
    let envelope: Envelope = serde_json::from_slice(body).unwrap_or_default();
    let error = envelope.error;
    Fault {
        class: class(&error).unwrap_or_else(|| FaultClass::of_status(status)),
        status: Some(status),
        hints: hints_of(headers),
        words: words(&error, envelope.request_id.as_deref()),
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
        words: words(&error, None),
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

/// There are no codes, so the kind stands for one.
fn words(error: &Error, request_id: Option<&str>) -> VendorWords {
    let kind = error.kind.as_deref();
    VendorWords {
        code: kind.and_then(VendorWords::word),
        traces: Traces::of(kind, request_id),
        ..VendorWords::of_message(error.message.as_deref().unwrap_or_default())
    }
}
