//! The code grant's rules as a port: checked by a state machine that others maintain.

use oauth_wire::CodeVerifier;

use crate::domain::{grant::CodeGrant, ids::ClientId};

/// What a client presents to have a code exchanged, after its own authentication.
#[derive(Debug)]
pub struct PresentedCode<'a> {
    pub client: &'a ClientId,
    pub code: &'a str,
    /// OAuth 2.1 no longer asks for it; when sent it must be the one of the authorization request.
    pub redirect_uri: Option<&'a str>,
    pub code_verifier: Option<&'a CodeVerifier>,
}

/// Why a code is not exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodeRefusal {
    #[error("the code was issued to another client")]
    OtherClient,
    #[error("redirect_uri is not the one of the authorization request")]
    OtherRedirectUri,
    #[error("code_verifier is missing")]
    VerifierMissing,
    #[error("code_verifier does not match the code_challenge")]
    VerifierMismatch,
    #[error("code_verifier was sent, but the authorization request had no code_challenge")]
    VerifierUnexpected,
    #[error("the code cannot be exchanged")]
    Refused,
}

/// Judges whether a presented code belongs to its grant. Expiry and single use are the store's.
pub trait CodeRules: Send + Sync {
    /// # Errors
    /// [`CodeRefusal`].
    fn check(&self, grant: &CodeGrant, presented: &PresentedCode<'_>) -> Result<(), CodeRefusal>;
}
