//! A person's yes or no to what a device or an application elsewhere has asked.

use std::sync::Arc;

use service_kit::{Clock, Entropy, Timestamp};

use crate::{
    application::{issue::AMR_PASSWORD, logout_delivery::CLAIM, requested_claims::beyond_scope},
    domain::{
        authorization_details::{CallChoice, NotAPart, narrow},
        client::Client,
        decoupled::DecoupledRequest,
        grant::Grant,
        ids::GrantId,
        session::{Consent, Session},
    },
    ports::{
        decoupled::{DecoupledRequests, Denial, Permission},
        store::{Consents, StoreError, StoreResult},
    },
};

/// What the pages of both grants have in common.
#[derive(Clone)]
pub struct DecideDecoupled {
    pub requests: Arc<dyn DecoupledRequests>,
    pub consents: Arc<dyn Consents>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for DecideDecoupled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DecideDecoupled").finish_non_exhaustive()
    }
}

/// Why nothing was allowed.
#[derive(Debug, thiserror::Error)]
pub enum AllowError {
    #[error(transparent)]
    NotAPart(#[from] NotAPart),
    #[error("storage failed")]
    Store(#[from] StoreError),
}

impl DecideDecoupled {
    /// Lets the client act for the person, who has seen what it asks for, within what they left of its details; `false` when somebody was
    /// faster, or it was too late.
    ///
    /// # Errors
    /// [`AllowError`]; nothing is allowed then.
    pub async fn allow(
        &self,
        client: &Client,
        request: &DecoupledRequest,
        session: &Session,
        choices: &[CallChoice],
    ) -> Result<bool, AllowError> {
        if session.tenant != client.tenant {
            return Ok(false);
        }
        let at = self.clock.now();
        let mut details = request.details.clone();
        if !details.authorization_details.is_empty() {
            details.authorization_details = narrow(&details.authorization_details, choices, at.as_seconds())?;
        }
        let consent = match client.auto_approve {
            true => None,
            false => Some(self.consent(client, request, session, at).await?),
        };
        let grant = Grant {
            grant_id: GrantId::new(self.entropy.id()),
            client: client.client_id.clone(),
            tenant: client.tenant.clone(),
            user: session.user.clone(),
            // The client is somewhere else: signing out of this browser must not sign it out.
            sid: None,
            scope: request.scope.clone(),
            auth_time: session.auth_time,
            amr: vec![AMR_PASSWORD.to_owned()],
            details,
        };
        let permission = Permission {
            digest: request.digest,
            grant,
            sid: session.sid.clone(),
            consent,
            at,
            ping_due_at: at + CLAIM,
        };
        Ok(self.requests.allow_decoupled(&permission).await?)
    }

    /// The person's consent with this one added: so the application stands on the account page, where it can be removed.
    async fn consent(
        &self,
        client: &Client,
        request: &DecoupledRequest,
        session: &Session,
        at: Timestamp,
    ) -> StoreResult<Consent> {
        let known = self.consents.find_consent(&session.user, &client.client_id).await?;
        let (scope, mut claims) = known.map(|known| (known.scope, known.claims)).unwrap_or_default();
        claims.extend(
            beyond_scope(&request.details, &request.scope)
                .into_iter()
                .map(str::to_owned),
        );
        Ok(Consent {
            user: session.user.clone(),
            client: client.client_id.clone(),
            scope: scope.union(&request.scope),
            claims,
            granted_at: at,
        })
    }

    /// Tells the client that the person said no; `false` when somebody was faster, or it was too late.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn deny(&self, request: &DecoupledRequest) -> StoreResult<bool> {
        let at = self.clock.now();
        let denial = Denial {
            digest: request.digest,
            at,
            ping_due_at: at + CLAIM,
        };
        self.requests.deny_decoupled(&denial).await
    }
}
