//! What the tables say of failures.

use super::*;

#[test]
fn errors_mean_what_each_vendor_says_they_mean() {
    let errors = VENDORS
        .into_iter()
        .filter(|(vendor, ..)| !["iflytek", "dashscope", "tencent"].contains(vendor));
    for (vendor, _, quirks) in errors {
        for golden in Golden::of(vendor, "error-") {
            golden.check_fault(&chat(quirks));
        }
    }
    for golden in Golden::of("dashscope", "error-compat") {
        golden.check_fault(&chat(&Quirks::DASHSCOPE));
    }
}

/// Vendor, status, class and body, line by line.
const ERRORS: &str = r#"azure-openai 404 not_found {"error":{"code":"DeploymentNotFound"}}
azure-openai 400 content_filter {"error":{"code":"content_filter"}}
azure-openai 429 rate_limit {"error":{"code":"429"}}
azure-openai 429 quota_exceeded {"error":{"code":"insufficient_quota"}}
azure-openai 400 content_filter {"error":{"code":"content_policy_violation"}}
deepseek 402 quota_exceeded {"error":{"code":"invalid_request_error"}}
deepseek 422 invalid_request {"error":{"type":"server_error"}}
deepseek 503 overloaded {"error":{}}
moonshot 429 overloaded {"error":{"type":"engine_overloaded_error"}}
moonshot 429 quota_exceeded {"error":{"type":"exceeded_current_quota_error"}}
moonshot 429 rate_limit {"error":{"type":"rate_limit_reached_error"}}
moonshot 400 content_filter {"error":{"type":"content_filter"}}
moonshot 401 authentication {"error":{"type":"invalid_authentication_error"}}
zhipu 401 authentication {"error":{"code":"1004"}}
zhipu 429 quota_exceeded {"error":{"code":"1113"}}
zhipu 400 quota_exceeded {"error":{"code":"1120"}}
zhipu 400 not_found {"error":{"code":"1211"}}
zhipu 400 permission {"error":{"code":"1220"}}
zhipu 400 invalid_request {"error":{"code":"1210"}}
zhipu 400 invalid_request {"error":{"code":"1261"}}
zhipu 400 content_filter {"error":{"code":"1301"}}
zhipu 429 rate_limit {"error":{"code":"1303"}}
zhipu 429 quota_exceeded {"error":{"code":"1304"}}
zhipu 429 quota_exceeded {"error":{"code":"1308"}}
zhipu 429 overloaded {"error":{"code":"1305"}}
zhipu 429 overloaded {"error":{"code":"1312"}}
zhipu 500 server_error {"error":{"code":"1234"}}
zhipu 429 rate_limit {"error":{"code":"9999"}}
volcengine-ark 401 authentication {"error":{"code":"AuthenticationError"}}
volcengine-ark 403 permission {"error":{"code":"AccessDenied"}}
volcengine-ark 403 quota_exceeded {"error":{"code":"AccountOverdueError"}}
volcengine-ark 429 quota_exceeded {"error":{"code":"QuotaExceeded"}}
volcengine-ark 429 rate_limit {"error":{"code":"RateLimitExceeded.EndpointRPMExceeded"}}
volcengine-ark 429 overloaded {"error":{"code":"ServerOverloaded"}}
volcengine-ark 400 content_filter {"error":{"code":"SensitiveContentDetected.Violation"}}
volcengine-ark 400 content_filter {"error":{"code":"InputTextRiskDetection"}}
volcengine-ark 404 not_found {"error":{"code":"InvalidEndpointOrModel.NotFound"}}
volcengine-ark 500 server_error {"error":{"code":"InternalServiceError"}}
volcengine-ark 400 invalid_request {"error":{"code":"InvalidParameter"}}
mistral 401 authentication {"detail":"Unauthorized"}
mistral 422 invalid_request {"detail":[{"loc":["body","x"],"msg":"no"}]}
mistral 429 rate_limit {"object":"error","message":"m","type":"t","code":null}
baidu-qianfan 400 content_filter {"error":{"type":"unsafe_request"}}
baidu-qianfan 400 invalid_request {"error":{"code":"invalid_model"}}
baidu-qianfan 401 permission {"error":{"code":"invalid_model"}}
baidu-qianfan 401 permission {"error":{"code":"no_parameter_permission"}}
baidu-qianfan 401 authentication {"error":{"code":"invalid_appid"}}
baidu-qianfan 429 rate_limit {"error":{"code":"tpm_rate_limit_exceeded"}}
baidu-qianfan 429 rate_limit {"error":{"code":"preemptible_busy"}}
baidu-qianfan 429 quota_exceeded {"error":{"code":"insufficient_quota"}}
baidu-qianfan 429 quota_exceeded {"error":{"code":"insufficient_balance"}}
baidu-qianfan 500 server_error {"error":{"code":"dispatch_internal_error"}}
baidu-qianfan 503 overloaded {"error":{}}
iflytek 400 content_filter {"code":10013,"message":"m"}
iflytek 400 invalid_request {"error":{"code":10907,"message":"m"}}
iflytek 403 permission {"code":11200,"message":"m"}
iflytek 429 quota_exceeded {"code":11201,"message":"m"}
iflytek 429 rate_limit {"code":11203,"message":"m"}
iflytek 500 overloaded {"code":10110,"message":"m"}
iflytek 401 authentication {"message":"HMAC signature cannot be verified"}
dashscope 429 rate_limit {"error":{"code":"insufficient_quota","message":"m"}}
dashscope 429 quota_exceeded {"error":{"code":"insufficient_quota","message":"Free allocated quota exceeded."}}
dashscope 400 content_filter {"error":{"code":"data_inspection_failed"}}
tencent 401 authentication {"error":{"code":"invalid_api_key"}}"#;

#[test]
fn every_code_of_every_table_has_its_class() {
    for line in ERRORS.lines() {
        let parts: Vec<_> = line.splitn(4, ' ').collect();
        let [vendor, status, class, body] = parts[..] else {
            panic!("{line}")
        };
        let (_, _, quirks) = VENDORS.into_iter().find(|(known, ..)| *known == vendor).unwrap();
        let status = status.parse().unwrap();
        let fault = chat(quirks).decode_fault(status, &HeaderMap::new(), body.as_bytes());
        assert_eq!((fault.class.label(), fault.status), (class, Some(status)), "{line}");
        for junk in ["", "<html>", "[]", "{\"error\":7}"] {
            let fault = chat(quirks).decode_fault(status, &HeaderMap::new(), junk.as_bytes());
            assert_eq!(fault.class, FaultClass::of_status(status), "{junk}");
        }
    }
}
