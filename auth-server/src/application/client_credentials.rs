//! `grant_type=client_credentials` (RFC 6749 §4.4).

use oauth_wire::{AuthorizationDetails, GrantType, Scope};

use crate::application::{
    issue::{AccessTokenOrder, Issued, Subject, TokenIssuer},
    policy::{OFFLINE_ACCESS, OPENID},
    token_call::TokenCall,
    token_error::TokenError,
};

/// Issues tokens to machines.
#[derive(Debug, Clone)]
pub struct ClientCredentials {
    pub issuer: TokenIssuer,
}

/// What a client may have for itself.
#[derive(Debug)]
pub(super) struct OwnToken {
    scope: Scope,
    told: Option<Scope>,
    authorization_details: AuthorizationDetails,
}

impl ClientCredentials {
    /// A token for the client itself, without a refresh token (§4.4.3). Without `scope` it carries all that the client may have.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn issue(&self, call: &TokenCall, asked: Option<Scope>) -> Result<Issued, TokenError> {
        let client = call.client.as_ref();
        if !client.may_use(GrantType::ClientCredentials) || client.is_public() {
            return Err(TokenError::UnauthorizedClient(
                "the client may not use client_credentials",
            ));
        }
        self.make(call, self.judge(call, asked)?).await
    }

    /// What the client gets for itself, by whatever grant.
    ///
    /// # Errors
    /// [`TokenError::InvalidScope`], [`TokenError::InvalidAuthorizationDetails`].
    pub(super) fn judge(&self, call: &TokenCall, asked: Option<Scope>) -> Result<OwnToken, TokenError> {
        let client = call.client.as_ref();
        let (scope, told) = match asked {
            Some(asked) if !asked.is_empty() => (asked, None),
            Some(_) | None => {
                let all = client.scope.clone().without(OPENID).without(OFFLINE_ACCESS);
                (all.clone(), Some(all))
            }
        };
        // There is no person in this grant.
        if scope.contains(OPENID) || scope.contains(OFFLINE_ACCESS) {
            return Err(TokenError::InvalidScope("openid and offline_access need a person"));
        }
        if !scope.is_subset(&client.scope) {
            return Err(TokenError::InvalidScope(
                "scope holds a value that the client is not registered for",
            ));
        }
        let authorization_details = call.own_details(&scope, self.issuer.clock.now())?;
        Ok(OwnToken {
            scope,
            told,
            authorization_details,
        })
    }

    /// # Errors
    /// When a signature fails.
    pub(super) async fn make(&self, call: &TokenCall, own: OwnToken) -> Result<Issued, TokenError> {
        let (access_token, expires_in) = self
            .issuer
            .access_token(AccessTokenOrder {
                client: &call.client,
                subject: Subject::Client,
                scope: &own.scope,
                resources: &call.resources,
                authorization_details: &own.authorization_details,
                confirmation: call.confirmation.as_ref(),
                within: None,
            })
            .await?;
        Ok(Issued {
            access_token,
            issued_token_type: None,
            expires_in,
            refresh_token: None,
            id_token: None,
            scope: own.told,
            authorization_details: own.authorization_details,
        })
    }
}
