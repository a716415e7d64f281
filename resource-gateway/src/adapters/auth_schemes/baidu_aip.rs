//! Baidu AIP: an access key buys a token, which goes into the query of calls, and into the content of those for speech.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, Method};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use service_kit::Timestamp;

pub use super::{
    bought::TOKEN_URL,
    qianfan_iam::{AUTH, SIGNS},
};
use super::{
    bought::{copy, place, redacted, refusal, request, until},
    keys::{Secrets, extend_query, needed_access_key},
    qianfan_iam::BceSigner,
};
use crate::{
    domain::{
        fault::{Fault, FaultClass},
        vendor::Vendor,
    },
    ports::codec::{AuthScheme, Bought, Exchange, Outgoing, Signer},
};

const PLACE: &str = "https://aip.baidubce.com";
const PATH: &str = "/oauth/2.0/token";
/// Speech knows no `access_token`: transcription wants the token as a member of its JSON, synthesis as a field of its form.
const TRANSCRIPTION: &str = "/server_api";
const SYNTHESIS: &str = "/text2audio";

/// `secret_id` is what the vendor calls `API Key`, `secret_key` its `Secret Key`. With the option `auth = "bce-auth-v1"` the key
/// signs every call instead, for those whose tokens lack the scope for everything.
#[derive(Debug, Clone, Copy)]
pub struct BaiduAip;

impl AuthScheme for BaiduAip {
    fn signer(&self, vendor: &Vendor) -> Result<Box<dyn Signer>, String> {
        let key = needed_access_key(vendor)?;
        match vendor.options.get(AUTH).map(String::as_str) {
            None => {}
            Some(SIGNS) => return Ok(Box::new(BceSigner::new(key))),
            Some(_) => return Err(format!("its option {AUTH} must be {SIGNS}")),
        }
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "client_credentials")
            .append_pair("client_id", &key.id)
            .append_pair("client_secret", key.secret.expose_secret())
            .finish();
        let request = request(Method::GET, &place(vendor, PLACE)?, &format!("{PATH}?{query}"))?;
        Ok(Box::new(AipBuyer {
            secrets: Secrets::of_key(&key),
            request,
        }))
    }
}

struct AipBuyer {
    request: Outgoing,
    secrets: Secrets,
}

impl fmt::Debug for AipBuyer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted("AipBuyer", f)
    }
}

impl Signer for AipBuyer {
    fn sign(&self, request: &mut Outgoing, _: Timestamp, token: Option<&SecretString>) {
        let Some(token) = token.map(ExposeSecret::expose_secret) else {
            return;
        };
        let pair = |name: &str| {
            form_urlencoded::Serializer::new(String::new())
                .append_pair(name, token)
                .finish()
        };
        let path = request.uri.path();
        if path.ends_with(TRANSCRIPTION) {
            let member = format!("{{\"token\":{},", serde_json::Value::from(token));
            put_first(&mut request.body, member);
        } else if path.ends_with(SYNTHESIS) {
            request.body.push(Bytes::from(format!("&{}", pair("tok"))));
        } else {
            extend_query(request, &pair("access_token"));
        }
    }

    fn is_shown_in(&self, text: &[u8]) -> bool {
        self.secrets.are_shown_in(text)
    }

    fn exchange(&self) -> Option<&dyn Exchange> {
        Some(self)
    }
}

/// Puts the opening brace and a member in the place of the opening brace. Nothing else of the content is touched, long as it may be.
fn put_first(body: &mut Vec<Bytes>, opening: String) {
    for piece in body.iter_mut() {
        match piece.iter().position(|byte| !byte.is_ascii_whitespace()) {
            None => {}
            Some(at) => {
                if piece.get(at) == Some(&b'{') {
                    *piece = piece.slice(at + 1..);
                    break;
                }
                return;
            }
        }
    }
    body.insert(0, Bytes::from(opening));
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Reply {
    access_token: Option<String>,
    expires_in: Option<i64>,
    error: Option<String>,
}

impl Exchange for AipBuyer {
    fn request(&self, _: Timestamp) -> Outgoing {
        copy(&self.request)
    }

    fn read(&self, status: u16, _: &HeaderMap, body: &[u8], at: Timestamp) -> Result<Bought, Fault> {
        let reply: Reply = serde_json::from_slice(body).unwrap_or_default();
        if let Some(error) = &reply.error {
            // RFC 6749 §5.2, in part: the status is not always that of the error.
            let class = matches!(&**error, "invalid_client" | "unauthorized_client" | "invalid_grant");
            return Err(refusal(
                status,
                Some(error),
                class.then_some(FaultClass::Authentication),
            ));
        }
        if !(200..300).contains(&status) {
            return Err(refusal(status, None, None));
        }
        match (reply.access_token, reply.expires_in) {
            (Some(token), Some(seconds)) => until(&token, at.as_seconds().saturating_add(seconds), at),
            _ => Err(Fault::of(FaultClass::InvalidReply)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::auth_schemes::tests::{outgoing, recorded, vendor};
    use serde_json::Value;

    fn signer() -> Box<dyn Signer> {
        BaiduAip.signer(&vendor("test-access-key", "test-secret-key")).unwrap()
    }

    #[test]
    fn a_token_is_bought_and_kept_as_the_vendors_library_does() {
        let recordings = recorded("baidu", |recorded| recorded.expect["access_token"].is_string());
        assert!(!recordings.is_empty());
        for recorded in recordings {
            let at = Timestamp::from_seconds(1_741_964_966);
            let signer = BaiduAip
                .signer(&vendor(recorded.input("api_key"), recorded.input("secret_key")))
                .unwrap();
            let exchange = signer.exchange().unwrap();
            let request = exchange.request(at);
            let wanted = recorded.signable(&[], &[]);
            assert_eq!(request.method, wanted.method);
            assert_eq!(
                request.uri.to_string(),
                format!("https://{}{}?{}", wanted.host, wanted.path, wanted.query)
            );
            let body = recorded.response["body"].to_string();
            let bought = exchange.read(200, &HeaderMap::new(), body.as_bytes(), at).unwrap();
            assert_eq!(bought.token.expose_secret(), recorded.expect["access_token"]);
            let seconds = recorded.expect["expires_in"].as_i64().unwrap();
            assert_eq!(bought.good_until, Timestamp::from_seconds(1_741_964_966 + seconds - 60));
        }
    }

    #[test]
    fn a_refused_key_is_an_authentication_fault() {
        let recordings = recorded("baidu", |recorded| {
            recorded.expect["error"]["code"] == "invalid_client" && recorded.request["path"] == PATH
        });
        assert!(!recordings.is_empty());
        for recorded in recordings {
            let status = u16::try_from(recorded.response["status"].as_u64().unwrap()).unwrap();
            let body = recorded.response["body"].to_string();
            let at = Timestamp::from_seconds(0);
            let read = signer()
                .exchange()
                .unwrap()
                .read(status, &HeaderMap::new(), body.as_bytes(), at);
            let fault = read.unwrap_err();
            assert_eq!(fault.class, FaultClass::Authentication);
            assert_eq!(fault.words.code.as_deref(), Some("invalid_client"));
        }
    }

    #[test]
    fn what_is_no_sale_is_told() {
        for (status, body, class) in [
            (503, "<html>", FaultClass::Overloaded),
            (200, "{}", FaultClass::InvalidReply),
            (200, r#"{"access_token":"t","expires_in":1}"#, FaultClass::InvalidReply),
            (200, r#"{"error":"invalid_client"}"#, FaultClass::Authentication),
            (400, r#"{"error":"unsupported_grant_type"}"#, FaultClass::InvalidRequest),
        ] {
            let at = Timestamp::from_seconds(0);
            let fault = signer()
                .exchange()
                .unwrap()
                .read(status, &HeaderMap::new(), body.as_bytes(), at);
            assert_eq!(fault.unwrap_err().class, class, "{body}");
        }
    }

    fn signed(uri: &str, body: &str) -> Outgoing {
        let mut request = outgoing("POST", uri, &[], body);
        let token = SecretString::from("24.t/\"+k");
        signer().sign(&mut request, Timestamp::from_seconds(0), Some(&token));
        request
    }

    #[test]
    fn the_token_stands_where_each_capability_wants_it() {
        let ocr = signed("https://aip.baidubce.com/rest/2.0/ocr/v1/general?a=1", "image=x");
        assert_eq!(ocr.uri.query(), Some("a=1&access_token=24.t%2F%22%2Bk"));
        assert_eq!(ocr.body, ["image=x"]);

        let asr = signed("http://vop.baidu.com/server_api", "  {\"format\":\"pcm\"}");
        let body: Value = serde_json::from_slice(&asr.body.concat()).unwrap();
        assert_eq!(body, serde_json::json!({"token": "24.t/\"+k", "format": "pcm"}));
        assert_eq!(asr.uri.query(), None);

        let tts = signed("http://tsn.baidu.com/text2audio", "tex=a");
        assert_eq!(tts.body.concat(), b"tex=a&tok=24.t%2F%22%2Bk");
    }

    #[test]
    fn a_key_can_sign_instead_and_none_can_be_left_out() {
        let mut row = vendor("id", "secret-secret");
        row.options.insert(AUTH.to_owned(), SIGNS.to_owned());
        assert!(BaiduAip.signer(&row).unwrap().exchange().is_none());
        row.options.insert(AUTH.to_owned(), "other".to_owned());
        assert!(BaiduAip.signer(&row).is_err());
        row.credential.secret_id = None;
        assert!(BaiduAip.signer(&row).is_err());
        assert!(signer().is_shown_in(b"a test-secret-key b"));
        assert_eq!(format!("{:?}", signer()), "AipBuyer([redacted])");
    }
}
