//! Baidu Qianfan: a lasting bearer key, or an access key that signs calls or buys bearer tokens.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use secrecy::SecretString;
use serde::Deserialize;
use service_kit::Timestamp;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    Bearer,
    bce_v1::{self, SignedNames, Terms},
    bought::{bear, copy, place, redacted, refusal, request, token_seconds, until},
    canonical::{AccessKey, extended_date, moment},
    keys::{Secrets, access_key, sign_outgoing},
};
use crate::{
    domain::{
        fault::{Fault, FaultClass},
        vendor::Vendor,
    },
    ports::codec::{AuthScheme, Bought, Exchange, Outgoing, Signer},
};

const PLACE: &str = "https://iam.bj.baidubce.com";
const PATH: &str = "/v1/BCE-BEARER/token";
const DATE: HeaderName = HeaderName::from_static("x-bce-date");
/// The option that says what an access key does: [`BUYS`] or [`SIGNS`].
pub const AUTH: &str = "auth";
/// It buys bearer tokens, which is the default.
pub const BUYS: &str = "iam";
/// It signs every call.
pub const SIGNS: &str = "bce-auth-v1";
const USUAL_SECONDS: u32 = 3600;
/// For as long as a signature is good.
const SIGNED_SECONDS: u32 = 300;

/// With a `secret_id` the credential is an access key; without one `secret_key` is a bearer key itself.
#[derive(Debug, Clone, Copy)]
pub struct QianfanKey;

impl AuthScheme for QianfanKey {
    fn signer(&self, vendor: &Vendor) -> Result<Box<dyn Signer>, String> {
        let Some(key) = access_key(vendor)? else {
            return Bearer.signer(vendor);
        };
        match vendor.options.get(AUTH).map_or(BUYS, String::as_str) {
            BUYS => Ok(Box::new(TokenBuyer::new(key, vendor)?)),
            SIGNS => Ok(Box::new(BceSigner::new(key))),
            _ => Err(format!("its option {AUTH} must be {BUYS} or {SIGNS}")),
        }
    }
}

/// Signs every call by bce-auth-v1.
pub(super) struct BceSigner {
    key: AccessKey,
    secrets: Secrets,
}

impl fmt::Debug for BceSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted("BceSigner", f)
    }
}

impl BceSigner {
    pub(super) fn new(key: AccessKey) -> Self {
        Self {
            secrets: Secrets::of_key(&key),
            key,
        }
    }
}

impl Signer for BceSigner {
    fn sign(&self, request: &mut Outgoing, at: Timestamp, _: Option<&SecretString>) {
        sign_bce(request, &self.key, at);
    }

    fn is_shown_in(&self, text: &[u8]) -> bool {
        self.secrets.are_shown_in(text)
    }
}

/// Signs what no proxy changes: host, date, and the type of the content.
fn sign_bce(request: &mut Outgoing, key: &AccessKey, at: Timestamp) {
    if let Ok(date) = HeaderValue::from_str(&extended_date(moment(at.as_seconds()))) {
        request.headers.insert(DATE, date);
    }
    let names: &[&str] = match request.headers.contains_key(header::CONTENT_TYPE) {
        true => &["host", "content-type", "x-bce-date"],
        false => &["host", "x-bce-date"],
    };
    let terms = Terms {
        valid_seconds: SIGNED_SECONDS,
        names: SignedNames::These(names),
    };
    sign_outgoing(
        request,
        |name| names.contains(&name.as_str()),
        |signable| bce_v1::sign(signable, key, terms, at.as_seconds()),
    );
}

struct TokenBuyer {
    key: AccessKey,
    request: Outgoing,
    secrets: Secrets,
}

impl fmt::Debug for TokenBuyer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted("TokenBuyer", f)
    }
}

impl TokenBuyer {
    fn new(key: AccessKey, vendor: &Vendor) -> Result<Self, String> {
        let seconds = token_seconds(vendor, USUAL_SECONDS)?;
        let path = format!("{PATH}?expireInSeconds={seconds}");
        let mut request = request(Method::GET, &place(vendor, PLACE)?, &path)?;
        // The vendor's own library sends an empty object along, and signs its type.
        let json = HeaderValue::from_static("application/json");
        request.headers.insert(header::CONTENT_TYPE, json);
        request.body = vec![Bytes::from_static(b"{}")];
        Ok(Self {
            secrets: Secrets::of_key(&key),
            key,
            request,
        })
    }
}

impl Signer for TokenBuyer {
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

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Reply {
    token: Option<String>,
    expire_time: Option<String>,
    code: Option<String>,
}

impl Exchange for TokenBuyer {
    fn request(&self, at: Timestamp) -> Outgoing {
        let mut request = copy(&self.request);
        sign_bce(&mut request, &self.key, at);
        request
    }

    fn read(&self, status: u16, _: &HeaderMap, body: &[u8], at: Timestamp) -> Result<Bought, Fault> {
        let reply: Reply = serde_json::from_slice(body).unwrap_or_default();
        if !(200..300).contains(&status) {
            return Err(refusal(status, reply.code.as_deref(), None));
        }
        let ends = reply
            .expire_time
            .and_then(|time| OffsetDateTime::parse(&time, &Rfc3339).ok());
        match (reply.token, ends) {
            (Some(token), Some(ends)) => until(&token, ends.unix_timestamp(), at),
            _ => Err(Fault::of(FaultClass::InvalidReply)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::auth_schemes::{
        TOKEN_SECONDS,
        canonical::Signable,
        tests::{Recorded, outgoing, recorded, vendor},
    };
    use secrecy::ExposeSecret as _;

    fn recordings() -> Vec<Recorded> {
        let recordings = recorded("baidu-qianfan", |recorded| recorded.expect["token"].is_string());
        assert!(!recordings.is_empty());
        recordings
    }

    fn buyer(recorded: &Recorded) -> Box<dyn Signer> {
        let mut row = vendor(recorded.input("access_key"), recorded.input("secret_key"));
        let seconds = recorded.inputs["params"]["expireInSeconds"].to_string();
        row.options.insert(TOKEN_SECONDS.to_owned(), seconds);
        QianfanKey.signer(&row).unwrap()
    }

    #[test]
    fn a_token_is_asked_for_as_the_vendors_library_does() {
        for recorded in recordings() {
            let at = Timestamp::from_seconds(recorded.unix());
            let request = buyer(&recorded).exchange().unwrap().request(at);
            let wanted = recorded.signable(&[], &[]);
            assert_eq!(request.method, wanted.method);
            assert_eq!(
                request.uri.to_string(),
                format!("https://{}{}?{}", wanted.host, wanted.path, wanted.query)
            );
            for name in ["content-type", "host", "x-bce-date"] {
                assert_eq!(request.headers[name], recorded.header(name).unwrap());
            }
            assert_eq!(request.body, ["{}"]);
            // The library signs a header of its own besides.
            let key = AccessKey::new(recorded.input("access_key"), recorded.input("secret_key"));
            let headers = [
                ("content-type", "application/json"),
                ("x-bce-date", "2025-03-14T15:09:26Z"),
            ];
            let signable = Signable {
                headers: &headers,
                ..wanted
            };
            let terms = Terms {
                valid_seconds: 300,
                names: SignedNames::These(&["host", "content-type", "x-bce-date"]),
            };
            let signed = bce_v1::sign(&signable, &key, terms, recorded.unix());
            assert_eq!(request.headers["authorization"], signed.authorization());
        }
    }

    #[test]
    fn a_bought_token_is_the_bearer_of_calls_for_a_month_at_most() {
        for recorded in recordings() {
            let at = Timestamp::from_seconds(recorded.unix());
            let body = recorded.response["body"].to_string();
            let signer = buyer(&recorded);
            let bought = signer
                .exchange()
                .unwrap()
                .read(200, &HeaderMap::new(), body.as_bytes(), at)
                .unwrap();
            assert_eq!(bought.token.expose_secret(), recorded.expect["token"]);
            assert!(bought.good_until > at);
            let mut request = outgoing("POST", "https://a.test/x", &[], "{}");
            signer.sign(&mut request, at, Some(&bought.token));
            let wanted = format!("Bearer {}", bought.token.expose_secret());
            assert_eq!(request.headers["authorization"], wanted);
        }
    }

    #[test]
    fn an_access_key_can_sign_every_call_instead() {
        let mut row = vendor("test-access-key", "test-secret-key");
        row.options.insert(AUTH.to_owned(), SIGNS.to_owned());
        let signer = QianfanKey.signer(&row).unwrap();
        assert!(signer.exchange().is_none());
        let mut request = outgoing("POST", "https://qianfan.baidubce.com/v2/chat/completions", &[], "{}");
        signer.sign(&mut request, Timestamp::from_seconds(1_741_964_966), None);
        assert_eq!(request.headers["x-bce-date"], "2025-03-14T15:09:26Z");
        let authorization = request.headers["authorization"].to_str().unwrap();
        let wanted = "bce-auth-v1/test-access-key/2025-03-14T15:09:26Z/300/host;x-bce-date/";
        assert!(authorization.starts_with(wanted), "{authorization}");
        assert!(signer.is_shown_in(b"test-secret-key"));
        assert_eq!(format!("{signer:?}"), "BceSigner([redacted])");
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        for (option, value) in [
            (AUTH, "other"),
            (TOKEN_SECONDS, "1"),
            (TOKEN_SECONDS, "x"),
            ("token_url", "x"),
        ] {
            let mut row = vendor("id", "secret-secret");
            row.options.insert(option.to_owned(), value.to_owned());
            assert!(QianfanKey.signer(&row).is_err(), "{option}");
        }
    }

    #[test]
    fn why_no_token_was_sold_is_told_by_status_and_code() {
        let signer = buyer(&recordings()[0]);
        for (status, body, class, code) in [
            (
                403,
                r#"{"code":"AccessDenied","message":"x"}"#,
                FaultClass::Permission,
                Some("AccessDenied"),
            ),
            (401, "", FaultClass::Authentication, None),
            (500, "<html>", FaultClass::ServerError, None),
            (200, r#"{"token":"t"}"#, FaultClass::InvalidReply, None),
            (
                200,
                r#"{"token":"t","expireTime":"soon"}"#,
                FaultClass::InvalidReply,
                None,
            ),
        ] {
            let at = Timestamp::from_seconds(0);
            let fault = signer
                .exchange()
                .unwrap()
                .read(status, &HeaderMap::new(), body.as_bytes(), at)
                .unwrap_err();
            assert_eq!((fault.class, fault.words.code.as_deref()), (class, code), "{body}");
        }
    }
}
