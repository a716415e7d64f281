//! `grant_type=refresh_token` (RFC 6749 §6) with rotation (RFC 9700 §4.14.2).

use std::sync::Arc;

use oauth_wire::{GrantType, Scope};
use service_kit::Clock;

use crate::{
    application::{
        end_grant::EndGrant,
        issue::{Issued, PersonOrder, TokenIssuer},
        policy::{OFFLINE_ACCESS, Policy},
        refresh_secret::RefreshSecrets,
        token_call::TokenCall,
        token_error::TokenError,
    },
    domain::{
        grant::{Grant, RefreshFamily, RefreshUse},
        ids::GrantId,
        session::Session,
        user::User,
    },
    ports::store::{RefreshFamilies, Renewal, Sessions, Transactions, Users},
};

const DEAD: TokenError = TokenError::InvalidGrant("the refresh token is unknown, expired or revoked");

/// Rotates refresh tokens.
#[derive(Clone)]
pub struct RotateRefresh {
    pub policy: Arc<Policy>,
    pub families: Arc<dyn RefreshFamilies>,
    pub users: Arc<dyn Users>,
    pub sessions: Arc<dyn Sessions>,
    pub transactions: Arc<dyn Transactions>,
    pub end_grant: EndGrant,
    pub issuer: TokenIssuer,
    pub refresh: RefreshSecrets,
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for RotateRefresh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RotateRefresh").finish_non_exhaustive()
    }
}

impl RotateRefresh {
    /// Answers with a new access token and the family's next refresh token, or the same one if the client keeps its own
    /// ([`crate::domain::client::Client::keeps_refresh_tokens`]).
    ///
    /// The token before the current one is answered again, with the same current one, as long as that has not been used and the lost-reply window is
    /// open: a client whose connection broke keeps its person signed in, and there is never more than one live token. Any other
    /// use of a rotated token ends the family.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn rotate(&self, call: &TokenCall, token: &str, asked: Option<Scope>) -> Result<Issued, TokenError> {
        let client = call.client.as_ref();
        if !client.may_use(GrantType::RefreshToken) {
            return Err(TokenError::UnauthorizedClient("the client may not use refresh_token"));
        }
        let (grant_id, presented) = self.refresh.read(token)?.ok_or(DEAD)?;
        let family = self.families.find_family(&grant_id).await?.ok_or(DEAD)?;
        if family.grant.client != client.client_id {
            return Err(TokenError::InvalidGrant(
                "the refresh token was issued to another client",
            ));
        }
        call.check_binding(family.grant.details.confirmation.as_ref())?;
        // RFC 6749 §6: never more than what was granted, nor than what the client may have by now.
        let granted = family.grant.scope.intersection(&client.scope);
        let (scope, told) = match asked {
            Some(asked) if !asked.is_subset(&granted) => {
                return Err(TokenError::InvalidScope("scope exceeds what was granted"));
            }
            Some(asked) if !asked.is_empty() => (asked, None),
            Some(_) | None if granted.is_empty() => return Err(DEAD),
            // RFC 6749 §5.1: the client is told when it gets less than it knows of.
            Some(_) | None => (granted.clone(), (granted != family.grant.scope).then_some(granted)),
        };
        let (user, session) = self.person(&family.grant).await?;
        let resources = call.narrow_resources(&family.grant.details.resources)?;
        let details = &family.grant.details;
        let authorization_details = call.narrow_details(&details.authorization_details, self.clock.now())?;
        self.issuer.prepare(client, &scope).await?;
        let generation = self.advance(call, &grant_id, family.clone(), presented).await?;
        let grant = Grant { scope, ..family.grant }.with_details(authorization_details);
        let order = PersonOrder {
            call,
            user: &user,
            grant: &grant,
            sid: session.as_ref().map(|session| &session.sid),
            nonce: None,
            resources: &resources,
        };
        Ok(Issued {
            refresh_token: Some(self.refresh.token(&grant_id, generation)?),
            scope: told,
            ..self.issuer.person_tokens(order).await?
        })
    }

    /// The person, if still active, and the browser session, if still live. A family without `offline_access` lives by its session.
    async fn person(&self, grant: &Grant) -> Result<(User, Option<Session>), TokenError> {
        let user = self
            .users
            .find_user(&grant.user)
            .await?
            .filter(User::is_active)
            .ok_or(DEAD)?;
        let session = match &grant.sid {
            Some(sid) => self.sessions.find_live_session(sid, self.clock.now()).await?,
            None => None,
        };
        if grant.sid.is_some() && session.is_none() && !grant.scope.contains(OFFLINE_ACCESS) {
            return Err(TokenError::InvalidGrant("the person has signed out"));
        }
        Ok((user, session))
    }

    /// Moves the family on if the presented generation is the current one, and tells which generation to answer with.
    async fn advance(
        &self,
        call: &TokenCall,
        grant_id: &GrantId,
        mut family: RefreshFamily,
        presented: i64,
    ) -> Result<i64, TokenError> {
        // A lost race is judged once more, on what the winner left behind.
        for _ in 0..2 {
            let now = self.clock.now();
            match family.judge(presented, now, self.policy.lifetimes.lost_reply_window) {
                RefreshUse::Current => {
                    let idle = (now + self.policy.refresh_idle(&call.client)).min(family.absolute_expires_at);
                    let renewal = match call.client.keeps_refresh_tokens() {
                        true => Renewal::keep(presented, now, idle),
                        false => Renewal::rotate(presented, now, idle),
                    };
                    if self.renew(call, grant_id, renewal).await? {
                        return Ok(renewal.to);
                    }
                    family = self.families.find_family(grant_id).await?.ok_or(DEAD)?;
                }
                RefreshUse::LostReply => return Ok(family.generation),
                RefreshUse::Reused => {
                    // A request that was sent before, byte by byte, is refused for that alone.
                    call.unspent.spend().await?;
                    self.end_grant.end(grant_id).await?;
                    return Err(TokenError::InvalidGrant("the refresh token was used before"));
                }
                RefreshUse::Dead => return Err(DEAD),
            }
        }
        Err(DEAD)
    }

    /// Moves the family on, and spends what the call showed with it.
    async fn renew(&self, call: &TokenCall, grant: &GrantId, renewal: Renewal) -> Result<bool, TokenError> {
        if !call.unspent.is_pending() {
            return Ok(self.families.renew_family(grant, renewal).await?);
        }
        let mut tx = call.unspent.begin(&*self.transactions).await?;
        let is_first = tx.renew_family(grant, renewal).await?;
        if is_first {
            tx.commit().await?;
            call.unspent.committed();
        }
        Ok(is_first)
    }
}
