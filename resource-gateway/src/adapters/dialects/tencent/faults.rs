//! The vendor's errors. They come under status 200, in `Response.Error`; `Code` is `Family` or `Family.Detail`.

use http::HeaderMap;
use serde::Deserialize;

use super::{super::error_object::hints_of, wire::Envelope};
use crate::domain::fault::{Fault, FaultClass, RetryHints, Traces, VendorWords};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    error: Option<Error>,
    request_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Error {
    code: String,
    message: String,
}

/// Reads an answer with a status of failure, which is a server's or a proxy's unless it says otherwise.
pub(super) fn decode(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    let fault = in_band(body).unwrap_or_else(|| Fault::of(FaultClass::of_status(status)));
    Fault {
        status: Some(status),
        // Not the vendor's, but of what stands before it.
        hints: hints_of(headers),
        ..fault
    }
}

/// The error of an answer, if it is one.
pub(super) fn in_band(body: &[u8]) -> Option<Fault> {
    let failure = serde_json::from_slice::<Envelope<Failure>>(body).ok()?.response;
    let error = failure.error?;
    let mut fault = named(&error.code, &error.message);
    fault.words.traces = Traces::of(None, failure.request_id.as_deref());
    Some(fault)
}

/// A failure by the vendor's code.
pub(super) fn named(code: &str, message: &str) -> Fault {
    told(class_of(code), Some(code), message)
}

/// A failure in the vendor's words.
pub(super) fn told(class: FaultClass, code: Option<&str>, message: &str) -> Fault {
    Fault {
        class,
        status: Some(200),
        words: VendorWords {
            code: code.and_then(VendorWords::word),
            ..VendorWords::of_message(message)
        },
        hints: RetryHints::default(),
        ended: false,
    }
}

/// The detail is looked at first, then the family.
pub(super) fn class_of(code: &str) -> FaultClass {
    let family = code.split('.').next().unwrap_or_default();
    by_detail(code).unwrap_or_else(|| by_family(family))
}

fn by_detail(code: &str) -> Option<FaultClass> {
    Some(match code {
        "AuthFailure.UnauthorizedOperation" => FaultClass::Permission,
        "FailedOperation.ImageNoText" | "InvalidParameterValue.NoFaceInPhoto" => FaultClass::NoResult,
        "FailedOperation.ServiceStopArrears"
        | "FailedOperation.ArrearsError"
        | "FailedOperation.ServiceStop"
        | "FailedOperation.ResourcePackExhausted"
        | "FailedOperation.FreeResourcePackExhausted"
        | "ResourceUnavailable.InArrears"
        | "ResourceUnavailable.NotExist"
        | "ResourceUnavailable.LowBalance" => FaultClass::QuotaExceeded,
        "FailedOperation.EngineRequestTimeout"
        | "FailedOperation.EngineRecognizeTimeout"
        | "FailedOperation.RequestTimeout" => FaultClass::Timeout,
        "FailedOperation.EngineServerError" => FaultClass::ServerError,
        // What is wrong with the picture or the recording, in the words of the products that are spoken to here.
        "FailedOperation.ImageDecodeFailed"
        | "FailedOperation.ImageSizeTooLarge"
        | "FailedOperation.DownLoadError"
        | "FailedOperation.DownloadError"
        | "FailedOperation.ImageDownloadError"
        | "FailedOperation.ImageFacedetectFailed"
        | "FailedOperation.ImageNotSupported"
        | "FailedOperation.ImageNotForeground"
        | "FailedOperation.ImageResolutionExceed"
        | "FailedOperation.ImageResolutionTooSmall"
        | "FailedOperation.ImageResolutionInsufficient"
        | "FailedOperation.ImageSizeExceed"
        | "FailedOperation.ImageSizeInvalid"
        | "FailedOperation.ImageTooSmall"
        | "FailedOperation.ImageBlur"
        | "FailedOperation.ImageUnrecognizable"
        | "FailedOperation.FaceSizeTooSmall"
        | "FailedOperation.FaceQualityNotQualified"
        | "FailedOperation.InvalidImage"
        | "FailedOperation.ErrorDownFile"
        | "FailedOperation.AudioDecodeFailed" => FaultClass::InvalidRequest,
        _ => return None,
    })
}

fn by_family(family: &str) -> FaultClass {
    // `UnauthorizedOperation*`, `RequestLimitExceeded*` and so on: the vendor lengthens its families as well.
    let begins = |names: &[&str]| names.iter().any(|name| family.starts_with(name));
    match family {
        "AuthFailure" => FaultClass::Authentication,
        "ResourceUnavailable" | "ServiceUnavailable" => FaultClass::Overloaded,
        "InvalidAction" | "NoSuchVersion" => FaultClass::NotFound,
        "MissingParameter" | "UnknownParameter" | "InvalidRequest" | "UnsupportedOperation" => {
            FaultClass::InvalidRequest
        }
        _ if begins(&["UnauthorizedOperation", "OperationDenied"]) => FaultClass::Permission,
        _ if begins(&["RequestLimitExceeded", "LimitExceeded"]) => FaultClass::RateLimit,
        _ if begins(&["ResourceInsufficient"]) => FaultClass::QuotaExceeded,
        _ if begins(&["ResourceNotFound"]) => FaultClass::NotFound,
        // `InvalidParameterValue` as well.
        _ if begins(&["InvalidParameter"]) => FaultClass::InvalidRequest,
        // `InternalError` and the other failures of operations among them.
        _ => FaultClass::ServerError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_table_has_its_class() {
        for (codes, class) in [
            (
                "AuthFailure AuthFailure.SignatureFailure AuthFailure.SignatureExpire AuthFailure.SecretIdNotFound AuthFailure.TokenFailure AuthFailure.Newer",
                FaultClass::Authentication,
            ),
            (
                "AuthFailure.UnauthorizedOperation UnauthorizedOperation UnauthorizedOperation.CamNoAuth OperationDenied OperationDenied.UserHasNoPermission",
                FaultClass::Permission,
            ),
            (
                "RequestLimitExceeded RequestLimitExceeded.UinLimitExceeded LimitExceeded LimitExceeded.TooLargeFileError LimitExceededQps",
                FaultClass::RateLimit,
            ),
            (
                "ResourceInsufficient ResourceInsufficient.ChargeResourceExhaust FailedOperation.ServiceStopArrears FailedOperation.ArrearsError FailedOperation.ServiceStop FailedOperation.ResourcePackExhausted FailedOperation.FreeResourcePackExhausted ResourceUnavailable.InArrears ResourceUnavailable.NotExist ResourceUnavailable.LowBalance",
                FaultClass::QuotaExceeded,
            ),
            (
                "FailedOperation.ImageNoText InvalidParameterValue.NoFaceInPhoto",
                FaultClass::NoResult,
            ),
            (
                "InvalidParameter InvalidParameter.X InvalidParameterValue InvalidParameterValue.Model InvalidParameterValueLimit MissingParameter UnknownParameter InvalidRequest UnsupportedOperation UnsupportedOperation.X FailedOperation.ImageDecodeFailed FailedOperation.ImageSizeTooLarge FailedOperation.DownLoadError",
                FaultClass::InvalidRequest,
            ),
            (
                "ResourceNotFound ResourceNotFound.X InvalidAction NoSuchVersion",
                FaultClass::NotFound,
            ),
            (
                "InternalError InternalError.X InternalErrorX FailedOperation FailedOperation.Other FailedOperation.EngineServerError Unheard.Of",
                FaultClass::ServerError,
            ),
            (
                "FailedOperation.EngineRequestTimeout FailedOperation.EngineRecognizeTimeout FailedOperation.RequestTimeout",
                FaultClass::Timeout,
            ),
            (
                "ResourceUnavailable ResourceUnavailable.Other ServiceUnavailable",
                FaultClass::Overloaded,
            ),
        ] {
            for code in codes.split(' ') {
                assert_eq!(class_of(code), class, "{code}");
            }
        }
    }

    #[test]
    fn a_status_counts_when_there_is_no_code() {
        let headers = HeaderMap::new();
        assert_eq!(decode(503, &headers, b"<html>").class, FaultClass::Overloaded);
        let coded = br#"{"Response":{"Error":{"Code":"RequestLimitExceeded","Message":"slow"}}}"#;
        let fault = decode(400, &headers, coded);
        assert_eq!((fault.class, fault.status), (FaultClass::RateLimit, Some(400)));
        assert!(in_band(br#"{"Response":{"Error":null}}"#).is_none());
        let long = "x".repeat(5000);
        let clipped = named("InternalError", &long).words.message.map(|message| message.len());
        assert_eq!(clipped, Some(crate::domain::fault::MAX_MESSAGE_CHARS));
    }
}
