//! Polling for what a person decides elsewhere (RFC 8628 §3.4, §3.5; CIBA §10.1, §11).

use std::sync::Arc;

use oauth_wire::GrantType;
use service_kit::Clock;

use crate::{
    application::{
        authorize::digest,
        exchange_code::{new_family, still_granted},
        issue::{Issued, PersonOrder, TokenIssuer},
        policy::Policy,
        refresh_secret::RefreshSecrets,
        token_call::TokenCall,
        token_error::TokenError,
    },
    domain::{
        decoupled::{DecoupledKind, DecoupledRequest, Pace, Poll},
        grant::Grant,
        ids::CodeDigest,
        user::User,
    },
    ports::{
        decoupled::DecoupledRequests,
        store::{StoreError, Transactions, Users},
    },
};

/// Exchanges device codes and the like for tokens, once somebody has allowed it.
#[derive(Clone)]
pub struct RedeemDecoupled {
    pub policy: Arc<Policy>,
    pub requests: Arc<dyn DecoupledRequests>,
    pub users: Arc<dyn Users>,
    pub transactions: Arc<dyn Transactions>,
    pub issuer: TokenIssuer,
    pub refresh: RefreshSecrets,
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for RedeemDecoupled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedeemDecoupled").finish_non_exhaustive()
    }
}

const UNKNOWN: TokenError = TokenError::InvalidGrant("the code is unknown or was used before");
const INACTIVE: TokenError = TokenError::InvalidGrant("the account is not active");

impl RedeemDecoupled {
    /// Answers a poll. Of several that come when the person has just allowed it, one gets the tokens.
    ///
    /// A code that was redeemed is refused, and what came of it lives on: unlike an authorization code it has passed through no browser,
    /// and RFC 8628 §3.5 asks a client to poll again when its connection broke.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn redeem(&self, call: &TokenCall, kind: DecoupledKind, code: &str) -> Result<Issued, TokenError> {
        let client = call.client.as_ref();
        let grant_type = match kind {
            DecoupledKind::Device => GrantType::DeviceCode,
            DecoupledKind::Ciba => GrantType::Ciba,
        };
        if !client.may_use(grant_type) {
            return Err(TokenError::UnauthorizedClient("the client may not use this grant"));
        }
        let digest = digest(code);
        let found = self.requests.find_decoupled(kind, &digest).await?;
        // Another client's code is as good as none.
        let request = found
            .filter(|request| request.client == client.client_id)
            .ok_or(UNKNOWN)?;
        match request.judge(self.clock.now()) {
            Poll::Expired => Err(TokenError::ExpiredToken),
            Poll::Denied => Err(TokenError::AccessDenied),
            Poll::Redeemed => Err(UNKNOWN),
            Poll::Pending(pace) => Err(self.wait(&request, pace, TokenError::AuthorizationPending).await?),
            Poll::TooEarly(pace) => Err(self.wait(&request, pace, TokenError::SlowDown).await?),
            Poll::Allowed(grant) => self.issue(call, &digest, grant).await,
        }
    }

    async fn wait(&self, request: &DecoupledRequest, pace: Pace, told: TokenError) -> Result<TokenError, TokenError> {
        let noted = self
            .requests
            .note_poll(&request.digest, request.next_poll_at, pace)
            .await?;
        // Another poll came in the same moment, so this one is too early.
        Ok(if noted { told } else { TokenError::SlowDown })
    }

    async fn issue(&self, call: &TokenCall, digest: &CodeDigest, grant: &Grant) -> Result<Issued, TokenError> {
        let user = self.users.find_user(&grant.user).await?;
        let user = user.filter(User::is_active).ok_or(INACTIVE)?;
        let resources = call.narrow_resources(&grant.details.resources)?;
        let authorization_details = call.narrow_details(&grant.details.authorization_details, self.clock.now())?;
        let (scope, told) = still_granted(&call.client, grant, self.clock.now())?;
        self.issuer.prepare(&call.client, &scope).await?;
        // Whatever can be refused has been by now: from here on the code is spent.
        let refresh_token = self.spend(call, digest, grant).await?;
        let narrowed = Grant { scope, ..grant.clone() };
        let grant = narrowed.with_details(authorization_details);
        let order = PersonOrder {
            call,
            user: &user,
            grant: &grant,
            sid: None,
            nonce: None,
            resources: &resources,
        };
        Ok(Issued {
            refresh_token,
            scope: told,
            ..self.issuer.person_tokens(order).await?
        })
    }

    /// The one conditional statement that decides who wins, with the refresh family in the same transaction.
    async fn spend(&self, call: &TokenCall, digest: &CodeDigest, grant: &Grant) -> Result<Option<String>, TokenError> {
        let client = call.client.as_ref();
        let now = self.clock.now();
        if !client.may_use(GrantType::RefreshToken) {
            return match self.requests.redeem_decoupled(digest, now).await? {
                true => Ok(None),
                false => Err(UNKNOWN),
            };
        }
        let family = new_family(&self.policy, call, grant.clone(), now);
        let mut tx = self.transactions.begin().await?;
        // First the account, then the code: in the order in which locking an account takes them.
        match tx.insert_family(&family, None).await {
            Ok(true) => {}
            Ok(false) => return Err(INACTIVE),
            // Another poll was faster.
            Err(StoreError::Conflict(_)) => return Err(UNKNOWN),
            Err(error) => return Err(error.into()),
        }
        if !tx.redeem_decoupled(digest, now).await? {
            return Err(UNKNOWN);
        }
        tx.commit().await?;
        self.refresh.token(&grant.grant_id, family.generation).map(Some)
    }
}
