//! The signed address of iFlytek's WebSocket: who we are stands in the query, since a handshake of a browser has no headers.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::Timestamp;

use super::{
    bought::redacted,
    canonical::{AccessKey, hmac, http_date, moment},
    keys::{Secrets, extend_query, host_of, needed_access_key},
};
use crate::{
    domain::vendor::Vendor,
    ports::codec::{AuthScheme, Outgoing, Signer},
};

/// What proves who we are, as query parameters. It is good for five minutes, and must not get into a log.
pub struct SignedQuery {
    pub authorization: String,
    pub date: String,
    pub host: String,
    /// Whoever looks for a fault compares it with the vendor's.
    pub string_to_sign: String,
}

impl fmt::Debug for SignedQuery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted("SignedQuery", f)
    }
}

impl SignedQuery {
    /// As it stands behind the question mark.
    pub fn raw(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .append_pair("authorization", &self.authorization)
            .append_pair("date", &self.date)
            .append_pair("host", &self.host)
            .finish()
    }
}

/// Signs the handshake with a host. The key's id is what the vendor calls `APIKey`, its secret the `APISecret`.
pub fn sign(host: &str, path: &str, key: &AccessKey, unix: i64) -> SignedQuery {
    let date = http_date(moment(unix));
    let string_to_sign = format!("host: {host}\ndate: {date}\nGET {path} HTTP/1.1");
    let signature = STANDARD.encode(hmac(key.secret.expose_secret().as_bytes(), string_to_sign.as_bytes()));
    let parts = format!(
        "api_key=\"{}\", algorithm=\"hmac-sha256\", headers=\"host date request-line\", signature=\"{signature}\"",
        key.id
    );
    SignedQuery {
        authorization: STANDARD.encode(parts),
        date,
        host: host.to_owned(),
        string_to_sign,
    }
}

/// Signs the address of every handshake. `secret_id` is what the vendor calls `APIKey`, `secret_key` its `APISecret`.
#[derive(Debug, Clone, Copy)]
pub struct SparkUrl;

struct SparkSigner {
    key: AccessKey,
    secrets: Secrets,
}

impl fmt::Debug for SparkSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        redacted("SparkSigner", f)
    }
}

impl AuthScheme for SparkUrl {
    fn signer(&self, vendor: &Vendor) -> Result<Box<dyn Signer>, String> {
        let key = needed_access_key(vendor)?;
        Ok(Box::new(SparkSigner {
            secrets: Secrets::of_key(&key),
            key,
        }))
    }
}

impl Signer for SparkSigner {
    fn sign(&self, request: &mut Outgoing, at: Timestamp, _: Option<&SecretString>) {
        let host = host_of(request);
        let signed = sign(&host, request.uri.path(), &self.key, at.as_seconds());
        extend_query(request, &signed.raw());
    }

    fn is_shown_in(&self, text: &[u8]) -> bool {
        // An address that is quoted is good for five minutes, to anybody.
        self.secrets.are_shown_in(text) || memchr::memmem::find(text, b"authorization=").is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::auth_schemes::tests::{outgoing, recorded, vendor};

    fn parts(authorization: &str) -> Vec<String> {
        let decoded = String::from_utf8(STANDARD.decode(authorization).unwrap()).unwrap();
        decoded.split(',').map(|part| part.trim().to_owned()).collect()
    }

    #[test]
    fn the_parts_of_an_address_are_those_that_the_vendors_library_sends() {
        let recordings = recorded("iflytek", |recorded| recorded.signing["signature"].is_string());
        assert!(!recordings.is_empty());
        for recorded in recordings {
            let key = AccessKey::new(recorded.input("api_key"), recorded.input("api_secret"));
            let request = recorded.signable(&[], &[]);
            let signed = sign(request.host, request.path, &key, recorded.unix());
            assert_eq!(signed.string_to_sign, recorded.signing["string_to_sign"]);
            let got: Vec<_> = form_urlencoded::parse(signed.raw().as_bytes()).into_owned().collect();
            let wanted: Vec<_> = form_urlencoded::parse(request.query.as_bytes()).into_owned().collect();
            assert_eq!(got[1..], wanted[1..], "{}", recorded.name);
            assert_eq!(parts(&got[0].1), parts(&wanted[0].1), "{}", recorded.name);
        }
    }

    #[test]
    fn an_address_does_not_show_itself() {
        let signed = sign("h", "/p", &AccessKey::new("id", "secret"), 0);
        assert_eq!(format!("{signed:?}"), "SignedQuery([redacted])");
        assert_ne!(
            signed.authorization,
            sign("h", "/q", &AccessKey::new("id", "secret"), 0).authorization
        );
        assert_ne!(
            signed.authorization,
            sign("h", "/p", &AccessKey::new("id", "other"), 0).authorization
        );
    }

    #[test]
    fn the_handshake_of_a_vendor_goes_to_the_signed_address() {
        let signer = SparkUrl.signer(&vendor("test-access-key", "test-secret-key")).unwrap();
        let mut request = outgoing("GET", "wss://spark-api.xf-yun.com/v4.0/chat", &[], "");
        signer.sign(&mut request, Timestamp::from_seconds(1_741_964_966), None);
        let key = AccessKey::new("test-access-key", "test-secret-key");
        let wanted = sign("spark-api.xf-yun.com", "/v4.0/chat", &key, 1_741_964_966).raw();
        assert_eq!(
            request.uri.to_string(),
            format!("wss://spark-api.xf-yun.com/v4.0/chat?{wanted}")
        );
        assert!(request.headers.is_empty() && signer.is_shown_in(b"test-secret-key"));
        let quoted = format!("cannot upgrade {}", request.uri);
        assert!(signer.is_shown_in(quoted.as_bytes()) && !signer.is_shown_in(b"no authorization"));
        assert_eq!(format!("{signer:?}"), "SparkSigner([redacted])");
    }
}
