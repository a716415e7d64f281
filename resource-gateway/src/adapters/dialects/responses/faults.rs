//! What is wrong where the status says that all is well: a response that failed, and an event that says so.

use serde_json::Value;

use super::{error_object, wire};
use crate::domain::fault::{Fault, FaultClass};

/// A response that is none.
pub(super) fn of_response(response: &wire::Response<'_>) -> Option<Fault> {
    let failed = matches!(response.status.as_deref(), Some("failed" | "cancelled"));
    match response.error {
        Some(error) => Some(of_error(error.get())),
        None => failed.then(|| Fault::of(FaultClass::ServerError)),
    }
}

/// The error object of a response, or of an event in the middle of a stream.
pub(super) fn of_error(error: &str) -> Fault {
    let fault = error_object::in_band(error);
    // Codes that only this format has.
    let class = match fault.words.code.as_deref() {
        Some("image_content_policy_violation") => FaultClass::ContentFilter,
        Some(code) if is_the_callers(code) => FaultClass::InvalidRequest,
        _ => fault.class,
    };
    Fault { class, ..fault }
}

/// Whether a failure is of what was asked.
fn is_the_callers(code: &str) -> bool {
    const CODES: [&str; 5] = [
        "invalid_prompt",
        "unsupported_image_media_type",
        "empty_image_file",
        "failed_to_download_image",
        "image_file_not_found",
    ];
    let of_image = [
        "invalid_image",
        "invalid_base64_image",
        "image_too_",
        "image_parse_error",
        "image_file_too_",
    ];
    CODES.contains(&code) || of_image.iter().any(|begin| code.starts_with(begin))
}

/// The error of an event: in an object of its own, or in the members of the event itself.
pub(super) fn of_event(event: &wire::Event<'_>, data: &[u8]) -> Fault {
    if let Some(error) = event.error {
        return of_error(error.get());
    }
    let mut members: Value = serde_json::from_slice(data).unwrap_or_default();
    if let Some(members) = members.as_object_mut() {
        // The event's, which says nothing of the error.
        members.remove("type");
    }
    of_error(&members.to_string())
}
