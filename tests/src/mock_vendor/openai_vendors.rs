//! The vendors that speak OpenAI's chat format: their doors, their fields and their words for failures.

use serde_json::{Value, json};

use super::{
    credentials,
    openai::{Flavour, UsageAt},
    openai_request::Fields,
    shape::{Checked, Failure, Refused, invalid, refuse},
    signatures,
    wire::{Request, Whole},
};

pub(super) fn flavour(name: &str) -> &'static Flavour {
    FLAVOURS.iter().find(|flavour| flavour.name == name).unwrap()
}

/// Fields that only some vendors know.
const NOT_OPENAI: [&str; 3] = ["thinking", "random_seed", "safe_prompt"];
/// What Mistral has no word for, or another.
const NOT_MISTRAL: [&str; 16] = [
    "seed",
    "max_completion_tokens",
    "stream_options",
    "user",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "store",
    "service_tier",
    "modalities",
    "audio",
    "verbosity",
    "functions",
    "function_call",
    "web_search_options",
    "thinking",
];

static FLAVOURS: [Flavour; 9] = [
    Flavour {
        name: "openai",
        fields: Fields {
            more: &[],
            unknown: &NOT_OPENAI,
        },
        usage_at: UsageAt::OwnChunk,
        door: |request| door(request, "/v1/chat/completions"),
        failure: openai_failure,
        late: body_of,
    },
    Flavour {
        name: "azure-openai",
        fields: Fields {
            more: &["data_sources"],
            unknown: &NOT_OPENAI,
        },
        usage_at: UsageAt::OwnChunk,
        door: azure_door,
        failure: azure_failure,
        late: body_of,
    },
    Flavour {
        name: "deepseek",
        fields: Fields {
            more: &[],
            unknown: &["random_seed", "safe_prompt"],
        },
        usage_at: UsageAt::FinishIfAsked,
        door: |request| door(request, "/chat/completions"),
        failure: deepseek_failure,
        late: body_of,
    },
    Flavour {
        name: "moonshot",
        fields: Fields {
            more: &[],
            unknown: &NOT_OPENAI,
        },
        usage_at: UsageAt::Choice,
        door: |request| door(request, "/v1/chat/completions"),
        failure: moonshot_failure,
        late: body_of,
    },
    Flavour {
        name: "mistral",
        fields: Fields {
            more: &["prompt_mode"],
            unknown: &NOT_MISTRAL,
        },
        usage_at: UsageAt::Finish,
        door: |request| door(request, "/v1/chat/completions"),
        failure: mistral_failure,
        late: body_of,
    },
    Flavour {
        name: "zhipu",
        fields: Fields {
            more: &["do_sample", "request_id", "user_id", "tool_stream"],
            unknown: &["random_seed", "safe_prompt"],
        },
        usage_at: UsageAt::Finish,
        door: zhipu_door,
        failure: zhipu_failure,
        late: body_of,
    },
    Flavour {
        name: "volcengine-ark",
        fields: Fields {
            more: &["repetition_penalty"],
            unknown: &["random_seed", "safe_prompt"],
        },
        usage_at: UsageAt::OwnChunk,
        door: |request| door(request, "/api/v3/chat/completions"),
        failure: ark_failure,
        late: body_of,
    },
    Flavour {
        name: "qianfan",
        fields: Fields {
            more: &["penalty_score", "web_search", "enable_thinking", "repetition_penalty"],
            unknown: &["random_seed", "safe_prompt"],
        },
        usage_at: UsageAt::FinishIfAsked,
        door: |request| door(request, "/v2/chat/completions"),
        failure: qianfan_failure,
        late: body_of,
    },
    Flavour {
        name: "spark",
        fields: Fields {
            more: &["top_k", "suppress_plugin", "tool_calls_switch"],
            unknown: &["random_seed", "safe_prompt"],
        },
        usage_at: UsageAt::Finish,
        door: |request| door(request, "/v1/chat/completions"),
        failure: spark_failure,
        late: body_of,
    },
];

/// In a stream a failure is the same object as in an answer.
fn body_of(whole: &Whole) -> Value {
    serde_json::from_slice(&whole.body).unwrap()
}

fn door(request: &Request, path: &str) -> Checked<()> {
    if !request.is("POST", path) {
        return refuse(
            Failure::NotFound,
            format!("Invalid URL ({} {})", request.method, request.path),
        );
    }
    request.bearer(credentials(request.vendor).key)
}

/// The deployment stands in the path, the version in the query, and the key in a header of its own.
fn azure_door(request: &Request) -> Checked<()> {
    let deployment = request
        .path
        .strip_prefix("/openai/deployments/")
        .and_then(|rest| rest.strip_suffix("/chat/completions"));
    let Some(deployment) = deployment.filter(|name| !name.is_empty() && !name.contains('/')) else {
        return refuse(Failure::NotFound, "Resource not found");
    };
    if request.method != "POST" || request.query("api-version").is_none_or(|version| version.is_empty()) {
        return refuse(Failure::NotFound, "Resource not found");
    }
    match (request.header("api-key"), request.header("authorization")) {
        (Some(key), None) if key == credentials("azure-openai").key => {}
        _ => return refuse(Failure::Credentials, "Access denied due to invalid subscription key"),
    }
    let body = request.json()?;
    match body.get("model").and_then(Value::as_str) {
        Some(model) if model != deployment => invalid("model", "is not the deployment's"),
        _ => Ok(()),
    }
}

/// The key as it is, or a token signed by its secret.
fn zhipu_door(request: &Request) -> Checked<()> {
    if !request.is("POST", "/api/paas/v4/chat/completions") {
        return refuse(Failure::NotFound, "404 Not Found");
    }
    let sent = request.header("authorization").unwrap_or_default();
    let sent = sent.strip_prefix("Bearer ").unwrap_or(sent);
    if sent.matches('.').count() == 2 {
        return signatures::zhipu(sent, credentials("zhipu").key);
    }
    request.bearer(credentials("zhipu").key)
}

fn error(status: u16, error: &Value) -> Whole {
    Whole::json(status, &json!({ "error": error }))
}

/// `Retry-After` where a vendor sends one.
fn with_wait(whole: Whole, wait: Option<u64>) -> Whole {
    match wait {
        Some(seconds) => whole.with("retry-after", seconds.to_string()),
        None => whole,
    }
}

fn openai_failure(refused: &Refused, wait: Option<u64>) -> Whole {
    let (status, kind, code) = match refused.failure {
        Failure::Invalid => (400, "invalid_request_error", None),
        Failure::ContextLength => (400, "invalid_request_error", Some("context_length_exceeded")),
        Failure::Credentials => (401, "invalid_request_error", Some("invalid_api_key")),
        Failure::Forbidden => (403, "request_forbidden", Some("unsupported_country_region_territory")),
        Failure::NotFound => (404, "invalid_request_error", Some("model_not_found")),
        Failure::TooLarge => (413, "invalid_request_error", None),
        Failure::RateLimit => (429, "requests", Some("rate_limit_exceeded")),
        Failure::Quota => (429, "insufficient_quota", Some("insufficient_quota")),
        Failure::Filtered => (400, "invalid_request_error", Some("content_policy_violation")),
        Failure::Internal => (500, "server_error", None),
        Failure::Overloaded => (503, "server_error", None),
        Failure::Timeout => (504, "server_error", None),
    };
    let body = json!({"message": refused.said, "type": kind, "param": refused.field, "code": code});
    with_wait(error(status, &body), wait).with("x-request-id", "req-mock-error")
}

fn azure_failure(refused: &Refused, wait: Option<u64>) -> Whole {
    let (status, code) = match refused.failure {
        Failure::Invalid | Failure::ContextLength => (400, "400"),
        Failure::Credentials => (401, "401"),
        Failure::Forbidden => (403, "403"),
        Failure::NotFound => (404, "DeploymentNotFound"),
        Failure::TooLarge => (413, "413"),
        Failure::RateLimit => (429, "429"),
        Failure::Quota => (429, "insufficient_quota"),
        Failure::Filtered => (400, "content_filter"),
        Failure::Internal => (500, "InternalServerError"),
        Failure::Overloaded => (503, "503"),
        Failure::Timeout => (504, "Timeout"),
    };
    let mut body = json!({"code": code, "message": refused.said});
    if refused.failure == Failure::Filtered {
        body["innererror"] = json!({"code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {"violence": {"filtered": true, "severity": "high"}}});
    }
    let whole = with_wait(error(status, &body), wait).with("apim-request-id", "req-mock-error");
    match wait {
        Some(seconds) => whole.with("retry-after-ms", (seconds * 1000).to_string()),
        None => whole,
    }
}

fn deepseek_failure(refused: &Refused, wait: Option<u64>) -> Whole {
    let (status, kind) = match refused.failure {
        Failure::Invalid | Failure::ContextLength | Failure::Filtered => (400, "invalid_request_error"),
        Failure::TooLarge => (422, "invalid_request_error"),
        Failure::Credentials => (401, "authentication_error"),
        Failure::Forbidden => (403, "permission_error"),
        Failure::NotFound => (404, "invalid_request_error"),
        Failure::RateLimit => (429, "rate_limit_error"),
        Failure::Quota => (402, "unknown_error"),
        Failure::Internal => (500, "server_error"),
        Failure::Overloaded => (503, "service_unavailable_error"),
        Failure::Timeout => (504, "server_error"),
    };
    let body = json!({"message": refused.said, "type": kind, "param": null, "code": "invalid_request_error"});
    with_wait(error(status, &body), wait)
}

fn moonshot_failure(refused: &Refused, wait: Option<u64>) -> Whole {
    let (status, kind) = match refused.failure {
        Failure::Invalid | Failure::ContextLength | Failure::TooLarge => (400, "invalid_request_error"),
        Failure::Credentials => (401, "invalid_authentication_error"),
        Failure::Forbidden => (403, "permission_denied_error"),
        Failure::NotFound => (404, "resource_not_found_error"),
        Failure::RateLimit => (429, "rate_limit_reached_error"),
        Failure::Quota => (429, "exceeded_current_quota_error"),
        Failure::Filtered => (400, "content_filter"),
        Failure::Internal | Failure::Timeout => (500, "server_error"),
        Failure::Overloaded => (429, "engine_overloaded_error"),
    };
    let body = json!({"message": refused.said, "type": kind, "param": null, "code": null});
    with_wait(error(status, &body), wait)
}

/// Three shapes, depending on which part of the service speaks.
fn mistral_failure(refused: &Refused, wait: Option<u64>) -> Whole {
    let flat = |status, kind: &str| {
        Whole::json(
            status,
            &json!({"object": "error", "message": refused.said, "type": kind, "param": null, "code": "3000"}),
        )
    };
    let whole = match refused.failure {
        Failure::Invalid => Whole::json(
            422,
            &json!({"detail": [{"type": "extra_forbidden", "loc": ["body", refused.field], "msg": refused.said}]}),
        ),
        Failure::ContextLength | Failure::TooLarge | Failure::Filtered => flat(400, "invalid_request_error"),
        Failure::Credentials => Whole::json(401, &json!({"detail": "Unauthorized"})),
        Failure::Forbidden => Whole::json(403, &json!({"detail": "Forbidden"})),
        Failure::NotFound => flat(404, "invalid_model"),
        Failure::RateLimit => flat(429, "rate_limited"),
        Failure::Quota => flat(402, "payment_required"),
        Failure::Internal => flat(500, "internal_server_error"),
        Failure::Overloaded => flat(503, "unreachable_backend"),
        Failure::Timeout => flat(504, "timeout"),
    };
    with_wait(whole, wait)
}

fn zhipu_failure(refused: &Refused, wait: Option<u64>) -> Whole {
    let (status, code) = match refused.failure {
        Failure::Invalid => (400, "1210"),
        Failure::ContextLength | Failure::TooLarge => (400, "1261"),
        Failure::Credentials => (401, "1000"),
        Failure::Forbidden => (403, "1220"),
        Failure::NotFound => (400, "1211"),
        Failure::RateLimit => (429, "1302"),
        Failure::Quota => (429, "1113"),
        Failure::Filtered => (400, "1301"),
        Failure::Internal => (500, "500"),
        Failure::Overloaded => (429, "1305"),
        Failure::Timeout => (500, "1234"),
    };
    with_wait(error(status, &json!({"code": code, "message": refused.said})), wait)
}

fn ark_failure(refused: &Refused, wait: Option<u64>) -> Whole {
    let (status, code, kind) = match refused.failure {
        Failure::Invalid | Failure::ContextLength | Failure::TooLarge => (400, "InvalidParameter", "BadRequest"),
        Failure::Credentials => (401, "AuthenticationError", "Unauthorized"),
        Failure::Forbidden => (403, "AccessDenied", "Forbidden"),
        Failure::NotFound => (404, "InvalidEndpointOrModel.NotFound", "NotFound"),
        Failure::RateLimit => (429, "RateLimitExceeded.EndpointTPMExceeded", "TooManyRequests"),
        Failure::Quota => (403, "AccountOverdueError", "Forbidden"),
        Failure::Filtered => (400, "SensitiveContentDetected", "BadRequest"),
        Failure::Internal => (500, "InternalServiceError", "InternalServerError"),
        Failure::Overloaded => (429, "ServerOverloaded", "TooManyRequests"),
        Failure::Timeout => (504, "InternalServiceError", "GatewayTimeout"),
    };
    with_wait(
        error(
            status,
            &json!({"code": code, "message": refused.said, "param": "", "type": kind}),
        ),
        wait,
    )
}

fn qianfan_failure(refused: &Refused, wait: Option<u64>) -> Whole {
    let (status, code, kind) = match refused.failure {
        Failure::Invalid => (400, "invalid_argument", "invalid_request_error"),
        Failure::ContextLength | Failure::TooLarge => (400, "tokens_too_long", "invalid_request_error"),
        Failure::Credentials => (401, "invalid_iam_token", "invalid_request_error"),
        Failure::Forbidden => (401, "no_parameter_permission", "invalid_request_error"),
        Failure::NotFound => (404, "model_not_found", "invalid_request_error"),
        Failure::RateLimit => (429, "rpm_rate_limit_exceeded", "rate_limit_error"),
        Failure::Quota => (429, "insufficient_quota", "rate_limit_error"),
        Failure::Filtered => (400, "content_blocked", "unsafe_request"),
        Failure::Internal => (500, "dispatch_internal_error", "internal_error"),
        Failure::Overloaded => (503, "server_overloaded", "internal_error"),
        Failure::Timeout => (504, "timeout", "internal_error"),
    };
    let body = json!({"id": "as-mock-error", "error": {"code": code, "message": refused.said, "type": kind}});
    with_wait(Whole::json(status, &body), wait)
}

/// Status 200 whatever happened, but for the key.
fn spark_failure(refused: &Refused, _: Option<u64>) -> Whole {
    let (status, code) = match refused.failure {
        Failure::Invalid | Failure::TooLarge | Failure::NotFound => (200, 10163),
        Failure::ContextLength => (200, 10907),
        Failure::Credentials => (401, 11200),
        Failure::Forbidden => (200, 11200),
        Failure::RateLimit => (200, 11202),
        Failure::Quota => (200, 11201),
        Failure::Filtered => (200, 10013),
        Failure::Overloaded => (200, 10008),
        Failure::Internal | Failure::Timeout => (200, 10012),
    };
    Whole::json(
        status,
        &json!({"code": code, "message": refused.said, "sid": "cha-mock-error"}),
    )
}
