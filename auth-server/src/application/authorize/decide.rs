//! What a valid request needs next, given who is signed in and what they have agreed to.

use std::sync::Arc;

use oauth_wire::OAuthErrorCode;

use super::{Authorize, Decision, ErrorResponse, Step};
use crate::{
    domain::{
        authorization::AuthorizationRequest,
        client::Client,
        session::{Consent, Session},
    },
    ports::store::StoreResult,
};

impl Authorize {
    /// Decides what a valid request needs next.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn decide(&self, request: &AuthorizationRequest, session: Option<&Session>) -> StoreResult<Decision> {
        let client = self.clients.find(&request.client_id).await?;
        let Some(client) = client.filter(|client| client.is_active()) else {
            return Ok(Decision::Gone);
        };
        let signed_in = session
            .filter(|session| session.tenant == client.tenant && request.is_signed_in_by(session, self.clock.now()));
        let Some(session) = signed_in else {
            let refuse = |description| Decision::Refuse(error(request, OAuthErrorCode::LoginRequired, description));
            // OpenID Connect Core §3.1.2.1, §5.5.1: nobody else will do. Who signed in for this very request is not asked again.
            let is_somebody_else = session.is_some_and(|session| request.was_signed_in_by_another(session));
            return Ok(match (request.is_silent(), is_somebody_else) {
                (true, _) => refuse("the person is not signed in"),
                (false, true) => refuse("another person has signed in than the one that was asked for"),
                (false, false) => Decision::SignIn,
            });
        };
        let consent = match client.auto_approve {
            true => None,
            false => self.consents.find_consent(&session.user, &client.client_id).await?,
        };
        let is_agreed = request.scopes_to_consent(&client, consent.as_ref()).is_empty()
            && request.claims_to_consent(&client, consent.as_ref()).is_empty();
        if is_agreed && !request.has_details_to_consent(&client) {
            return Ok(Decision::Ready(client));
        }
        Ok(match request.is_silent() {
            true => Decision::Refuse(error(
                request,
                OAuthErrorCode::ConsentRequired,
                "the person has not agreed yet",
            )),
            false => Decision::Consent { client, known: consent },
        })
    }

    /// Decides, and issues the code when nothing is missing.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn advance(&self, request: &AuthorizationRequest, session: Option<&Session>) -> StoreResult<Step> {
        Ok(match (self.decide(request, session).await?, session) {
            (Decision::Ready(client), Some(session)) => {
                let issued = self.issue_code(request, &client, session).await?;
                issued.map_or(Step::Answered, Step::Respond)
            }
            (Decision::SignIn | Decision::Ready(_), _) => Step::SignIn,
            (Decision::Consent { .. }, _) => Step::Consent,
            (Decision::Refuse(error), _) => self.refuse(request, error).await?,
            (Decision::Gone, _) => Step::Gone,
        })
    }

    /// Remembers that the person agreed to everything that the request asks for, if the request was waiting for just that; then goes on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn consent(&self, request: &AuthorizationRequest, session: &Session) -> StoreResult<Step> {
        // Only somebody whose sign-in satisfies the request, in the client's own tenant, may agree to it.
        if let Decision::Consent { client, known } = self.decide(request, Some(session)).await? {
            let (scope, mut claims) = known.map(|known| (known.scope, known.claims)).unwrap_or_default();
            claims.extend(request.claims_beyond_scope().into_iter().map(str::to_owned));
            let consent = Consent {
                user: session.user.clone(),
                client: client.client_id.clone(),
                scope: scope.union(&request.scope),
                claims,
                granted_at: self.clock.now(),
            };
            self.consents.save_consent(&consent).await?;
        }
        self.advance(request, Some(session)).await
    }

    /// The client of a request, for the pages to show.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn client_of(&self, request: &AuthorizationRequest) -> StoreResult<Option<Arc<Client>>> {
        self.clients.find(&request.client_id).await
    }

    /// The answer to a person who said no.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn deny(&self, request: &AuthorizationRequest) -> StoreResult<Step> {
        let denied = error(request, OAuthErrorCode::AccessDenied, "the person did not agree");
        self.refuse(request, denied).await
    }

    /// An error is an answer as well.
    async fn refuse(&self, request: &AuthorizationRequest, error: ErrorResponse) -> StoreResult<Step> {
        Ok(match self.claim(request).await? {
            true => Step::Refuse(error),
            false => Step::Answered,
        })
    }
}

fn error(request: &AuthorizationRequest, error: OAuthErrorCode, description: &'static str) -> ErrorResponse {
    ErrorResponse {
        client: request.client_id.clone(),
        redirect_uri: request.redirect_uri.clone(),
        response_mode: request.response_mode,
        error,
        description,
        state: request.state.clone(),
    }
}
