//! Failures: `{code, message, request_id}`, flat.

use http::HeaderMap;
use serde::Deserialize;

use super::super::{error_object::hints_of, reading::word};
use crate::domain::fault::{Fault, FaultClass, RetryHints, Traces, VendorWords};

#[derive(Default, Deserialize)]
pub(super) struct Failure {
    #[serde(default, deserialize_with = "word")]
    code: Option<String>,
    #[serde(default, deserialize_with = "word")]
    message: Option<String>,
    #[serde(default, deserialize_with = "word")]
    request_id: Option<String>,
}

impl Failure {
    pub(super) fn new(code: Option<String>, message: Option<String>) -> Self {
        Self {
            code,
            message,
            request_id: None,
        }
    }

    pub(super) fn fault(self, status: Option<u16>) -> Fault {
        let code = self.code.as_deref().unwrap_or_default();
        let message = self.message.as_deref().unwrap_or_default();
        let by_status = || status.map_or(FaultClass::ServerError, FaultClass::of_status);
        Fault {
            class: class_of(code, message).unwrap_or_else(by_status),
            status,
            words: VendorWords {
                code: VendorWords::word(code),
                traces: Traces::of(None, self.request_id.as_deref()),
                ..VendorWords::of_message(message)
            },
            hints: RetryHints::default(),
            ended: false,
        }
    }
}

/// Reads an answer with a status of failure.
pub(super) fn decode(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    let failure: Failure = serde_json::from_slice(body).unwrap_or_default();
    Fault {
        hints: hints_of(headers),
        ..failure.fault(Some(status))
    }
}

/// The failure that came under a status of success: answers have no code.
pub(super) fn in_place_of_an_answer(body: &[u8]) -> Option<Fault> {
    let failure: Failure = serde_json::from_slice(body).ok()?;
    let fails = failure.code.as_deref().is_some_and(|code| !code.is_empty());
    fails.then(|| failure.fault(None))
}

/// By the whole code, else by its part before the first dot, else (`None`) by the status.
fn class_of(code: &str, message: &str) -> Option<FaultClass> {
    if code.contains("DataInspection") {
        return Some(FaultClass::ContentFilter);
    }
    let family = code.split('.').next().unwrap_or_default();
    Some(match family {
        _ if code.ends_with(".AccessDenied") => FaultClass::Permission,
        "InvalidApiKey" => FaultClass::Authentication,
        "ModelNotFound" | "NotFound" => FaultClass::NotFound,
        "InvalidURL" => FaultClass::InvalidRequest,
        "Arrearage" => FaultClass::QuotaExceeded,
        // A free quota does not come back with time; every other one does.
        "Throttling" if message.contains("Free allocated quota exceeded") => FaultClass::QuotaExceeded,
        "Throttling" => FaultClass::RateLimit,
        "SystemError" | "CLIENT_ERROR" => FaultClass::ServerError,
        "ModelUnavailable" | "ModelServingError" => FaultClass::Overloaded,
        "RequestTimeOut" => FaultClass::Timeout,
        family if family.starts_with("AccessDenied") => FaultClass::Permission,
        family if family.starts_with("InternalError") => FaultClass::ServerError,
        family
            if ["InvalidParameter", "BadRequest", "InvalidFile"]
                .iter()
                .any(|begin| family.starts_with(begin)) =>
        {
            FaultClass::InvalidRequest
        }
        _ => return None,
    })
}
