//! Cohere's errors: flat, `{"message": "…", "id": "…"}`, and told apart by their status.

use http::HeaderMap;
use serde_json::Value;

use super::super::error_object;
use crate::domain::fault::{Fault, FaultClass};

/// Statuses that are the vendor's own.
const FILTERED: u16 = 498;

/// Reads an answer with a status of failure.
pub(super) fn decode(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    Fault {
        class: match status {
            FILTERED => FaultClass::ContentFilter,
            // 499, "cancelled", among them: nobody waits for that answer any more.
            status => FaultClass::of_status(status),
        },
        status: Some(status),
        words: error_object::words_of(error.as_object().map_or(&Value::Null, |_| &error)),
        hints: error_object::hints_of(headers),
        ended: false,
    }
}

/// Reads what came under a status of success and is no answer.
pub(super) fn in_place_of_an_answer(body: &[u8]) -> Fault {
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    match error.get("message") {
        Some(Value::String(message)) => of_message(message),
        _ => Fault::of(FaultClass::InvalidReply),
    }
}

/// A failure of which there is a message alone.
pub(super) fn of_message(message: &str) -> Fault {
    Fault {
        words: error_object::words_of(&Value::String(message.to_owned())),
        ..Fault::of(FaultClass::ServerError)
    }
}
