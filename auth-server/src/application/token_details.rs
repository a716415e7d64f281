//! `authorization_details` at the token endpoint (RFC 9396 §6).

use oauth_wire::{AuthorizationDetails, Scope};
use service_kit::Timestamp;

use crate::{
    application::{token_call::TokenCall, token_error::TokenError},
    domain::authorization_details::{is_part, live, needs_scope},
};

/// What a client is told that asks for details without a scope that they could narrow.
pub const DETAILS_NEED_SCOPE: &str = "authorization_details of type ai_call need a scope that starts with ai:";

impl TokenCall {
    /// What of the granted details the tokens are to carry: the part that the call names, all when it names none, and never what is over.
    ///
    /// # Errors
    /// [`TokenError::InvalidAuthorizationDetails`] for more than was granted, [`TokenError::InvalidGrant`] when all of it is over.
    pub fn narrow_details(
        &self,
        granted: &AuthorizationDetails,
        now: Timestamp,
    ) -> Result<AuthorizationDetails, TokenError> {
        let left = live(granted, now.as_seconds());
        if left.is_empty() && !granted.is_empty() {
            return Err(TokenError::InvalidGrant(
                "the time of the authorization_details is over",
            ));
        }
        let Some(asked) = &self.authorization_details else {
            return Ok(left);
        };
        self.client.check_details(asked, now.as_seconds())?;
        match is_part(asked, &left) {
            true => Ok(asked.clone()),
            false => Err(TokenError::InvalidAuthorizationDetails(
                "authorization_details exceed what was granted",
            )),
        }
    }

    /// The details of a call that no person was asked about: within the client's own limits.
    ///
    /// # Errors
    /// [`TokenError::InvalidAuthorizationDetails`], [`TokenError::InvalidScope`].
    pub fn own_details(&self, scope: &Scope, now: Timestamp) -> Result<AuthorizationDetails, TokenError> {
        let asked = self.authorization_details.clone().unwrap_or_default();
        self.client.check_details(&asked, now.as_seconds())?;
        match needs_scope(&asked, scope) {
            true => Err(TokenError::InvalidScope(DETAILS_NEED_SCOPE)),
            false => Ok(asked),
        }
    }
}
