//! A request at the token endpoint, as far as it is the same for every grant.

use std::sync::Arc;

use oauth_wire::{AuthorizationDetails, Confirmation};

use crate::{
    application::{token_error::TokenError, unspent::Unspent},
    domain::client::Client,
};

/// Who asks for tokens, with what proof, and for what beyond the scope.
#[derive(Debug, Clone)]
pub struct TokenCall {
    /// Authenticated.
    pub client: Arc<Client>,
    /// What this very request proved possession of, if the tokens are to be bound to it (RFC 8705 §3, RFC 9449 §5).
    pub confirmation: Option<Confirmation>,
    /// `resource` (RFC 8707 §2.2), in the order sent.
    pub resources: Vec<String>,
    /// `authorization_details` (RFC 9396 §6).
    pub authorization_details: Option<AuthorizationDetails>,
    /// What the call shows once, unless it has been spent before.
    pub unspent: Unspent,
}

impl TokenCall {
    /// A call that shows nothing but its client.
    pub fn plain(client: Arc<Client>) -> Self {
        Self {
            client,
            confirmation: None,
            resources: Vec::new(),
            authorization_details: None,
            unspent: Unspent::default(),
        }
    }

    /// Checks that whoever sends this call holds what its code or refresh token is bound to (RFC 9449 §5, §10; RFC 8705 §7.1).
    ///
    /// # Errors
    /// [`TokenError::InvalidGrant`].
    pub fn check_binding(&self, bound_to: Option<&Confirmation>) -> Result<(), TokenError> {
        match bound_to.is_none_or(|bound| self.confirmation.as_ref() == Some(bound)) {
            true => Ok(()),
            false => Err(TokenError::InvalidGrant(
                "the grant is bound to another key or certificate",
            )),
        }
    }

    /// What a refresh token that this call brings about is bound to: for a public client, which has no other proof, the key or
    /// certificate of the call (RFC 9449 §5). A confidential one may change its key; its refresh tokens are bound to the client.
    pub fn refresh_binding(&self) -> Option<Confirmation> {
        self.confirmation.clone().filter(|_| self.client.is_public())
    }

    /// Which of the granted resources the tokens are for: those that the call names, all when it names none (RFC 8707 §2.2).
    ///
    /// # Errors
    /// [`TokenError::InvalidTarget`] for one that was not granted.
    pub fn narrow_resources(&self, granted: &[String]) -> Result<Vec<String>, TokenError> {
        if self.resources.is_empty() {
            return Ok(granted.to_vec());
        }
        match granted.is_empty() || self.resources.iter().all(|asked| granted.contains(asked)) {
            true => Ok(self.resources.clone()),
            false => Err(TokenError::InvalidTarget("resource was not granted")),
        }
    }
}
