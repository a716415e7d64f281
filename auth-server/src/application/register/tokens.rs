//! The tokens of registration: initial access tokens and registration access tokens, both kept as keyed hashes.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretString};
use service_kit::Entropy;
use subtle::ConstantTimeEq as _;
use token_keys::MacKey;

use crate::{application::token_error::TokenError, domain::registration::TokenMac};

/// Prefixes, for secret scanners.
const INITIAL_PREFIX: &str = "hgit_";
const ACCESS_PREFIX: &str = "hgrt_";

/// Makes and hashes the tokens.
#[derive(Debug, Clone)]
pub struct RegistrationTokens {
    key: MacKey,
}

/// What a token is for: the hash of one kind is never that of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Lets somebody register clients (RFC 7591 §3).
    Initial,
    /// Lets a client manage its registration (RFC 7592 §3).
    Access,
}

impl RegistrationTokens {
    /// `key` is derived from the master key for this purpose alone.
    pub fn new(key: MacKey) -> Self {
        Self { key }
    }

    /// A new token, and what is kept of it.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn mint(&self, kind: TokenKind, entropy: &dyn Entropy) -> Result<(SecretString, TokenMac), TokenError> {
        let prefix = match kind {
            TokenKind::Initial => INITIAL_PREFIX,
            TokenKind::Access => ACCESS_PREFIX,
        };
        let token = SecretString::from(format!("{prefix}{}", entropy.secret()));
        let mac = self.mac(kind, token.expose_secret())?;
        Ok((token, mac))
    }

    /// What is kept of a token.
    ///
    /// # Errors
    /// When OpenSSL refuses.
    pub fn mac(&self, kind: TokenKind, token: &str) -> Result<TokenMac, TokenError> {
        let purpose: &[u8] = match kind {
            TokenKind::Initial => b"initial",
            TokenKind::Access => b"access",
        };
        let mac = self
            .key
            .mac(&[purpose, token.as_bytes()])
            .map_err(TokenError::internal)?;
        Ok(TokenMac(URL_SAFE_NO_PAD.encode(mac)))
    }
}

/// Compares in constant time.
pub(super) fn same(one: &TokenMac, other: &TokenMac) -> bool {
    one.0.as_bytes().ct_eq(other.0.as_bytes()).into()
}
