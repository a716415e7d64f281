//! Ways to prove who we are to a vendor.

use http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret as _, SecretString};

use crate::ports::codec::{AuthScheme, Signer};

/// `Authorization: Bearer KEY`.
#[derive(Debug, Clone, Copy)]
pub struct Bearer;

/// Nothing is signed.
#[derive(Debug, Clone, Copy)]
pub struct Unsigned;

struct BearerSigner(HeaderValue);

impl std::fmt::Debug for BearerSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BearerSigner([redacted])")
    }
}

impl AuthScheme for Bearer {
    fn signer(&self, secret_key: Option<&SecretString>) -> Result<Box<dyn Signer>, String> {
        // Self-hosted servers often want no key.
        let Some(key) = secret_key else {
            return Ok(Box::new(Unsigned));
        };
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret().trim()))
            .map_err(|_| "its secret_key holds characters that a header cannot carry")?;
        value.set_sensitive(true);
        Ok(Box::new(BearerSigner(value)))
    }
}

impl Signer for BearerSigner {
    fn sign(&self, headers: &mut HeaderMap) {
        headers.insert(header::AUTHORIZATION, self.0.clone());
    }
}

impl AuthScheme for Unsigned {
    fn signer(&self, _secret_key: Option<&SecretString>) -> Result<Box<dyn Signer>, String> {
        Ok(Box::new(Self))
    }
}

impl Signer for Unsigned {
    fn sign(&self, _headers: &mut HeaderMap) {}
}
