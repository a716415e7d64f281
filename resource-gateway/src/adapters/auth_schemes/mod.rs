//! Ways to prove who we are to a vendor.

pub mod anthropic;
pub mod ark_key;
pub mod azure;
pub mod baidu_aip;
pub mod bce_v1;
mod bought;
pub mod canonical;
mod keys;
pub mod named_header;
mod option_headers;
pub mod qianfan_iam;
pub mod sigv4;
pub mod spark_url;
pub mod tc3;
pub mod volcengine;
pub mod zhipu_jwt;

pub use self::{bought::TOKEN_SECONDS, option_headers::OptionHeaders};

use http::{HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::Timestamp;

use crate::{
    domain::vendor::Vendor,
    ports::codec::{AuthScheme, Outgoing, Signer},
};

/// `Authorization: Bearer KEY`.
#[derive(Debug, Clone, Copy)]
pub struct Bearer;

/// Nothing is signed.
#[derive(Debug, Clone, Copy)]
pub struct Unsigned;

/// A shorter one stands in many texts by chance, and keeps nobody out.
const SHORTEST_SECRET: usize = 8;
const PREFIX: &str = "Bearer ";

struct BearerSigner(HeaderValue);

impl std::fmt::Debug for BearerSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BearerSigner([redacted])")
    }
}

impl AuthScheme for Bearer {
    fn signer(&self, vendor: &Vendor) -> Result<Box<dyn Signer>, String> {
        // Self-hosted servers often want no key.
        let Some(key) = vendor.credential.secret_key.present() else {
            return Ok(Box::new(Unsigned));
        };
        let mut value = HeaderValue::from_str(&format!("{PREFIX}{}", key.expose_secret().trim()))
            .map_err(|_| "its secret_key holds characters that a header cannot carry")?;
        value.set_sensitive(true);
        Ok(Box::new(BearerSigner(value)))
    }
}

impl Signer for BearerSigner {
    fn sign(&self, request: &mut Outgoing, _: Timestamp, _: Option<&SecretString>) {
        request.headers.insert(header::AUTHORIZATION, self.0.clone());
    }

    fn is_shown_in(&self, text: &[u8]) -> bool {
        let value = self.0.as_bytes();
        let key = value.strip_prefix(PREFIX.as_bytes()).unwrap_or(value);
        key.len() >= SHORTEST_SECRET && memchr::memmem::find(text, key).is_some()
    }
}

impl AuthScheme for Unsigned {
    fn signer(&self, _: &Vendor) -> Result<Box<dyn Signer>, String> {
        Ok(Box::new(Self))
    }
}

impl Signer for Unsigned {
    fn sign(&self, _: &mut Outgoing, _: Timestamp, _: Option<&SecretString>) {}

    fn is_shown_in(&self, _text: &[u8]) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod key_tests {
    use super::*;
    use crate::domain::vendor::SecretKey;

    #[test]
    fn a_key_is_known_again_wherever_it_stands() {
        let mut vendor = Vendor::named("v", "openai");
        let keyless = Bearer.signer(&vendor).unwrap();
        assert!(!keyless.is_shown_in(b"sk-12345"));
        vendor.credential.secret_key = SecretKey::Present(SecretString::from("sk-12345"));
        let signer = Bearer.signer(&vendor).unwrap();
        assert!(signer.is_shown_in(b"sk-12345") && signer.is_shown_in(b"Basic xsk-12345y"));
        assert!(!signer.is_shown_in(b"Bearer") && !signer.is_shown_in(b"sk-1234") && !signer.is_shown_in(b""));
    }
}
