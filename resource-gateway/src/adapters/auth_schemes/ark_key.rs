//! Volcengine Ark: an access key buys short-lived keys for named endpoints.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use secrecy::SecretString;
use serde::Deserialize;
use service_kit::Timestamp;

use super::{
    Bearer,
    bought::{bear, copy, place, redacted, refusal, request, token_seconds, until},
    canonical::AccessKey,
    keys::{Secrets, access_key, sign_outgoing},
    volcengine::{self, Scope},
};
use crate::{
    domain::{
        fault::{Fault, FaultClass},
        vendor::Vendor,
    },
    ports::codec::{AuthScheme, Bought, Exchange, Outgoing, Signer},
};

const PLACE: &str = "https://open.volcengineapi.com";
const ACTION: &str = "/?Action=GetApiKey&Version=2024-01-01";
const SERVICE: &str = "ark";
/// The option that names the region of the access key, and its usual value.
pub const REGION: &str = "region";
const USUAL_REGION: &str = "cn-beijing";
/// The option that names the endpoints (`ep-…`) that a bought key is for, with commas in between.
pub const ENDPOINTS: &str = "endpoints";
/// A day.
const USUAL_SECONDS: u32 = 86_400;

/// With a `secret_id` the credential is an access key that buys keys; without one `secret_key` is a key itself.
#[derive(Debug, Clone, Copy)]
pub struct ArkKey;

struct ArkBuyer {
    key: AccessKey,
    region: String,
    request: Outgoing,
    secrets: Secrets,
}

impl fmt::Debug for ArkBuyer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted("ArkBuyer", f)
    }
}

impl AuthScheme for ArkKey {
    fn signer(&self, vendor: &Vendor) -> Result<Box<dyn Signer>, String> {
        let Some(key) = access_key(vendor)? else {
            return Bearer.signer(vendor);
        };
        let endpoints = vendor.options.get(ENDPOINTS);
        let endpoints = endpoints.ok_or("its option endpoints must name what an access key buys keys for")?;
        let endpoints: Vec<_> = endpoints.split(',').filter(|endpoint| !endpoint.is_empty()).collect();
        let mut request = request(Method::POST, &place(vendor, PLACE)?, ACTION)?;
        let body = serde_json::json!({
            "DurationSeconds": token_seconds(vendor, USUAL_SECONDS)?,
            "ResourceType": "endpoint",
            "ResourceIds": endpoints,
        });
        let json = HeaderValue::from_static("application/json");
        request.headers.insert(header::CONTENT_TYPE, json);
        request.body = vec![Bytes::from(body.to_string())];
        let region = vendor.options.get(REGION).map_or(USUAL_REGION, String::as_str);
        Ok(Box::new(ArkBuyer {
            secrets: Secrets::of_key(&key),
            key,
            region: region.to_owned(),
            request,
        }))
    }
}

impl Signer for ArkBuyer {
    fn sign(&self, request: &mut Outgoing, _: Timestamp, token: Option<&SecretString>) {
        bear(request, token);
    }

    fn is_shown_in(&self, text: &[u8]) -> bool {
        self.secrets.are_shown_in(text)
    }

    fn exchange(&self) -> Option<&dyn Exchange> {
        Some(self)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Reply {
    #[serde(default)]
    result: Option<Sold>,
    #[serde(default)]
    response_metadata: Option<Metadata>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Sold {
    api_key: String,
    expired_time: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metadata {
    #[serde(default)]
    error: Option<Refused>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Refused {
    #[serde(default)]
    code: String,
}

impl Exchange for ArkBuyer {
    fn request(&self, at: Timestamp) -> Outgoing {
        let mut request = copy(&self.request);
        let scope = Scope {
            region: &self.region,
            service: SERVICE,
        };
        sign_outgoing(
            &mut request,
            |name| name == header::CONTENT_TYPE,
            |signable| volcengine::sign(signable, &self.key, scope, at.as_seconds()),
        );
        request
    }

    fn read(&self, status: u16, _: &HeaderMap, body: &[u8], at: Timestamp) -> Result<Bought, Fault> {
        let reply: Option<Reply> = serde_json::from_slice(body).ok();
        let (result, metadata) = reply.map_or((None, None), |reply| (reply.result, reply.response_metadata));
        if let Some(error) = metadata.and_then(|metadata| metadata.error) {
            return Err(refusal(status, Some(&error.code), class_of(&error.code)));
        }
        match result {
            Some(sold) if (200..300).contains(&status) => until(&sold.api_key, sold.expired_time, at),
            _ if (200..300).contains(&status) => Err(Fault::of(FaultClass::InvalidReply)),
            _ => Err(refusal(status, None, None)),
        }
    }
}

/// What the open API says of access keys; whatever else it says goes by its status.
fn class_of(code: &str) -> Option<FaultClass> {
    let is = |words: &[&str]| words.iter().any(|word| code.contains(word));
    if is(&["AccessDenied", "NotAuthorized", "Forbidden"]) {
        Some(FaultClass::Permission)
    } else if is(&["Signature", "AccessKey", "Credential", "SecurityToken", "Timestamp"]) {
        Some(FaultClass::Authentication)
    } else if is(&["Limit", "Throttl"]) {
        Some(FaultClass::RateLimit)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::auth_schemes::{
        TOKEN_SECONDS,
        tests::{Recorded, outgoing, recorded, vendor},
    };
    use secrecy::ExposeSecret as _;

    fn buyer(recorded: &Recorded) -> Box<dyn Signer> {
        let mut row = vendor(recorded.input("access_key"), recorded.input("secret_key"));
        let ids = recorded.inputs["params"]["resource_ids"].as_array().unwrap();
        let ids: Vec<_> = ids.iter().map(|id| id.as_str().unwrap()).collect();
        row.options.insert(ENDPOINTS.to_owned(), ids.join(","));
        ArkKey.signer(&row).unwrap()
    }

    fn recordings() -> Vec<Recorded> {
        recorded("volcengine-ark", |recorded| {
            recorded.inputs["params"]["resource_ids"].is_array()
        })
    }

    #[test]
    fn a_key_is_asked_for_as_the_vendors_library_does() {
        assert!(!recordings().is_empty());
        for recorded in recordings() {
            let signer = buyer(&recorded);
            let at = Timestamp::from_seconds(recorded.unix());
            let request = signer.exchange().unwrap().request(at);
            let wanted = recorded.signable(&[], &[]);
            assert_eq!(request.method, wanted.method);
            assert_eq!(
                request.uri.to_string(),
                format!("https://{}{}?{}", wanted.host, wanted.path, wanted.query)
            );
            for name in ["content-type", "host", "x-date"] {
                assert_eq!(request.headers[name], recorded.header(name).unwrap());
            }
            let body: serde_json::Value = serde_json::from_slice(&request.body[0]).unwrap();
            assert_eq!(body, recorded.request["body"]);
            let authorization = request.headers["authorization"].to_str().unwrap();
            assert!(authorization.contains("SignedHeaders=content-type;host;x-content-sha256;x-date, "));
            assert!(request.headers["authorization"].is_sensitive());
        }
    }

    #[test]
    fn a_bought_key_is_the_bearer_of_calls_until_a_minute_before_its_end() {
        for recorded in recordings() {
            let signer = buyer(&recorded);
            let at = Timestamp::from_seconds(recorded.unix());
            let body = recorded.response["body"].to_string();
            let read = signer
                .exchange()
                .unwrap()
                .read(200, &HeaderMap::new(), body.as_bytes(), at);
            let bought = read.unwrap();
            assert_eq!(bought.token.expose_secret(), recorded.expect["api_key"]);
            let ends = recorded.expect["expires_at"].as_i64().unwrap();
            assert_eq!(bought.good_until, Timestamp::from_seconds(ends - 60));
            let mut request = outgoing("POST", "https://a.test/x", &[], "{}");
            signer.sign(&mut request, at, Some(&bought.token));
            assert_eq!(request.headers["authorization"], "Bearer test-temporary-ark-key");
        }
    }

    #[test]
    fn why_no_key_was_sold_is_told_without_the_vendors_sentence() {
        let signer = buyer(&recordings()[0]);
        for (status, body, class) in [
            (
                401,
                r#"{"ResponseMetadata":{"Error":{"Code":"SignatureDoesNotMatch","Message":"x"}}}"#,
                FaultClass::Authentication,
            ),
            (
                200,
                r#"{"ResponseMetadata":{"Error":{"Code":"AccessDenied","Message":"x"}}}"#,
                FaultClass::Permission,
            ),
            (
                429,
                r#"{"ResponseMetadata":{"Error":{"Code":"FlowLimitExceeded"}}}"#,
                FaultClass::RateLimit,
            ),
            (
                500,
                r#"{"ResponseMetadata":{"Error":{"Code":"InternalError"}}}"#,
                FaultClass::ServerError,
            ),
            (503, "<html>", FaultClass::Overloaded),
            (200, "{}", FaultClass::InvalidReply),
            (
                200,
                r#"{"Result":{"ApiKey":"k","ExpiredTime":1}}"#,
                FaultClass::InvalidReply,
            ),
        ] {
            let at = Timestamp::from_seconds(100);
            let fault = signer
                .exchange()
                .unwrap()
                .read(status, &HeaderMap::new(), body.as_bytes(), at)
                .unwrap_err();
            assert_eq!((fault.class, fault.words.message), (class, None), "{body}");
        }
    }

    #[test]
    fn without_an_id_the_secret_is_the_key_itself_and_an_access_key_needs_endpoints() {
        let mut row = vendor("id", "secret-secret");
        assert!(ArkKey.signer(&row).is_err());
        row.credential.secret_id = None;
        let signer = ArkKey.signer(&row).unwrap();
        assert!(signer.exchange().is_none());
        let mut request = outgoing("POST", "https://a.test/x", &[], "{}");
        signer.sign(&mut request, Timestamp::from_seconds(0), None);
        assert_eq!(request.headers["authorization"], "Bearer secret-secret");
    }

    #[test]
    fn keys_are_bought_for_as_long_as_the_row_says() {
        let body = |seconds: Option<&str>| {
            let mut row = vendor("id", "secret-secret");
            row.options.insert(ENDPOINTS.to_owned(), "ep-1".to_owned());
            let seconds = seconds.map(|seconds| (TOKEN_SECONDS.to_owned(), seconds.to_owned()));
            row.options.extend(seconds);
            let signer = ArkKey.signer(&row)?;
            let request = signer.exchange().unwrap().request(Timestamp::from_seconds(0));
            let body: serde_json::Value = serde_json::from_slice(&request.body.concat()).unwrap();
            Ok::<_, String>(body["DurationSeconds"].clone())
        };
        assert_eq!(body(None), Ok(86_400.into()));
        for (seconds, wanted) in [("300", 300), ("2592000", 2_592_000)] {
            assert_eq!(body(Some(seconds)), Ok(wanted.into()));
        }
        for seconds in ["299", "2592001", "x", ""] {
            assert!(body(Some(seconds)).unwrap_err().contains(TOKEN_SECONDS), "{seconds}");
        }
    }
}
