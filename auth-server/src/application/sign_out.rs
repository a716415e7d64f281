//! Ending a browser session: its tokens end with it.

use std::sync::Arc;

use oauth_wire::{RedirectUri, Revoked};
use service_kit::Clock;

use crate::{
    application::{authenticate_client::ClientDirectory, keyring::Keyring, policy::Policy, revocations::RevocationLog},
    domain::{
        client::Client,
        ids::{ClientId, SessionId, UserId},
    },
    ports::store::{StoreError, StoreResult, Transactions},
};

/// The use cases around signing out.
#[derive(Clone)]
pub struct SignOut {
    pub policy: Arc<Policy>,
    pub clients: ClientDirectory,
    pub keyring: Arc<Keyring>,
    pub transactions: Arc<dyn Transactions>,
    pub revocations: Arc<RevocationLog>,
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for SignOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignOut").finish_non_exhaustive()
    }
}

/// What a relying party asks when it sends somebody to log out (OpenID Connect RP-Initiated Logout §2).
#[derive(Debug, Default)]
pub struct LogoutRequest {
    pub id_token_hint: Option<String>,
    pub client_id: Option<String>,
    pub post_logout_redirect_uri: Option<String>,
    pub state: Option<String>,
}

/// A logout request that may be acted on.
#[derive(Debug)]
pub struct ValidLogout {
    pub client: Option<Arc<Client>>,
    /// Where the person goes afterwards: registered for the client that the hint names.
    pub redirect: Option<RedirectUri>,
    pub state: Option<String>,
}

/// A logout request that is shown as an error page; it never redirects.
#[derive(Debug, thiserror::Error)]
pub enum LogoutError {
    #[error("{0}")]
    Invalid(&'static str),
    #[error("storage failed")]
    Store(#[from] StoreError),
}

impl SignOut {
    /// Checks a relying party's request.
    ///
    /// # Errors
    /// [`LogoutError`].
    pub async fn validate(&self, request: LogoutRequest) -> Result<ValidLogout, LogoutError> {
        let audience = request
            .id_token_hint
            .as_deref()
            .map(|hint| self.hint(hint))
            .transpose()?;
        let named = request.client_id.map(ClientId::new);
        if let (Some(named), Some(audience)) = (&named, &audience)
            && named != audience
        {
            return Err(LogoutError::Invalid(
                "The client_id is not the one that the id_token_hint was issued to.",
            ));
        }
        let client = match audience.as_ref().or(named.as_ref()) {
            Some(id) => self.client(id).await?,
            None => None,
        };
        let redirect = match request.post_logout_redirect_uri {
            None => None,
            // Without the hint nothing proves that the relying party sent this person (§2, §3): no redirect then.
            Some(_) if audience.is_none() => {
                return Err(LogoutError::Invalid(
                    "A post_logout_redirect_uri needs an id_token_hint.",
                ));
            }
            Some(asked) => {
                let registered = client
                    .as_ref()
                    .and_then(|client| client.post_logout_redirect_uri(&asked))
                    .cloned();
                Some(registered.ok_or(LogoutError::Invalid(
                    "The post_logout_redirect_uri is not registered for this application.",
                ))?)
            }
        };
        Ok(ValidLogout {
            client,
            redirect,
            state: request.state,
        })
    }

    /// A client, for the pages to name.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn client(&self, id: &ClientId) -> StoreResult<Option<Arc<Client>>> {
        Ok(self.clients.find(id).await?.filter(|client| client.is_active()))
    }

    /// The client that an ID token of ours was issued to; one that has expired still counts (§2).
    fn hint(&self, hint: &str) -> Result<ClientId, LogoutError> {
        const BAD: LogoutError = LogoutError::Invalid("The id_token_hint is not an ID token of this issuer.");
        let token = self.keyring.verify(hint).map_err(|_| BAD)?;
        let claim = |name: &str| token.claims.get(name).and_then(|value| value.as_str());
        match (token.is_typ("JWT"), claim("iss"), claim("aud")) {
            (true, Some(iss), Some(aud)) if iss == self.policy.issuer => Ok(ClientId::new(aud)),
            _ => Err(BAD),
        }
    }

    /// Ends a session and every token that lives by it.
    ///
    /// # Errors
    /// When the store fails; nothing has ended then.
    pub async fn end_session(&self, sid: &SessionId) -> StoreResult<()> {
        let now = self.clock.now();
        let mut tx = self.transactions.begin().await?;
        if !tx.end_session(sid, now).await? {
            return Ok(());
        }
        tx.revoke_families_of_session(sid, now).await?;
        let revocation = self.revocations.revocation(Revoked::Session {
            sid: sid.as_str().to_owned(),
        });
        tx.record_revocation(&revocation).await?;
        tx.commit().await?;
        self.revocations.announce([revocation]);
        Ok(())
    }

    /// Ends every session of a person but one.
    ///
    /// # Errors
    /// When the store fails; nothing has ended then.
    pub async fn end_other_sessions(&self, user: &UserId, keep: &SessionId) -> StoreResult<usize> {
        let now = self.clock.now();
        let mut tx = self.transactions.begin().await?;
        let ended = tx.end_sessions_of(user, Some(keep), now).await?;
        let mut revocations = Vec::with_capacity(ended.len());
        for sid in &ended {
            tx.revoke_families_of_session(sid, now).await?;
            let revocation = self.revocations.revocation(Revoked::Session {
                sid: sid.as_str().to_owned(),
            });
            tx.record_revocation(&revocation).await?;
            revocations.push(revocation);
        }
        tx.commit().await?;
        self.revocations.announce(revocations);
        Ok(ended.len())
    }
}
