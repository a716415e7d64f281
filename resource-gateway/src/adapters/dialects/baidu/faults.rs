//! The vendor's errors. They come under status 200, as `error_code` and `error_msg`, or for speech as `err_no` and `err_msg`.

use http::HeaderMap;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::super::error_object::hints_of;
use crate::domain::fault::{Fault, FaultClass, RetryHints, VendorWords};

#[derive(Default, Deserialize)]
#[serde(default)]
struct Failure {
    error_code: Option<Value>,
    error_msg: Option<String>,
    err_no: Option<Value>,
    err_msg: Option<String>,
    /// Speech has other names for the same on some hosts.
    err_detail: Option<String>,
}

/// An answer, unless it is an error.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    match in_band(body) {
        Some(fault) => Err(fault),
        None => serde_json::from_slice(body).map_err(|_| Fault::of(FaultClass::InvalidReply)),
    }
}

/// Reads an answer with a status of failure.
pub(super) fn decode(status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
    let fault = in_band(body).unwrap_or_else(|| Fault::of(FaultClass::of_status(status)));
    Fault {
        status: Some(status),
        // Not the vendor's, but of what stands before it.
        hints: hints_of(headers),
        ..fault
    }
}

/// The error of an answer, if it is one: a code of 0 is none.
pub(super) fn in_band(body: &[u8]) -> Option<Fault> {
    let failure: Failure = serde_json::from_slice(body).ok()?;
    let code = failure.error_code.or(failure.err_no)?;
    let code = match &code {
        Value::String(code) => code.parse().ok()?,
        code => code.as_i64()?,
    };
    let message = failure.error_msg.or(failure.err_msg).or(failure.err_detail);
    (code != 0).then(|| named(code, message.as_deref().unwrap_or_default()))
}

fn named(code: i64, message: &str) -> Fault {
    told(class_of(code), Some(code), message)
}

/// A failure in the vendor's words.
pub(super) fn told(class: FaultClass, code: Option<i64>, message: &str) -> Fault {
    Fault {
        class,
        status: Some(200),
        words: VendorWords {
            code: code.map(|code| code.to_string().into()),
            ..VendorWords::of_message(message)
        },
        hints: RetryHints::default(),
        ended: false,
    }
}

/// One table for all products: their numbers do not overlap.
fn class_of(code: i64) -> FaultClass {
    match code {
        // Of pictures and their like; of transcription; of speech.
        3
        | 216_100..=216_199
        | 216_200..=216_299
        | 222_800..=222_899
        | 3300
        | 3301
        | 3308..=3312
        | 3314
        | 3316
        | 500
        | 501
        | 513 => FaultClass::InvalidRequest,
        4 | 18 | 3304 | 13 | 15 => FaultClass::RateLimit,
        17 | 19 | 3305 | 16 => FaultClass::QuotaExceeded,
        6 => FaultClass::Permission,
        14 | 100 | 110 | 111 | 3302 | 502 => FaultClass::Authentication,
        222_202 | 222_203 => FaultClass::NoResult,
        // 1, 2, 503, 3303, 3307, 3313, 3315, 216630, 216631, 216634 and 282000 among them.
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
                &[
                    1, 2, 282_000, 216_630, 216_631, 216_634, 3303, 3307, 3313, 3315, 503, 99_999,
                ][..],
                FaultClass::ServerError,
            ),
            (&[4, 18, 3304, 13, 15], FaultClass::RateLimit),
            (&[17, 19, 3305, 16], FaultClass::QuotaExceeded),
            (&[6], FaultClass::Permission),
            (&[14, 100, 110, 111, 3302, 502], FaultClass::Authentication),
            (
                &[
                    3, 216_100, 216_199, 216_200, 216_202, 216_299, 222_800, 222_899, 3300, 3301, 3308, 3309, 3310,
                    3311, 3312, 3314, 3316, 500, 501, 513,
                ],
                FaultClass::InvalidRequest,
            ),
            (&[222_202, 222_203], FaultClass::NoResult),
        ] {
            for code in codes {
                assert_eq!(class_of(*code), class, "{code}");
            }
        }
    }

    #[test]
    fn both_spellings_of_an_error_are_read_and_a_zero_is_none() {
        for (body, class, code, message) in [
            (
                r#"{"error_code":18,"error_msg":"m","log_id":5}"#,
                FaultClass::RateLimit,
                "18",
                Some("m"),
            ),
            (
                r#"{"error_code":"110","error_msg":""}"#,
                FaultClass::Authentication,
                "110",
                None,
            ),
            (
                r#"{"err_no":3301,"err_msg":"m","sn":"s"}"#,
                FaultClass::InvalidRequest,
                "3301",
                Some("m"),
            ),
            (
                r#"{"err_no":500,"err_detail":"m"}"#,
                FaultClass::InvalidRequest,
                "500",
                Some("m"),
            ),
        ] {
            let fault = in_band(body.as_bytes()).unwrap();
            assert_eq!(
                (fault.class, fault.words.code.as_deref()),
                (class, Some(code)),
                "{body}"
            );
            assert_eq!(
                (fault.words.message.as_deref(), fault.status),
                (message, Some(200)),
                "{body}"
            );
        }
        for body in [r#"{"error_code":0,"error_msg":"SUCCESS"}"#, r#"{"log_id":1}"#, "<html>"] {
            assert!(in_band(body.as_bytes()).is_none(), "{body}");
        }
        let headers = HeaderMap::new();
        assert_eq!(decode(502, &headers, b"<html>").class, FaultClass::ServerError);
        assert_eq!(
            decode(401, &headers, br#"{"error_code":18}"#).class,
            FaultClass::RateLimit
        );
        assert_eq!(read::<Value>(b"<html>").unwrap_err().class, FaultClass::InvalidReply);
    }
}
