//! Ending a grant: its refresh family, and every access token that came from it.

use std::sync::Arc;

use oauth_wire::Revoked;
use service_kit::{Clock, Tasks};
use tokio::sync::oneshot;

use crate::{
    application::{revocations::RevocationLog, token_error::TokenError},
    domain::ids::GrantId,
    ports::store::{StoreResult, Transactions},
};

/// Ends grants, when the client asks for it or when a copy of a code or of a refresh token shows up.
#[derive(Clone)]
pub struct EndGrant {
    pub transactions: Arc<dyn Transactions>,
    pub revocations: Arc<RevocationLog>,
    pub clock: Arc<dyn Clock>,
    pub tasks: Tasks,
}

impl std::fmt::Debug for EndGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EndGrant").finish_non_exhaustive()
    }
}

impl EndGrant {
    /// Ends a grant; one that has ended before is left as it is. Once begun it is carried out even if the caller hangs up: a thief
    /// must not be able to keep what a replay would end.
    ///
    /// # Errors
    /// When the store fails; nothing has ended then.
    pub async fn end(&self, grant: &GrantId) -> Result<(), TokenError> {
        let revoked = Revoked::Grant {
            grant: grant.as_str().to_owned(),
        };
        if self.revocations.knows(&revoked) {
            return Ok(());
        }
        let (told, outcome) = oneshot::channel();
        let (this, grant) = (self.clone(), grant.clone());
        self.tasks.spawn(async move {
            if let Err(Err(error)) = told.send(this.carry_out(&grant, revoked).await) {
                tracing::error!(grant.id = %grant, %error, "a grant could not be ended, and its caller has gone");
            }
        });
        Ok(outcome.await.map_err(TokenError::internal)??)
    }

    async fn carry_out(&self, grant: &GrantId, revoked: Revoked) -> StoreResult<()> {
        let revocation = self.revocations.revocation(revoked);
        let mut tx = self.transactions.begin().await?;
        tx.revoke_family(grant, self.clock.now()).await?;
        tx.record_revocation(&revocation).await?;
        tx.commit().await?;
        self.revocations.announce([revocation]);
        Ok(())
    }
}
