//! What is for one client alone: signed by us, then encrypted to it, as far as its registration asks for either.

use std::sync::Arc;

use oauth_wire::{JweAlg, JweEnc, SigningAlg};

use crate::{
    application::{
        client_keyring::{ClientKeyError, ClientKeyring},
        keyring::Keyring,
        token_error::TokenError,
    },
    domain::client::Client,
};

/// OpenID Connect Registration §2, RFC 9701 §6, JARM §3: where `alg` is registered and `enc` is not.
const DEFAULT_ENC: JweEnc = JweEnc::A128CbcHs256;
/// `cty` of a signed token inside an encrypted one (RFC 7519 §5.2).
const NESTED: &str = "JWT";

/// What is done to one kind of answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealing {
    sign: Option<SigningAlg>,
    encrypt: Option<(JweAlg, JweEnc)>,
}

impl Sealing {
    fn new(sign: Option<SigningAlg>, alg: Option<JweAlg>, enc: Option<JweEnc>) -> Self {
        Self {
            sign,
            encrypt: alg.map(|alg| (alg, enc.unwrap_or(DEFAULT_ENC))),
        }
    }

    /// ID tokens are always signed.
    pub fn of_id_token(client: &Client) -> Self {
        let protocol = &client.protocol;
        Self::new(
            Some(client.id_token_signed_response_alg),
            protocol.id_token_encrypted_response_alg,
            protocol.id_token_encrypted_response_enc,
        )
    }

    /// `None` for a client that registered neither: it gets plain JSON (OpenID Connect Core §5.3.2).
    pub fn of_userinfo(client: &Client) -> Option<Self> {
        let protocol = &client.protocol;
        let sealing = Self::new(
            protocol.userinfo_signed_response_alg,
            protocol.userinfo_encrypted_response_alg,
            protocol.userinfo_encrypted_response_enc,
        );
        (sealing.sign.is_some() || sealing.encrypt.is_some()).then_some(sealing)
    }

    /// JARM §3: signed by RS256 when the client registered nothing else.
    pub fn of_authorization_response(client: &Client) -> Self {
        let protocol = &client.protocol;
        Self::new(
            Some(protocol.authorization_signed_response_alg.unwrap_or(SigningAlg::Rs256)),
            protocol.authorization_encrypted_response_alg,
            protocol.authorization_encrypted_response_enc,
        )
    }

    /// RFC 9701 §6: signed by RS256 when the caller registered nothing else.
    pub fn of_introspection(caller: &Client) -> Self {
        let protocol = &caller.protocol;
        Self::new(
            Some(protocol.introspection_signed_response_alg.unwrap_or(SigningAlg::Rs256)),
            protocol.introspection_encrypted_response_alg,
            protocol.introspection_encrypted_response_enc,
        )
    }
}

/// Signs and encrypts for clients.
#[derive(Debug, Clone)]
pub struct ClientSealer {
    pub keyring: Arc<Keyring>,
    pub client_keys: ClientKeyring,
}

impl ClientSealer {
    /// Seals claims. `typ` goes into the header of the signature.
    ///
    /// # Errors
    /// When a signature fails, or the client has no key that fits what it registered.
    pub async fn seal(
        &self,
        client: &Client,
        sealing: Sealing,
        typ: Option<&str>,
        claims: &[u8],
    ) -> Result<String, TokenError> {
        let signed = sealing
            .sign
            .map(|alg| self.keyring.sign(alg, typ, claims))
            .transpose()?;
        let Some(encryption) = sealing.encrypt else {
            // Nothing is sealed that is not signed or encrypted.
            return signed.ok_or(TokenError::InvalidRequest("nothing is registered".into()));
        };
        let (payload, cty) = match &signed {
            Some(token) => (token.as_bytes(), Some(NESTED)),
            None => (claims, None),
        };
        let encrypted = self.client_keys.encrypt(client, payload, cty, encryption).await;
        encrypted.map_err(|error| refused(client, &error))
    }

    /// Makes sure that something can be encrypted to the client, and has its keys at hand: before anything is spent that works once.
    ///
    /// # Errors
    /// As [`ClientSealer::seal`].
    pub async fn prepare(&self, client: &Client, sealing: Sealing) -> Result<(), TokenError> {
        let Some(encryption) = sealing.encrypt else {
            return Ok(());
        };
        match self.client_keys.encrypt(client, b"", None, encryption).await {
            Ok(_) => Ok(()),
            Err(error) => Err(refused(client, &error)),
        }
    }
}

fn refused(client: &Client, error: &ClientKeyError) -> TokenError {
    tracing::info!(client.id = %client.client_id, %error, "nothing can be encrypted to a client");
    match error {
        ClientKeyError::Unavailable(_) => TokenError::ClientOutOfReach,
        _ => TokenError::InvalidRequest("the client has no key that its registered encryption can use".into()),
    }
}
