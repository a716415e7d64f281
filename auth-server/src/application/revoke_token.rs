//! Token revocation (RFC 7009).

use std::sync::Arc;

use oauth_wire::Revoked;
use service_kit::Clock;

use crate::{
    application::{
        end_grant::EndGrant, live_tokens::LiveTokens, refresh_secret::RefreshSecrets, revocations::RevocationLog,
        token_error::TokenError,
    },
    domain::client::Client,
    ports::store::{RefreshFamilies, Transactions},
};

/// Revokes tokens on request of the client that they were issued to.
#[derive(Clone)]
pub struct RevokeToken {
    pub tokens: LiveTokens,
    pub families: Arc<dyn RefreshFamilies>,
    pub transactions: Arc<dyn Transactions>,
    pub refresh: RefreshSecrets,
    pub revocations: Arc<RevocationLog>,
    pub end_grant: EndGrant,
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for RevokeToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RevokeToken").finish_non_exhaustive()
    }
}

/// §2.1: a token of another client is refused, and the client is told.
const NOT_YOURS: TokenError = TokenError::InvalidGrant("the token was issued to another client");

impl RevokeToken {
    /// Revokes a token. A refresh token takes its access tokens with it; a token that is unknown or dead already is no error (§2.2).
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn revoke(&self, client: &Client, token: &str) -> Result<(), TokenError> {
        if let Some((grant, _)) = self.refresh.read(token)? {
            return match self.families.find_family(&grant).await? {
                None => Ok(()),
                Some(family) if family.grant.client != client.client_id => Err(NOT_YOURS),
                // Whatever ended it has ended its access tokens as well.
                Some(family) if family.revoked_at.is_some() => Ok(()),
                Some(_) => self.end_grant.end(&grant).await,
            };
        }
        let Some(token) = self.tokens.verified(token) else {
            return Ok(());
        };
        if token.client_id != client.client_id {
            return Err(NOT_YOURS);
        }
        if token.exp <= self.clock.now().as_seconds() {
            return Ok(());
        }
        let revoked = Revoked::Token {
            jti: token.jti().to_owned(),
        };
        if self.revocations.knows(&revoked) {
            return Ok(());
        }
        let revocation = self.revocations.revocation(revoked);
        let mut tx = self.transactions.begin().await?;
        tx.record_revocation(&revocation).await?;
        tx.commit().await?;
        self.revocations.announce([revocation]);
        Ok(())
    }
}
