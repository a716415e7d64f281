//! What went wrong, by the name of the exception: in a header, in the body, or in a frame of a stream.

use http::HeaderMap;
use serde::Deserialize;

use super::super::error_object::hints_of;
use crate::domain::{
    event_frames::Frame,
    fault::{Fault, FaultClass, RetryHints, VendorWords},
};

const ERROR_TYPE: &str = "x-amzn-errortype";
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Body {
    #[serde(rename = "__type")]
    kind: Option<String>,
    message: Option<String>,
    /// Some services have this name for it, and some both.
    #[serde(rename = "Message")]
    capital: Option<String>,
}

impl Body {
    fn message(&self) -> Option<&str> {
        self.message.as_deref().or(self.capital.as_deref())
    }
}

/// Reads an answer with a status of failure.
pub(super) fn decode(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    // `NAME:URL`.
    let told = headers.get(ERROR_TYPE).and_then(|value| value.to_str().ok());
    let in_header = told.and_then(|told| told.split(':').next());
    let name = in_header.map(|name| bare(name.trim())).filter(|name| !name.is_empty());
    let name = name.or(body.kind.as_deref().map(bare));
    Fault {
        status: Some(status),
        hints: hints_of(headers),
        ..named(name, body.message(), FaultClass::of_status(status))
    }
}

/// Reads what came under a status of success and is no answer.
pub(super) fn in_place_of_an_answer(body: &[u8]) -> Fault {
    let body: Body = serde_json::from_slice(body).unwrap_or_default();
    match body.kind.as_deref().map(bare) {
        Some(name) => named(Some(name), body.message(), FaultClass::ServerError),
        None => Fault::of(FaultClass::InvalidReply),
    }
}

/// A failure in the middle of a stream, if the frame tells of one.
pub(super) fn in_frame(frame: &Frame) -> Option<Fault> {
    let (name, message) = match frame.header(":message-type") {
        Some("exception") => {
            let body: Body = serde_json::from_slice(&frame.payload()).unwrap_or_default();
            (frame.header(":exception-type"), body.message().map(str::to_owned))
        }
        Some("error") => {
            let message = frame.header(":error-message").map(str::to_owned);
            (frame.header(":error-code"), message)
        }
        // Another kind of message is another matter.
        Some(_) | None => return None,
    };
    Some(named(name, message.as_deref(), FaultClass::ServerError))
}

/// `com.amazon.coral.service#NAME`.
fn bare(kind: &str) -> &str {
    kind.rsplit('#').next().unwrap_or(kind)
}

fn named(name: Option<&str>, message: Option<&str>, otherwise: FaultClass) -> Fault {
    let name = name.and_then(VendorWords::word);
    Fault {
        class: name.as_deref().and_then(class_of).unwrap_or(otherwise),
        status: None,
        words: VendorWords {
            code: name,
            ..VendorWords::of_message(message.unwrap_or_default())
        },
        hints: RetryHints::default(),
        ended: false,
    }
}

/// Names without their ending.
const CLASSES: [(FaultClass, &[&str]); 10] = [
    (FaultClass::InvalidRequest, &["Validation"]),
    (
        FaultClass::Authentication,
        &[
            "UnrecognizedClient",
            "InvalidSignature",
            "ExpiredToken",
            "IncompleteSignature",
            "MissingAuthenticationToken",
        ],
    ),
    (FaultClass::Permission, &["AccessDenied"]),
    (FaultClass::NotFound, &["ResourceNotFound"]),
    (FaultClass::Timeout, &["ModelTimeout"]),
    (FaultClass::RateLimit, &["Throttling"]),
    (FaultClass::Overloaded, &["ModelNotReady", "ServiceUnavailable"]),
    (FaultClass::QuotaExceeded, &["ServiceQuotaExceeded"]),
    (FaultClass::ServerError, &["ModelError", "ModelStreamError"]),
    (FaultClass::ServerError, &["InternalServer"]),
];

/// In streams names begin with a small letter, and not all end alike.
fn class_of(name: &str) -> Option<FaultClass> {
    let stem = name.strip_suffix("Exception").unwrap_or(name);
    let is = |known: &str| known.eq_ignore_ascii_case(stem);
    let found = CLASSES.iter().find(|(_, names)| names.iter().any(|known| is(known)));
    found.map(|(class, _)| *class)
}
