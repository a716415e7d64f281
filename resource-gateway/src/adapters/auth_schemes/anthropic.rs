//! Anthropic's key: in a header of its own, or as a bearer token. One of them, since with both the first one counts.

use std::ops::Not as _;

use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::Timestamp;

use super::{Bearer, SHORTEST_SECRET};
use crate::{
    domain::vendor::Vendor,
    ports::codec::{AuthScheme, Outgoing, Signer},
};

/// The option that says which.
pub const AUTH: &str = "auth";
/// The option that says how long an answer may be where the caller does not.
pub const MAX_TOKENS: &str = "max_tokens";
pub const WAYS: [&str; 2] = ["x-api-key", "bearer"];

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// `x-api-key: KEY`, or `Authorization: Bearer KEY` if the option `auth` says so.
#[derive(Debug, Clone, Copy)]
pub struct AnthropicKey;

struct KeySigner(HeaderValue);

impl std::fmt::Debug for KeySigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeySigner([redacted])")
    }
}

impl AuthScheme for AnthropicKey {
    fn signer(&self, vendor: &Vendor) -> Result<Box<dyn Signer>, String> {
        // Asked for here because nobody else looks at options before the first call.
        let most = vendor.options.get(MAX_TOKENS);
        if most.is_some_and(|most| most.parse::<u64>().is_ok_and(|most| most > 0).not()) {
            return Err("its option max_tokens is not a number".to_owned());
        }
        if vendor.options.get(AUTH).is_some_and(|way| way == "bearer") {
            return Bearer.signer(vendor);
        }
        let key = vendor.credential.secret_key.present().ok_or("it has no secret_key")?;
        let mut value = HeaderValue::from_str(key.expose_secret().trim())
            .map_err(|_| "its secret_key holds characters that a header cannot carry")?;
        value.set_sensitive(true);
        Ok(Box::new(KeySigner(value)))
    }
}

impl Signer for KeySigner {
    fn sign(&self, request: &mut Outgoing, _: Timestamp, _: Option<&SecretString>) {
        request.headers.insert(X_API_KEY, self.0.clone());
    }

    fn is_shown_in(&self, text: &[u8]) -> bool {
        let key = self.0.as_bytes();
        key.len() >= SHORTEST_SECRET && memchr::memmem::find(text, key).is_some()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method, Uri};

    use super::*;
    use crate::domain::vendor::SecretKey;

    fn signed(vendor: &Vendor) -> HeaderMap {
        let mut request = Outgoing {
            method: Method::POST,
            uri: Uri::from_static("https://api.anthropic.com/v1/messages"),
            headers: HeaderMap::new(),
            body: Vec::new(),
            dialogue: None,
        };
        let signer = AnthropicKey.signer(vendor).unwrap();
        signer.sign(&mut request, Timestamp::from_seconds(0), None);
        assert!(signer.is_shown_in(b"so sk-ant-01 it is") && !signer.is_shown_in(b"sk-ant-0"));
        assert!(!format!("{signer:?}").contains("sk-ant"));
        request.headers
    }

    #[test]
    fn the_key_goes_in_one_header_and_never_in_both() {
        let mut vendor = Vendor::named("v", "anthropic");
        assert!(AnthropicKey.signer(&vendor).is_err());
        vendor.credential.secret_key = SecretKey::Present(SecretString::from(" sk-ant-01\n"));
        let headers = signed(&vendor);
        assert_eq!(headers["x-api-key"], "sk-ant-01");
        assert!(headers["x-api-key"].is_sensitive() && headers.len() == 1);
        vendor.options.insert(AUTH.to_owned(), "bearer".to_owned());
        let headers = signed(&vendor);
        assert_eq!(headers["authorization"], "Bearer sk-ant-01");
        assert_eq!(headers.len(), 1);
        for (most, good) in [("1", true), ("0", false), ("many", false), ("-1", false)] {
            vendor.options.insert(MAX_TOKENS.to_owned(), most.to_owned());
            assert_eq!(AnthropicKey.signer(&vendor).is_ok(), good, "{most}");
        }
    }
}
