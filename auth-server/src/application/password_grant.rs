//! `grant_type=password`: not part of OAuth 2.1, kept for the operator's own console alone (RFC 6749 §4.3).

use std::{net::IpAddr, sync::Arc};

use oauth_wire::{GrantType, Scope};
use secrecy::SecretString;
use service_kit::{Clock, Entropy};

use crate::{
    application::{
        exchange_code::new_family,
        issue::{AMR_PASSWORD, Issued, PersonOrder, TokenIssuer},
        policy::Policy,
        refresh_secret::RefreshSecrets,
        sign_in::{Credentials, SignIn, SignInError},
        token_call::TokenCall,
        token_error::{TokenError, WRONG_CREDENTIALS},
    },
    domain::{
        grant::{Grant, GrantDetails},
        ids::GrantId,
    },
    ports::store::Transactions,
};

/// Exchanges passwords for tokens.
#[derive(Clone)]
pub struct PasswordGrant {
    pub policy: Arc<Policy>,
    pub sign_in: SignIn,
    pub transactions: Arc<dyn Transactions>,
    pub issuer: TokenIssuer,
    pub refresh: RefreshSecrets,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for PasswordGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PasswordGrant").finish_non_exhaustive()
    }
}

/// What the client sends.
#[derive(Debug)]
pub struct PasswordRequest {
    pub username: String,
    pub password: SecretString,
    /// Where the request comes from.
    pub address: Option<IpAddr>,
    pub scope: Option<Scope>,
}

const REFUSED: TokenError = TokenError::InvalidGrant(WRONG_CREDENTIALS);

impl PasswordGrant {
    /// Signs a person in for a first-party client. Throttled on the same counters as the sign-in page.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn issue(&self, call: &TokenCall, request: PasswordRequest) -> Result<Issued, TokenError> {
        let client = call.client.as_ref();
        if !client.first_party || !client.may_use(GrantType::Password) {
            return Err(TokenError::UnauthorizedClient(
                "the client may not use the password grant",
            ));
        }
        let (scope, told) = match request.scope {
            Some(asked) if !asked.is_empty() => (asked, None),
            Some(_) | None => (client.scope.clone(), Some(client.scope.clone())),
        };
        if !scope.is_subset(&client.scope) {
            return Err(TokenError::InvalidScope(
                "scope holds a value that the client is not registered for",
            ));
        }
        let authorization_details = call.own_details(&scope, self.clock.now())?;
        let user = self
            .sign_in
            .check(Credentials {
                tenant: client.tenant.clone(),
                username: request.username,
                password: request.password,
                address: request.address,
                device: None,
            })
            .await
            .map_err(refused)?;
        let now = self.clock.now();
        let grant = Grant {
            grant_id: GrantId::new(self.entropy.id()),
            client: client.client_id.clone(),
            tenant: client.tenant.clone(),
            user: user.sub.clone(),
            sid: None,
            scope,
            auth_time: now,
            amr: vec![AMR_PASSWORD.to_owned()],
            details: GrantDetails {
                resources: call.resources.clone(),
                authorization_details,
                ..GrantDetails::default()
            },
        };
        let refresh_token = if client.may_use(GrantType::RefreshToken) {
            let family = new_family(&self.policy, call, grant.clone(), now);
            let mut tx = self.transactions.begin().await?;
            // The password may have been changed while the old one was being compared.
            if !tx.insert_family(&family, user.password.as_ref()).await? {
                return Err(REFUSED);
            }
            tx.commit().await?;
            Some(self.refresh.token(&grant.grant_id, family.generation)?)
        } else {
            let current = self.sign_in.users.find_user(&user.sub).await?;
            current
                .filter(|current| current.is_active() && current.password == user.password)
                .ok_or(REFUSED)?;
            None
        };
        let order = PersonOrder {
            call,
            user: &user,
            grant: &grant,
            sid: None,
            nonce: None,
            resources: &grant.details.resources,
        };
        Ok(Issued {
            refresh_token,
            scope: told,
            ..self.issuer.person_tokens(order).await?
        })
    }
}

fn refused(error: SignInError) -> TokenError {
    match error {
        SignInError::WrongCredentials => REFUSED,
        SignInError::Throttled { until } => TokenError::Throttled { until },
        SignInError::Busy => TokenError::Busy,
        SignInError::Store(error) => TokenError::Store(error),
        SignInError::Password(error) => TokenError::internal(error),
        SignInError::OpenSsl(error) => TokenError::Internal(error),
    }
}
