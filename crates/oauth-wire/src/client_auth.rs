//! How a client proves who it is (RFC 6749 §2.3).

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::grant::wire_enum;

wire_enum! {
    /// `token_endpoint_auth_method` values.
    ClientAuthMethod {
        ClientSecretBasic = "client_secret_basic",
        ClientSecretPost = "client_secret_post",
        /// An assertion under a MAC with the secret (OpenID Connect Core §9).
        ClientSecretJwt = "client_secret_jwt",
        /// A signed assertion (OpenID Connect Core §9, RFC 7523 §2.2).
        PrivateKeyJwt = "private_key_jwt",
        /// A certificate that an authority vouches for (RFC 8705 §2.1).
        TlsClientAuth = "tls_client_auth",
        /// A certificate that the client registered (RFC 8705 §2.2).
        SelfSignedTlsClientAuth = "self_signed_tls_client_auth",
        /// A public client.
        None = "none",
    }
}

/// `client_assertion_type` of an assertion that is a JWT (RFC 7523 §2.2).
pub const JWT_BEARER_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

impl ClientAuthMethod {
    /// The secret itself is sent. The two ways to send it prove the same.
    pub fn sends_secret(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }

    /// The client has a secret, sent or not.
    pub fn has_secret(self) -> bool {
        self.sends_secret() || self == Self::ClientSecretJwt
    }

    /// A JWT is sent.
    pub fn sends_assertion(self) -> bool {
        matches!(self, Self::ClientSecretJwt | Self::PrivateKeyJwt)
    }

    /// A certificate is shown in the TLS handshake.
    pub fn shows_certificate(self) -> bool {
        matches!(self, Self::TlsClientAuth | Self::SelfSignedTlsClientAuth)
    }
}

use serde::{Deserialize, Serialize};

/// User id and password of an HTTP Basic header, form-decoded as RFC 6749 §2.3.1 asks.
#[derive(Clone, PartialEq, Eq)]
pub struct BasicCredentials {
    pub client_id: String,
    pub client_secret: String,
}

/// The `Authorization: Basic` header could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the Basic credentials are malformed")]
pub struct MalformedBasic;

impl BasicCredentials {
    /// Reads an `Authorization` header; `None` when its scheme is not Basic.
    ///
    /// # Errors
    /// [`MalformedBasic`] when the scheme is Basic and the rest is not base64 of `id:secret`.
    pub fn from_header(header: &str) -> Option<Result<Self, MalformedBasic>> {
        let (scheme, rest) = header.split_once(' ').unwrap_or((header, ""));
        // RFC 7235 §2.1: the scheme is case-insensitive.
        scheme.eq_ignore_ascii_case("basic").then(|| Self::decode(rest.trim()))
    }

    fn decode(encoded: &str) -> Result<Self, MalformedBasic> {
        let bytes = STANDARD.decode(encoded).map_err(|_| MalformedBasic)?;
        let text = String::from_utf8(bytes).map_err(|_| MalformedBasic)?;
        let (id, secret) = text.split_once(':').ok_or(MalformedBasic)?;
        let credentials = Self {
            client_id: form_decoded(id)?,
            client_secret: form_decoded(secret)?,
        };
        if credentials.client_id.is_empty() || credentials.client_id.contains('\0') {
            return Err(MalformedBasic);
        }
        Ok(credentials)
    }
}

impl fmt::Debug for BasicCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BasicCredentials")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

/// RFC 6749 Appendix B. Ids and secrets that we issue have no character that the encoding changes, so clients that
/// skip it (several do) are understood as well.
fn form_decoded(text: &str) -> Result<String, MalformedBasic> {
    if !text.contains(['%', '+']) {
        return Ok(text.to_owned());
    }
    let with_spaces = text.replace('+', " ");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = with_spaces.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2).ok_or(MalformedBasic)?;
        let digits = std::str::from_utf8(digits).map_err(|_| MalformedBasic)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| MalformedBasic)?);
        rest = tail;
    }
    String::from_utf8(bytes).map_err(|_| MalformedBasic)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn raw_and_encoded_forms_of_a_plain_secret_coincide() {
        let plain = BasicCredentials::from_header(&header("web:s-e_cret")).unwrap().unwrap();
        let encoded = BasicCredentials::from_header(&header("web:s%2De%5Fcret"))
            .unwrap()
            .unwrap();
        assert_eq!(plain, encoded);
    }

    #[test]
    fn other_schemes_are_not_ours_and_broken_basic_is_an_error() {
        assert_eq!(BasicCredentials::from_header("Bearer abc"), None);
        for bad in [
            "Basic",
            "Basic !!!",
            &header("nocolon"),
            &header(":secret"),
            &header("a:%zz"),
            &header("a:%2"),
        ] {
            assert_eq!(BasicCredentials::from_header(bad), Some(Err(MalformedBasic)), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics(text in "\\PC{0,80}") {
            let _ = BasicCredentials::from_header(&text);
            let _ = BasicCredentials::from_header(&header(&text));
        }
    }
}
