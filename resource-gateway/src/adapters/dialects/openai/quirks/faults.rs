//! What errors mean, by vendor: the same tables for answers with a status of failure, for answers that claim success, and for streams.

use http::HeaderMap;
use serde_json::{Value, json};

use super::Quirks;
use crate::adapters::dialects::{error_object, spark_codes};
use crate::domain::fault::{Fault, FaultClass, RetryHints, VendorWords};

/// An error as its vendor tells it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'a> {
    /// `None` where the status says that all is well.
    pub status: Option<u16>,
    pub code: &'a str,
    /// `type`
    pub kind: &'a str,
    pub message: &'a str,
}

/// What an error means; `None` leaves it to the status.
pub(super) type Table = fn(&Told<'_>) -> Option<FaultClass>;

impl Quirks {
    /// Reads an answer with a status of failure.
    pub(in super::super) fn fault(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> Fault {
        let Some(table) = self.faults else {
            return error_object::decode(status, headers, body);
        };
        let error = serde_json::from_slice(body).ok();
        let error: Value = error.and_then(|body| find(&body, true)).unwrap_or_default();
        Fault {
            hints: error_object::hints_of(headers),
            ..Self::judge(table, Some(status), &error)
        }
    }

    /// The failure in what came under a status of success, whole or as an event.
    pub(in super::super) fn failure_in(&self, body: &[u8]) -> Option<Fault> {
        let error = find(&serde_json::from_slice(body).ok()?, self.code_fails)?;
        Some(match self.faults {
            None => error_object::in_band(&error.to_string()),
            Some(table) => Self::judge(table, None, &error),
        })
    }

    fn judge(table: Table, status: Option<u16>, error: &Value) -> Fault {
        let mut words = error_object::words_of(error);
        if let Some(number) = error.get("code").and_then(Value::as_i64) {
            words.code = Some(number.to_string().into());
        }
        words.param = words.param.filter(|param| !param.is_empty());
        let VendorWords { code, message, .. } = &words;
        let told = Told {
            status,
            code: code.as_deref().unwrap_or_default(),
            kind: error.get("type").and_then(Value::as_str).unwrap_or_default(),
            message: message.as_deref().unwrap_or_default(),
        };
        // Without a status of its own an error may repeat one in its code.
        let repeated = told.code.parse().ok().filter(|code| (400..600).contains(code));
        let class = table(&told).or_else(|| match (status, repeated) {
            (Some(status), _) | (None, Some(status)) => Some(FaultClass::of_status(status)),
            (None, None) => error_object::class_of_words(Some(told.kind), Some(told.code)),
        });
        Fault {
            class: class.unwrap_or(FaultClass::ServerError),
            status: status.or(repeated),
            words,
            hints: RetryHints::default(),
            ended: false,
        }
    }
}

/// The error in a body, in whichever shape: `{"error": …}`, the error itself, or a list of what is wrong with which member.
fn find(body: &Value, bare: bool) -> Option<Value> {
    if let Some(error) = body.get("error").filter(|error| !error.is_null()) {
        return Some(error.clone());
    }
    if body.get("object").and_then(Value::as_str) == Some("error") {
        return Some(body.clone());
    }
    if let Some(detail) = body.get("detail").and_then(error_object::message_of) {
        return Some(json!({"message": detail}));
    }
    let fails = match body.get("code") {
        Some(Value::Number(code)) => code.as_i64() != Some(0),
        Some(Value::String(code)) => !code.is_empty() && code != "0",
        _ => false,
    };
    let says_nothing_else = body.get("choices").is_none() && body.get("message").is_some_and(Value::is_string);
    (bare && (fails || (says_nothing_else && body.get("code").is_none()))).then(|| body.clone())
}

/// The code is a status in text, or a word.
pub(super) fn azure(told: &Told<'_>) -> Option<FaultClass> {
    match told.code {
        "content_filter" | "content_policy_violation" | "ResponsibleAIPolicyViolation" => {
            Some(FaultClass::ContentFilter)
        }
        // Waiting does not help, although the status is that of a rate limit.
        "insufficient_quota" => Some(FaultClass::QuotaExceeded),
        "DeploymentNotFound" => Some(FaultClass::NotFound),
        _ => None,
    }
}

/// The status alone: the words say `invalid_request_error` of everything.
pub(super) fn deepseek(told: &Told<'_>) -> Option<FaultClass> {
    match told.status {
        Some(_) => None,
        None => error_object::class_of_words(Some(told.kind), None),
    }
}

pub(super) fn moonshot(told: &Told<'_>) -> Option<FaultClass> {
    Some(match told.kind {
        "engine_overloaded_error" => FaultClass::Overloaded,
        "exceeded_current_quota_error" => FaultClass::QuotaExceeded,
        "rate_limit_reached_error" => FaultClass::RateLimit,
        "content_filter" => FaultClass::ContentFilter,
        "invalid_authentication_error" => FaultClass::Authentication,
        _ => return None,
    })
}

pub(super) fn zhipu(told: &Told<'_>) -> Option<FaultClass> {
    Some(match told.code.parse::<u32>().ok()? {
        500 | 1234 => FaultClass::ServerError,
        1000..=1004 => FaultClass::Authentication,
        1110..=1121 | 1304 | 1308 => FaultClass::QuotaExceeded,
        1210 | 1212..=1215 | 1261 => FaultClass::InvalidRequest,
        1211 => FaultClass::NotFound,
        1220 => FaultClass::Permission,
        1301 => FaultClass::ContentFilter,
        1302 | 1303 => FaultClass::RateLimit,
        1305 | 1312 => FaultClass::Overloaded,
        _ => return None,
    })
}

pub(super) fn volcengine(told: &Told<'_>) -> Option<FaultClass> {
    let family = told.code.split('.').next().unwrap_or_default();
    Some(match family {
        "AuthenticationError" => FaultClass::Authentication,
        "AccessDenied" => FaultClass::Permission,
        "AccountOverdueError" | "QuotaExceeded" => FaultClass::QuotaExceeded,
        "RateLimitExceeded" => FaultClass::RateLimit,
        "ServerOverloaded" => FaultClass::Overloaded,
        "InternalServiceError" => FaultClass::ServerError,
        "InvalidEndpointOrModel" if told.code.ends_with(".NotFound") => FaultClass::NotFound,
        _ if told.code.contains("SensitiveContentDetected") || family.ends_with("RiskDetection") => {
            FaultClass::ContentFilter
        }
        _ => return None,
    })
}

/// By the status; what comes in the middle of a stream has none.
pub(super) fn mistral(told: &Told<'_>) -> Option<FaultClass> {
    deepseek(told)
}

pub(super) fn qianfan(told: &Told<'_>) -> Option<FaultClass> {
    let refused = told.status == Some(401);
    Some(match told.code {
        _ if told.kind == "unsafe_request" => FaultClass::ContentFilter,
        "invalid_iam_token" | "invalid_appid" => FaultClass::Authentication,
        "invalid_model" if refused => FaultClass::Permission,
        "no_parameter_permission" => FaultClass::Permission,
        "malformed_json" | "invalid_model" | "tokens_too_long" => FaultClass::InvalidRequest,
        "rpm_rate_limit_exceeded" | "tpm_rate_limit_exceeded" => FaultClass::RateLimit,
        "dispatch_internal_error" => FaultClass::ServerError,
        code if code.starts_with("preemptible_") => FaultClass::RateLimit,
        code if code.contains("quota") || code.contains("balance") => FaultClass::QuotaExceeded,
        _ => return None,
    })
}

pub(super) fn spark(told: &Told<'_>) -> Option<FaultClass> {
    let code = told.code.parse::<u32>().ok()?;
    spark_codes::class_of(code).or(match code {
        // Nothing that is known; a status says more than that.
        0..=999 => None,
        _ if told.status.is_some() => None,
        _ => Some(FaultClass::ServerError),
    })
}

/// A free quota does not come back with time; what else is called a quota there does.
pub(super) fn dashscope(told: &Told<'_>) -> Option<FaultClass> {
    Some(match told.code {
        "invalid_api_key" => FaultClass::Authentication,
        "data_inspection_failed" => FaultClass::ContentFilter,
        "Arrearage" => FaultClass::QuotaExceeded,
        _ if told.message.contains("Free allocated quota exceeded") => FaultClass::QuotaExceeded,
        "insufficient_quota" => FaultClass::RateLimit,
        _ => return None,
    })
}
