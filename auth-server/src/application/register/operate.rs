//! What an operator does about registration from the command line.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use service_kit::{Clock, Entropy};

use super::{RegistrationTokens, TokenKind};
use crate::{
    application::token_error::TokenError,
    domain::{ids::TenantId, registration::InitialToken},
    ports::{registrations::Registrations, store::StoreResult},
};

/// Initial access tokens (RFC 7591 §3), as their operator sees them.
#[derive(Clone)]
pub struct InitialTokens {
    pub registrations: Arc<dyn Registrations>,
    pub tokens: RegistrationTokens,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for InitialTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InitialTokens").finish_non_exhaustive()
    }
}

impl InitialTokens {
    /// Makes a token and returns it, once.
    ///
    /// # Errors
    /// When the store fails, or there is no such tenant.
    pub async fn create(
        &self,
        tenant: &TenantId,
        uses: u32,
        ttl: Duration,
    ) -> Result<(InitialToken, SecretString), TokenError> {
        let (secret, mac) = self.tokens.mint(TokenKind::Initial, self.entropy.as_ref())?;
        let now = self.clock.now();
        let token = InitialToken {
            id: format!("iat_{}", self.entropy.id()),
            mac,
            tenant: tenant.clone(),
            uses_left: i64::from(uses),
            created_at: now,
            expires_at: now + ttl,
        };
        self.registrations.insert_initial_token(&token).await?;
        Ok((token, secret))
    }

    /// Every token that is kept, used up or not.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn list(&self) -> StoreResult<Vec<InitialToken>> {
        self.registrations.list_initial_tokens().await
    }

    /// Ends a token; clients that were registered by it stay. `false` when there is none.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn revoke(&self, id: &str) -> StoreResult<bool> {
        self.registrations.delete_initial_token(id).await
    }
}
