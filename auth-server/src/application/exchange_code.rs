//! `grant_type=authorization_code` (RFC 6749 §4.1.3).

use std::sync::Arc;

use oauth_wire::{CodeVerifier, GrantType, Scope};
use service_kit::Clock;

use crate::{
    application::{
        authorize::digest,
        end_grant::EndGrant,
        issue::{Issued, PersonOrder, TokenIssuer},
        policy::Policy,
        refresh_secret::RefreshSecrets,
        token_call::TokenCall,
        token_error::TokenError,
    },
    domain::{
        client::Client,
        grant::{CodeGrant, Grant, RefreshFamily},
        ids::GrantId,
        user::User,
    },
    ports::{
        rules::{CodeRules, PresentedCode},
        store::{Codes, Sessions, StoreError, Transactions, Users},
    },
};

/// Exchanges codes for tokens.
#[derive(Clone)]
pub struct ExchangeCode {
    pub policy: Arc<Policy>,
    pub codes: Arc<dyn Codes>,
    pub users: Arc<dyn Users>,
    pub sessions: Arc<dyn Sessions>,
    pub transactions: Arc<dyn Transactions>,
    pub rules: Arc<dyn CodeRules>,
    pub issuer: TokenIssuer,
    pub refresh: RefreshSecrets,
    pub end_grant: EndGrant,
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for ExchangeCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExchangeCode").finish_non_exhaustive()
    }
}

/// What the client sends.
#[derive(Debug)]
pub struct CodeExchange {
    pub code: String,
    pub redirect_uri: Option<String>,
    pub code_verifier: Option<String>,
}

const INACTIVE: TokenError = TokenError::InvalidGrant("the account is not active");

impl ExchangeCode {
    /// Exchanges a code. It works once; a second use ends everything that came from the first.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn exchange(&self, call: &TokenCall, request: CodeExchange) -> Result<Issued, TokenError> {
        let client = call.client.as_ref();
        if !client.may_use(GrantType::AuthorizationCode) {
            return Err(TokenError::UnauthorizedClient(
                "the client may not use authorization_code",
            ));
        }
        let code = self.judge(call, &request).await?;
        let user = self
            .users
            .find_user(&code.grant.user)
            .await?
            .filter(User::is_active)
            .ok_or(INACTIVE)?;
        if let Some(sid) = &code.grant.sid {
            let live = self.sessions.find_live_session(sid, self.clock.now()).await?;
            live.ok_or(TokenError::InvalidGrant("the person has signed out"))?;
        }
        let resources = call.narrow_resources(&code.grant.details.resources)?;
        let details = &code.grant.details;
        let authorization_details = call.narrow_details(&details.authorization_details, self.clock.now())?;
        let (scope, told) = still_granted(client, &code.grant, self.clock.now())?;
        self.issuer.prepare(client, &scope).await?;
        // Whatever can be refused has been by now: from here on the code is spent.
        let refresh_token = self.redeem(call, &code).await?;
        let narrowed = Grant {
            scope,
            ..code.grant.clone()
        };
        let grant = narrowed.with_details(authorization_details);
        let order = PersonOrder {
            call,
            user: &user,
            grant: &grant,
            sid: grant.sid.as_ref(),
            nonce: code.nonce.as_deref(),
            resources: &resources,
        };
        Ok(Issued {
            refresh_token,
            scope: told,
            ..self.issuer.person_tokens(order).await?
        })
    }

    async fn judge(&self, call: &TokenCall, request: &CodeExchange) -> Result<CodeGrant, TokenError> {
        let client = call.client.as_ref();
        let code = self.codes.find_code(&digest(&request.code)).await?;
        let code = code.ok_or(TokenError::InvalidGrant("the code is unknown or has expired"))?;
        if code.redeemed_at.is_some() && code.grant.client == client.client_id {
            return Err(self.replayed(call, &code.grant.grant_id).await?);
        }
        if self.clock.now() >= code.expires_at {
            return Err(TokenError::InvalidGrant("the code is unknown or has expired"));
        }
        let code_verifier = request.code_verifier.as_deref().map(CodeVerifier::parse).transpose();
        let code_verifier = code_verifier
            .map_err(|_| TokenError::InvalidGrant("code_verifier must have 43 to 128 unreserved characters"))?;
        call.check_binding(code.grant.details.confirmation.as_ref())?;
        self.rules.check(
            &code,
            &PresentedCode {
                client: &client.client_id,
                code: &request.code,
                redirect_uri: request.redirect_uri.as_deref(),
                code_verifier: code_verifier.as_ref(),
            },
        )?;
        Ok(code)
    }

    /// The one conditional statement that decides who wins, with the refresh family in the same transaction.
    async fn redeem(&self, call: &TokenCall, code: &CodeGrant) -> Result<Option<String>, TokenError> {
        let client = call.client.as_ref();
        let now = self.clock.now();
        let family = client
            .may_use(GrantType::RefreshToken)
            .then(|| new_family(&self.policy, call, code.grant.clone(), now));
        if family.is_none() && !call.unspent.is_pending() {
            return match self.codes.redeem_code(&code.digest, now).await? {
                true => Ok(None),
                false => Err(self.replayed(call, &code.grant.grant_id).await?),
            };
        }
        let mut tx = call.unspent.begin(&*self.transactions).await?;
        // First the account, then the code: in the order in which locking an account takes them, so that neither blocks the other.
        if let Some(family) = &family {
            match tx.insert_family(family, None).await {
                Ok(true) => {}
                Ok(false) => return Err(INACTIVE),
                // Another redemption of this code was faster.
                Err(StoreError::Conflict(_)) => {
                    drop(tx);
                    return Err(self.replayed(call, &code.grant.grant_id).await?);
                }
                Err(error) => return Err(error.into()),
            }
        }
        if !tx.redeem_code(&code.digest, now).await? {
            drop(tx);
            return Err(self.replayed(call, &code.grant.grant_id).await?);
        }
        tx.commit().await?;
        call.unspent.committed();
        let token = family.map(|family| self.refresh.token(&code.grant.grant_id, family.generation));
        token.transpose()
    }

    /// RFC 6749 §4.1.2: deny, and revoke what the code has produced. The revocation is committed before the error is answered. A request that was
    /// sent before, byte by byte, is refused for that alone.
    async fn replayed(&self, call: &TokenCall, grant: &GrantId) -> Result<TokenError, TokenError> {
        call.unspent.spend().await?;
        self.end_grant.end(grant).await?;
        Ok(TokenError::InvalidGrant("the code was used before"))
    }
}

/// What is left of a grant for a client whose registration may have changed since, and the scope to tell the client, if it is not what it knows of
/// (RFC 6749 §5.1).
///
/// # Errors
/// [`TokenError::InvalidGrant`] when nothing is left, or details no longer fit the registration.
pub(super) fn still_granted(
    client: &Client,
    grant: &Grant,
    now: service_kit::Timestamp,
) -> Result<(Scope, Option<Scope>), TokenError> {
    const UNFIT: TokenError =
        TokenError::InvalidGrant("what was granted no longer fits the registration of the client");
    let scope = grant.scope.intersection(&client.scope);
    let details = &grant.details.authorization_details;
    if (scope.is_empty() && !grant.scope.is_empty()) || client.check_details(details, now.as_seconds()).is_err() {
        return Err(UNFIT);
    }
    let is_news = grant.details.default_scope || scope != grant.scope;
    Ok((scope.clone(), is_news.then_some(scope)))
}

/// A family at its first generation.
pub(super) fn new_family(
    policy: &Policy,
    call: &TokenCall,
    mut grant: Grant,
    now: service_kit::Timestamp,
) -> RefreshFamily {
    grant.details.confirmation = call.refresh_binding();
    let absolute_expires_at = now + policy.lifetimes.refresh_absolute;
    RefreshFamily {
        grant,
        generation: 1,
        issued_at: now,
        rotated_at: now,
        idle_expires_at: (now + policy.refresh_idle(&call.client)).min(absolute_expires_at),
        absolute_expires_at,
        revoked_at: None,
    }
}
