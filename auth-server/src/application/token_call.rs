//! A request at the token endpoint, as far as it is the same for every grant.

use std::sync::Arc;

use oauth_wire::{AuthorizationDetails, Confirmation};

use crate::{application::token_error::TokenError, domain::client::Client};

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
}

impl TokenCall {
    /// A call that shows nothing but its client.
    pub fn plain(client: Arc<Client>) -> Self {
        Self {
            client,
            confirmation: None,
            resources: Vec::new(),
            authorization_details: None,
        }
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
