//! What a person does with the requests that applications have sent them: find out who asks for what, and decide (CIBA §8).

use std::sync::Arc;

use service_kit::Clock;

use crate::{
    application::{
        authenticate_client::ClientDirectory,
        ciba_pings::CibaPings,
        decide_decoupled::{AllowError, DecideDecoupled},
    },
    domain::{
        authorization_details::CallChoice,
        client::Client,
        decoupled::{DecoupledKind, DecoupledRequest, DecoupledState},
        ids::{CodeDigest, UserId},
        session::Session,
    },
    ports::{decoupled::DecoupledRequests, store::StoreResult},
};

/// The use cases of the page on which people answer.
#[derive(Clone)]
pub struct ConfirmCiba {
    pub clients: ClientDirectory,
    pub requests: Arc<dyn DecoupledRequests>,
    pub decide: DecideDecoupled,
    pub pings: CibaPings,
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ConfirmCiba {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfirmCiba").finish_non_exhaustive()
    }
}

/// A request that waits for its person.
#[derive(Debug)]
pub struct AskingClient {
    pub client: Arc<Client>,
    pub request: DecoupledRequest,
}

/// Whether the person whose session it is may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    MayAnswer,
    /// Their sign-in is too old for this client.
    MustProveAgain,
    /// Somebody else is asked.
    IsAnother,
}

impl AskingClient {
    fn is_for(&self, user: &UserId) -> bool {
        self.request.user.as_ref() == Some(user)
    }
}

impl ConfirmCiba {
    /// What waits for the person, the latest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn waiting_for(&self, session: &Session) -> StoreResult<Vec<AskingClient>> {
        let requests = self
            .requests
            .waiting_for(DecoupledKind::Ciba, &session.user, self.clock.now())
            .await?;
        let mut asking = Vec::with_capacity(requests.len());
        for request in requests {
            asking.extend(self.of_active(request).await?);
        }
        Ok(asking)
    }

    /// The request of that digest, if it waits and its client is active. Whoever shows it must know whom it is for: see
    /// [`ConfirmCiba::standing`].
    ///
    /// # Errors
    /// When the store fails.
    pub async fn find(&self, digest: &CodeDigest) -> StoreResult<Option<AskingClient>> {
        let found = self.requests.find_decoupled(DecoupledKind::Ciba, digest).await?;
        let now = self.clock.now();
        let waiting = found.filter(|request| request.state == DecoupledState::Pending && now < request.expires_at);
        match waiting {
            Some(request) => self.of_active(request).await,
            None => Ok(None),
        }
    }

    async fn of_active(&self, request: DecoupledRequest) -> StoreResult<Option<AskingClient>> {
        let client = self.clients.find(&request.client).await?;
        let active = client.filter(|client| client.is_active());
        Ok(active.map(|client| AskingClient { client, request }))
    }

    /// Whether the person of the session may answer the request.
    pub fn standing(&self, asking: &AskingClient, session: &Session) -> Standing {
        let AskingClient { client, request } = asking;
        if !asking.is_for(&session.user) || session.tenant != client.tenant {
            return Standing::IsAnother;
        }
        match client.is_content_with(session, request.requested_at, self.clock.now()) {
            true => Standing::MayAnswer,
            false => Standing::MustProveAgain,
        }
    }

    /// Lets the client act for the person, within what they left of its details; `false` when they may not answer, somebody was faster,
    /// or it was too late.
    ///
    /// # Errors
    /// [`AllowError`]; nothing is allowed then.
    pub async fn allow(
        &self,
        asking: &AskingClient,
        session: &Session,
        choices: &[CallChoice],
    ) -> Result<bool, AllowError> {
        match self.standing(asking, session) {
            Standing::MayAnswer => {}
            Standing::MustProveAgain | Standing::IsAnother => return Ok(false),
        }
        let AskingClient { client, request } = asking;
        let allowed = self.decide.allow(client, request, session, choices).await?;
        if allowed {
            self.pings.send(request);
        }
        Ok(allowed)
    }

    /// Tells the client that the person said no; `false` when it is not theirs to say, somebody was faster, or it was too late. A no
    /// needs no fresh sign-in.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn deny(&self, asking: &AskingClient, session: &Session) -> StoreResult<bool> {
        match self.standing(asking, session) {
            Standing::MayAnswer | Standing::MustProveAgain => {}
            Standing::IsAnother => return Ok(false),
        }
        let denied = self.decide.deny(&asking.request).await?;
        if denied {
            self.pings.send(&asking.request);
        }
        Ok(denied)
    }
}
