//! The bare key in a header of the vendor's own.

use std::fmt;

use http::{HeaderName, HeaderValue};
use secrecy::SecretString;
use service_kit::Timestamp;

use super::{
    Unsigned,
    keys::{Secrets, secret_key, sensitive},
};
use crate::{
    domain::vendor::Vendor,
    ports::codec::{AuthScheme, Outgoing, Signer},
};

/// `NAME: KEY`.
#[derive(Debug, Clone, Copy)]
pub struct NamedHeader(&'static str);

impl NamedHeader {
    /// Anthropic's.
    pub const X_API_KEY: Self = Self("x-api-key");
    /// Azure's.
    pub const API_KEY: Self = Self("api-key");
    /// Google's. It can stand in the query as well, and then in every log on the way.
    pub const X_GOOG_API_KEY: Self = Self("x-goog-api-key");
}

struct NamedHeaderSigner {
    name: HeaderName,
    value: HeaderValue,
    secrets: Secrets,
}

impl fmt::Debug for NamedHeaderSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NamedHeaderSigner({}: [redacted])", self.name)
    }
}

impl AuthScheme for NamedHeader {
    fn signer(&self, vendor: &Vendor) -> Result<Box<dyn Signer>, String> {
        // A proxy may hold the key in our place.
        let Some(key) = secret_key(vendor) else {
            return Ok(Box::new(Unsigned));
        };
        Ok(Box::new(NamedHeaderSigner {
            name: HeaderName::from_static(self.0),
            value: sensitive(key)?,
            secrets: Secrets::of(key),
        }))
    }
}

impl Signer for NamedHeaderSigner {
    fn sign(&self, request: &mut Outgoing, _: Timestamp, _: Option<&SecretString>) {
        request.headers.insert(self.name.clone(), self.value.clone());
    }

    fn is_shown_in(&self, text: &[u8]) -> bool {
        self.secrets.are_shown_in(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::auth_schemes::tests::{outgoing, vendor};

    #[test]
    fn the_key_stands_in_its_header_and_shows_nowhere_else() {
        for (scheme, name) in [
            (NamedHeader::X_API_KEY, "x-api-key"),
            (NamedHeader::API_KEY, "api-key"),
            (NamedHeader::X_GOOG_API_KEY, "x-goog-api-key"),
        ] {
            let mut row = vendor("", "sk-12345678\n");
            row.credential.secret_id = None;
            let signer = scheme.signer(&row).unwrap();
            let mut request = outgoing("POST", "https://a.test/x", &[], "");
            signer.sign(&mut request, Timestamp::from_seconds(0), None);
            assert_eq!(request.headers[name], "sk-12345678");
            assert!(request.headers[name].is_sensitive());
            assert_eq!(request.headers.len(), 1);
            assert!(signer.is_shown_in(b"a sk-12345678 b") && !signer.is_shown_in(b"sk-1234567"));
            assert_eq!(format!("{signer:?}"), format!("NamedHeaderSigner({name}: [redacted])"));
        }
        assert!(NamedHeader::API_KEY.signer(&vendor("", "two\nlines")).is_err());
    }
}
