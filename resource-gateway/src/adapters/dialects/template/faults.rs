//! Template's errors: `{"error": {"code": "…", "message": "…"}}`.

use http::HeaderMap;
use serde_json::Value;

use super::super::error_object;
use crate::domain::fault::{Fault, FaultClass, RetryHints};

/// Reads an answer with a status of failure.
pub(super) fn decode(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    let error = find(body).unwrap_or_default();
    Fault {
        status: Some(status),
        hints: error_object::hints_of(headers),
        ..of_error(&error, FaultClass::of_status(status))
    }
}

/// Reads what came under a status of success and is no answer.
pub(super) fn in_place_of_an_answer(body: &[u8]) -> Fault {
    match find(body) {
        Some(error) => of_error(&error, FaultClass::ServerError),
        None => Fault::of(FaultClass::InvalidReply),
    }
}

/// Reads an error object; `otherwise` is what it is when its code says nothing.
pub(super) fn of_error(error: &Value, otherwise: FaultClass) -> Fault {
    let words = error_object::words_of(error);
    Fault {
        class: words.code.as_deref().and_then(class_of).unwrap_or(otherwise),
        status: None,
        words,
        hints: RetryHints::default(),
        ended: false,
    }
}

fn find(body: &[u8]) -> Option<Value> {
    let mut body: Value = serde_json::from_slice(body).ok()?;
    body.get_mut("error").map(Value::take).filter(|error| !error.is_null())
}

/// The vendor's codes.
fn class_of(code: &str) -> Option<FaultClass> {
    Some(match code {
        "busy" => FaultClass::Overloaded,
        _ => return None,
    })
}
